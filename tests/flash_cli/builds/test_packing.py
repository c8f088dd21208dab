"""Which files travel with an endpoint, how much they may be, and how they are written."""

from pathlib import Path

import pytest

from flash_cli.builds import packing
from flash_cli.builds.project_files import MiB
from runpod_flash.errors import PayloadTooLarge, ShippingError
from tests.support.builds import QUEUE, built, write


def shipped(root: Path) -> dict[str, str]:
    return {each.path: each.kind for each in built(root).shipped["f"]}


MAIN = QUEUE.format(name="f")


def test_imported_code_travels_though_git_ignores_it(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"a.py": MAIN + "    import made, env.x", ".gitignore": "made.py\n", "made.py": "", "env/x.py": ""},
    )
    assert shipped(root) == {"a.py": "module", "made.py": "module", "env/x.py": "module"}


def test_flashignore_leaves_even_imported_code_out_and_says_so(tmp_path: Path) -> None:
    text = MAIN + "    def later(): import tools.big"
    root = write(tmp_path, {"a.py": text, "tools/big.py": "", ".flashignore": "tools/\n"})
    found = built(root)
    assert [each.path for each in found.shipped["f"]] == ["a.py"]
    assert "tools/big.py is left out by .flashignore line 1: tools/, though a.py imports it" in found.warnings


def test_packages_outside_of_the_project_travel_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "lib", {"common/__init__.py": "", "common/key.pem": "", "common/tests/t.py": "", "common/d.txt": ""}
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    root = write(tmp_path / "p", {"a.py": MAIN + "    import common"})
    assert shipped(root) == {"a.py": "module", "common/__init__.py": "module", "common/d.txt": "package"}


def test_data_of_a_package_below_src_lies_beside_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    files = {"src/pkg/__init__.py": "", "src/pkg/d.txt": "", "a.py": MAIN + "    import pkg", "src/other.txt": ""}
    assert shipped(write(tmp_path, files)) == {
        "a.py": "module", "pkg/__init__.py": "module", "pkg/d.txt": "package", "src/other.txt": "data"
    }  # fmt: skip


def sparse(root: Path, name: str, size: int) -> None:
    with (root / name).open("wb") as file:
        file.truncate(size)


def test_big_data_is_warned_of(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.py": MAIN})
    sparse(root, "big.bin", 11 * MiB)
    assert any("big.bin is large (11.0 MiB)" in text for text in built(root).warnings)


def test_too_much_is_refused_and_the_largest_named(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.py": MAIN})
    sparse(root, "huge.bin", packing.LIMIT)
    with pytest.raises(PayloadTooLarge, match=r"endpoint 'f' would ship 256 MiB.*huge.bin \(256.0 MiB\)"):
        built(root)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.py": MAIN, ".flash": "a file"})
    with pytest.raises(ShippingError, match=r"\.flash"):
        built(root)
