"""Files come into a folder together, or everything stays as it was."""

import os
from pathlib import Path

import pytest

from flash_cli import placing
from runpod_flash.errors import ConfigError

FILES = {"a.txt": "new a", "b.txt": "new b", ".hidden": "ä"}


def seen(folder: Path) -> dict[str, str]:
    """All files below a folder, hidden ones too, with their texts."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_folders_are_made_and_nothing_else(tmp_path: Path) -> None:
    placing.place(tmp_path / "x" / "y", FILES)
    assert seen(tmp_path) == {f"x/y/{name}": text for name, text in FILES.items()}
    assert sorted(os.listdir(tmp_path / "x" / "y")) == sorted(FILES)


def test_what_is_there_and_differs_is_a_conflict(tmp_path: Path) -> None:
    assert placing.conflicts(tmp_path / "nowhere", FILES) == []
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "b.txt").write_text("new b")
    (tmp_path / ".hidden").symlink_to("nowhere")
    assert placing.conflicts(tmp_path, FILES) == ["a.txt", ".hidden"]
    placing.place(tmp_path, FILES)
    assert seen(tmp_path) == FILES


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(ConfigError, match=r"a\.txt is a folder"):
        placing.conflicts(tmp_path, FILES)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be written to .* nothing was changed"):
        placing.place(tmp_path / "file" / "below", FILES)


@pytest.mark.parametrize("fails_at", range(1, 6))
def test_where_something_goes_wrong_nothing_has_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    (tmp_path / "b.txt").write_text("mine")
    (tmp_path / "other").write_text("theirs")
    before, renamed, rename = seen(tmp_path), 0, Path.rename

    def failing(self: Path, target: Path) -> Path:
        nonlocal renamed
        renamed += 1
        if renamed == fails_at:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    if fails_at == 5:  # a new file each, and one that is kept aside: four in all
        placing.place(tmp_path, FILES)
        assert seen(tmp_path) == {**FILES, "other": "theirs"}
        return
    with pytest.raises(ConfigError, match=r"No space left on device\); nothing was changed"):
        placing.place(tmp_path, FILES)
    assert seen(tmp_path) == before


def test_a_new_folder_goes_again_where_it_cannot_be_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Path, *_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        placing.place(tmp_path / "x" / "y", FILES)
    assert list(tmp_path.iterdir()) == []
