"""The folder that workers import from."""

import subprocess
import sys
from pathlib import Path

from runpod_flash.control_plane import bundle


def test_a_bare_interpreter_imports_what_workers_need_from_it(tmp_path: Path) -> None:
    folder = bundle.ensure(tmp_path / "bundles" / "abc")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import worker_runtime.wire.payload, runpod_flash; "
        "print(runpod_flash.__file__)"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.startswith(str(folder))
    assert not (folder / "runpod_flash" / "control_plane").exists()


def test_it_is_made_once_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    folder = bundle.ensure(tmp_path / "abc")
    (folder / "mark").touch()
    assert bundle.ensure(folder) == folder
    assert (folder / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["abc"]


def test_it_is_compiled_where_workers_cannot_do_that(tmp_path: Path) -> None:
    folder = bundle.ensure(tmp_path / "abc")
    assert not list(folder.rglob("*.pyc"))
    bundle.ensure(folder, compiled=True)
    assert list((folder / "worker_runtime" / "__pycache__").glob("keeper.*.pyc"))
