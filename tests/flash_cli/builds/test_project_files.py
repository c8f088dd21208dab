"""The files of a project: odd ones neither hang nor crash anything, and are named."""

import os
import socket
from pathlib import Path

import pytest

from flash_cli.builds import project_files
from flash_cli.builds.project_files import SOURCE_LIMIT, listing
from runpod_flash.errors import ConfigError
from tests.support.builds import write


def test_what_is_no_file_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "p", {"a.txt": "", "sub/b.txt": "", "bad\nname": ""})
    write(tmp_path, {"outside/secret.txt": ""})
    os.mkfifo(root / "pipe")
    monkeypatch.chdir(root)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name, target in (("out", "../outside"), ("file", "../outside/secret.txt"), ("loop", "."), ("gone", "x")):
            (root / name).symlink_to(target)
        (root / "in").symlink_to("sub")
        found = listing(root)
    assert set(found.files) == {"a.txt", "sub/b.txt", "in/b.txt"}
    told = "\n".join(found.warnings)
    assert all(f"{name} is left out" in told for name in ("out/", "file", "gone", r"bad\nname"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.py": "Endpoint", "b.txt": "", "shut/c.txt": ""})
    for name in ("a.py", "b.txt", "shut"):
        (root / name).chmod(0)
    found = listing(root)
    (root / "shut").chmod(0o700)
    assert not found.files
    assert [fault.file for fault in found.candidates()[1]] == ["a.py"]
    assert {"b.txt", "shut/"} <= {text.split(" ")[0] for text in found.warnings}


def test_candidates_mention_endpoints(tmp_path: Path) -> None:
    large = "#" * SOURCE_LIMIT
    mentioning = {"a.py": "from runpod_flash import x", "sub/c.py": "# Endpoint", "huge.py": f"{large}\n# Endpoint"}
    others = {"b.py": "import os", "d.txt": "Endpoint", "empty.py": "", "big.py": f"{large}\n", "test_e.py": "Endpoint"}
    found, faults = listing(write(tmp_path, {**mentioning, **others})).candidates()
    assert found == ["a.py", "sub/c.py"]
    assert [fault.file for fault in faults] == ["huge.py"]
    assert "1.0 MiB" in faults[0].message


def test_secrets_are_named_once_with_what_ships_them(tmp_path: Path) -> None:
    root = write(
        tmp_path, {".env": "", ".env.production": "", "keys/id_rsa": "", "credentials-x.json": "", "a.txt": ""}
    )
    found = listing(root)
    assert set(found.files) == {"a.txt"}
    (said,) = found.warnings
    assert "!.env.production" in said
    assert "keys/id_rsa" in said
    assert ".env," not in said


def test_virtual_environments_are_left_out_whatever_their_name(tmp_path: Path) -> None:
    assert not listing(write(tmp_path, {"py312/pyvenv.cfg": "", "py312/lib/a.py": "Endpoint"})).files


def test_a_folder_of_too_many_files_is_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_files, "FILES_LIMIT", 3)
    with pytest.raises(ConfigError, match=r"more than 3 files.*\.flashignore"):
        listing(write(tmp_path, {f"{number}.txt": "" for number in range(4)}))


def test_a_mention_across_two_pieces_of_a_file_counts(tmp_path: Path) -> None:
    root = write(tmp_path, {"huge.py": "#" * (SOURCE_LIMIT - 3) + "Endpoint"})
    assert [fault.file for fault in listing(root).candidates()[1]] == ["huge.py"]
