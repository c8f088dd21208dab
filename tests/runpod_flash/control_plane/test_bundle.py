"""The folder that workers import from."""

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_it_is_compiled_where_workers_cannot_do_that(tmp_path: Path) -> None:
    folder = bundle.ensure(tmp_path / "abc")
    assert not list((folder / "runpod_flash").rglob("*.pyc"))
    bundle.ensure(folder, compiled=True)
    assert list((folder / "runpod_flash" / "__pycache__").glob("errors.*.pyc"))


def test_what_every_worker_imports_is_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy has the time of its source, so its bytecode is taken as it is: nothing is written."""
    sources = {}
    for name in ("worker_runtime/first.py", "other/later.py"):
        source = sources[name] = tmp_path / "sources" / name
        source.parent.mkdir(parents=True)
        source.write_text("seen = __cached__\n")
        os.utime(source, (1e9, 1e9))
        py_compile.compile(str(source))
    monkeypatch.setattr(release, "bundle_files", lambda: sources)
    folder = bundle.ensure(tmp_path / "abc")
    compiled = folder / "worker_runtime" / "__pycache__" / f"first.{sys.implementation.cache_tag}.pyc"
    assert list(folder.rglob("*.pyc")) == [compiled]
    before = compiled.stat().st_mtime_ns
    program = "import sys; sys.path.insert(0, sys.argv[1]); from worker_runtime.first import seen; print(seen)"
    command = [sys.executable, "-I", "-S", "-v", "-c", program, str(folder)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(compiled)
    assert f"matches {folder / 'worker_runtime' / 'first.py'}" in told.stderr
    assert compiled.stat().st_mtime_ns == before


def test_bytecode_of_another_source_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "sources" / "worker_runtime" / "said.py"
    source.parent.mkdir(parents=True)
    source.write_text("SAID = 'old'\n")
    py_compile.compile(str(source))
    source.write_text("SAID = 'new!'\n")
    monkeypatch.setattr(release, "bundle_files", lambda: {"worker_runtime/said.py": source})
    folder = bundle.ensure(tmp_path / "abc")
    assert len(list(folder.rglob("*.pyc"))) == 1
    program = "import sys; sys.path.insert(0, sys.argv[1]); from worker_runtime.said import SAID; print(SAID)"
    command = [sys.executable, "-I", "-S", "-c", program, str(folder)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "new!\n"
