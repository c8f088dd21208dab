"""The content hash follows the files; a bundle holds what a worker imports."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from runpod_flash import release
from tests.support.place import ROOT


def hash_in(folder: Path) -> str:
    """The content hash of the copy of the packages in `folder`, from a fresh interpreter."""
    code = "from runpod_flash import release; print(release.content_hash())"
    path = f"import sys; sys.path.insert(0, {str(folder)!r}); "
    return subprocess.run([sys.executable, "-P", "-c", path + code], capture_output=True, text=True, check=True).stdout


def test_hash_follows_python_and_sql_files_and_nothing_else(tmp_path: Path) -> None:
    for package in ("runpod_flash", "worker_runtime"):
        for source in (ROOT / package).rglob("*"):
            target = tmp_path / package / source.relative_to(ROOT / package)
            if source.is_file() and source.suffix in (".py", ".sql", ".typed"):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    first = hash_in(tmp_path)
    (tmp_path / "runpod_flash" / "notes.txt").write_text("nothing")
    assert hash_in(tmp_path) == first
    (tmp_path / "worker_runtime" / "new.py").write_text("")
    second = hash_in(tmp_path)
    (tmp_path / "worker_runtime" / "new.py").rename(tmp_path / "worker_runtime" / "moved.py")
    third = hash_in(tmp_path)
    (tmp_path / "runpod_flash" / "schema.sql").write_text("select 1")
    assert len({first, second, third, hash_in(tmp_path)}) == 4


def test_hash_is_read_once_and_quickly() -> None:
    assert release.content_hash() is release.content_hash()
    start = time.process_time()
    assert len(release.hash_now()) == 64
    assert time.process_time() - start < 0.5


def test_bundle_holds_what_workers_import() -> None:
    files = release.bundle_files()
    assert {path.split("/")[0] for path in files} >= {"runpod_flash", "worker_runtime", "cloudpickle", "packaging"}
    assert "worker_runtime/wire/payload.py" in files
    assert files["runpod_flash/errors.py"].read_bytes() == (ROOT / "runpod_flash/errors.py").read_bytes()
    assert not [path for path in files if "control_plane" in path or "__pycache__" in path or ".." in path]


def test_package_folders_hold_the_packages() -> None:
    assert all((folder / "runpod_flash").is_dir() for folder in release.package_folders())
