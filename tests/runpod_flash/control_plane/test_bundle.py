"""The folder that workers import from."""

import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

import worker_runtime.tickets
from runpod_flash import release
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


def test_bytecode_comes_along_and_is_taken(tmp_path: Path) -> None:
    py_compile.compile(worker_runtime.tickets.__file__)
    folder = bundle.ensure(tmp_path / "abc")
    program = "import sys; sys.path.insert(0, sys.argv[1]); import worker_runtime.tickets"
    command = [sys.executable, "-I", "-S", "-v", "-c", program, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    source = folder / "worker_runtime" / "tickets.py"
    (bytecode,) = source.parent.glob("__pycache__/tickets.*.pyc")
    assert f"# {bytecode} matches {source}" in told
    assert f"# wrote '{bytecode}'" not in told


def test_bytecode_of_another_source_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, source = tmp_path / "old", tmp_path / "new" / "said.py"
    source.parent.mkdir()
    source.write_text("SAID = 'old'\n")
    py_compile.compile(str(source))
    source.write_text("SAID = 'new!'\n")
    monkeypatch.setattr(release, "bundle_files", lambda: {"said.py": source})
    folder = bundle.ensure(old / "abc")
    assert len(list(folder.rglob("*.pyc"))) == 1
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv[1]); import said; print(said.SAID)",
        folder,
    ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "new!\n"


def test_it_is_compiled_where_workers_cannot_do_that(tmp_path: Path) -> None:
    folder = bundle.ensure(tmp_path / "abc")
    for compiled in list(folder.rglob("*.pyc")):
        compiled.unlink()
    bundle.ensure(folder, compiled=True)
    assert list((folder / "worker_runtime" / "__pycache__").glob("keeper.*.pyc"))
