"""Which files travel: what is imported from the user's own folders, found without importing it."""

import importlib
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from runpod_flash import local_modules
from runpod_flash.errors import PayloadTooLarge
from runpod_flash.local_modules import LocalModules, source_imports

Write = Callable[[Mapping[str, str]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write modules into a folder on `sys.path`; whatever is imported from it is forgotten afterwards."""
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)

    def write(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def found(*roots: str) -> list[str]:
    return sorted(LocalModules().files(roots).contents)


PKG = ["pkg/__init__.py", "pkg/other.py", "pkg/sub/__init__.py", "pkg/sub/leaf.py"]
BOOM = "raise RuntimeError('imported')\n"


@pytest.mark.parametrize(
    ("text", "travels"),
    [
        ("import b", ["a.py", "b.py"]),
        ("import b as c, sys", ["a.py", "b.py"]),
        ("from b import x", ["a.py", "b.py"]),
        ("def f():\n  if f:\n    import b", ["a.py", "b.py"]),
        ("try:\n  import b\nexcept ImportError: pass", ["a.py", "b.py"]),
        ("import importlib\nimportlib.import_module('b')", ["a.py", "b.py"]),
        ("__import__('b')", ["a.py", "b.py"]),
        ("import importlib\nimportlib.import_module(name)", ["a.py"]),
        ("import torch_that_is_not_here, json, pytest, numpy", ["a.py"]),
        ("import runpod_flash, worker_runtime, cloudpickle, flash_cli", ["a.py"]),
        ("import ns.one", ["a.py", "ns/one.py"]),
        ("from ns import one", ["a.py", "ns/one.py"]),
        ("from ns import one, two", ["a.py", "ns/one.py", "ns/two.py"]),
        ("from ns.pkg import deep", ["a.py", "ns/pkg/__init__.py", "ns/pkg/deep.py"]),
        ("import pkg.sub.leaf", ["a.py", "b.py", *PKG]),
        ("import circle", ["a.py", "circle.py", "circle2.py"]),
        ("import broken", ["a.py", "broken.py"]),
        ("syntax error", ["a.py"]),
    ],
)  # fmt: skip
def test_closure(write: Write, text: str, travels: list[str]) -> None:
    write(
        {
            "a.py": text,
            "b.py": BOOM,
            "ns/one.py": BOOM,
            "ns/two.py": BOOM,
            "ns/unused.py": BOOM,
            "ns/pkg/__init__.py": BOOM,
            "ns/pkg/deep.py": BOOM,
            "pkg/__init__.py": "from .other import *\n" + BOOM,
            "pkg/other.py": "import ns",
            "pkg/sub/__init__.py": "from ..sub import leaf",
            "pkg/sub/leaf.py": "from ...toohigh import x\nimport b",
            "circle.py": "import circle2",
            "circle2.py": "import circle",
            "broken.py": "def (:",
            "unused.py": "",
        }
    )
    assert found("a") == travels


def test_the_running_script_travels_where_a_module_imports_it(write: Write, folder: Path) -> None:
    write(
        {
            "helper.py": "import app",
            "lone.py": "",
            "app.py": "from runpod_flash.local_modules import LocalModules\nimport helper, lone\n"
            "if __name__ == '__main__':\n"
            "    for roots in (['helper'], ['lone', '__main__']):\n"
            "        print(*sorted(LocalModules().files(roots).contents))\n",
        }
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=folder, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["app.py helper.py lone.py", "lone.py"]


def test_of_a_package_small_data_travels_and_rubbish_does_not(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_modules, "DATA_FILE_LIMIT", 10)
    monkeypatch.setattr(local_modules, "DATA_LIMIT", 24)
    write(
        {
            "pkg/__init__.py": "# longer than the limit of data files",
            "pkg/plugin.py": "",
            "pkg/native" + importlib.machinery.EXTENSION_SUFFIXES[0]: "longer than the limit",
            "pkg/a.json": "10 bytes..",
            "pkg/b.json": "11 bytes...",
            "pkg/data/c.txt": "10 bytes..",
            "pkg/data/d.txt": "10 bytes..",
            "pkg/data/e.txt": "4 by",
            "pkg/__pycache__/x.cpython-311.pyc": "x",
            "pkg/old.pyc": "x",
            "pkg/.hidden": "x",
            "pkg/.git/config": "x",
            "pkg/env/pyvenv.cfg": "x",
            "pkg/env/lib/thing.py": "x",
            "pkg/node_modules/m.js": "x",
            "pkg/back\\slash.txt": "x",
        }
    )
    os.mkfifo(folder / "pkg/pipe")
    (folder / "pkg/dead").symlink_to("nowhere")
    assert found("pkg") == [
        "pkg/__init__.py",
        "pkg/a.json",
        "pkg/data/c.txt",
        "pkg/data/e.txt",
        "pkg/native" + importlib.machinery.EXTENSION_SUFFIXES[0],
        "pkg/plugin.py",
    ]


def test_too_much(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_modules, "FILES_LIMIT", 1000)
    write({"pkg/__init__.py": "", "pkg/big.py": "#" * 800, "pkg/small.py": "#" * 300})
    with pytest.raises(PayloadTooLarge, match=r"the largest is 'pkg/big\.py'"):
        LocalModules().files(["pkg"])


def test_what_is_loaded_counts_wherever_it_came_from(write: Write, folder: Path) -> None:
    """A module that was loaded from a file of another name travels under its own."""
    write({"odd name.v1.py": "import beside", "beside.py": ""})
    spec = importlib.util.spec_from_file_location("loaded_so", folder / "odd name.v1.py")
    assert spec is not None
    sys.modules["loaded_so"] = importlib.util.module_from_spec(spec)
    sys.modules["made_up"] = types.ModuleType("made_up")
    assert found("loaded_so", "made_up") == ["beside.py", "loaded_so.py"]


def test_installed_packages_and_the_standard_library_stay(write: Write, folder: Path) -> None:
    write({"site-packages/installed.py": "", "wave.py": ""})
    sys.path.insert(0, str(folder / "site-packages"))
    try:
        assert found("installed", "json", "xml.dom", "pytest", "_pytest.python", "wave", "builtins", "sys") == []
        assert not LocalModules().is_local("json")
    finally:
        sys.path.remove(str(folder / "site-packages"))


def test_a_namespace_that_lies_in_both_worlds(write: Write, folder: Path) -> None:
    write({"company/own.py": "import company.bought", "site-packages/company/bought.py": ""})
    sys.path.insert(0, str(folder / "site-packages"))
    try:
        assert found("company.own") == ["company/own.py"]
    finally:
        sys.path.remove(str(folder / "site-packages"))


def test_local(write: Write) -> None:
    write({"mine.py": ""})
    assert LocalModules().is_local("mine")
    assert not LocalModules().is_local("__main__")
    assert not LocalModules().is_local("nobody_has_this")


def edit(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: edit(folder / "b.py", "x = 22"),
        lambda folder: edit(folder / "pkg/data.txt", "other"),
        lambda folder: edit(folder / "pkg/new.txt", "new"),
        lambda folder: edit(folder / "later.py", "new"),
        lambda folder: (folder / "pkg/data.txt").unlink(),
        lambda folder: sys.path.insert(0, str(folder / "pkg")),
    ],
)
def test_changes_are_seen(
    write: Write, folder: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"a.py": "import b, pkg, later", "b.py": "x = 1", "pkg/__init__.py": "", "pkg/data.txt": "data"})
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = LocalModules()
    before = modules.files(["a"])
    assert before.unchanged()
    change(folder)
    assert not before.unchanged()
    after = modules.files(["a"])
    assert after.unchanged()
    expected = {"a.py", "b.py", "pkg/__init__.py", "pkg/data.txt", "pkg/new.txt", "later.py"}
    assert set(after.contents) == {name for name in expected if (folder / name).exists()}
    assert after.hashes != before.hashes or sys.path[0] == str(folder / "pkg")


def test_another_current_folder_is_seen_where_it_is_searched(
    write: Write, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"a.py": "", "other/b.py": ""})
    for path, is_searched in ((list(sys.path), False), (["", *sys.path], True)):
        monkeypatch.setattr(sys, "path", path)
        monkeypatch.chdir(folder)
        files = LocalModules().files(["a"])
        assert all(files.unchanged() for _ in range(3))
        monkeypatch.chdir(folder / "other")
        assert files.unchanged() is not is_searched


def test_an_edit_that_imports_more_is_followed(write: Write) -> None:
    write({"a.py": "", "b.py": ""})
    modules = LocalModules()
    assert set(modules.files(["a"]).contents) == {"a.py"}
    write({"a.py": "import b"})
    assert set(modules.files(["a"]).contents) == {"a.py", "b.py"}


def test_many_files_are_not_looked_up_at_every_call(write: Write, folder: Path) -> None:
    write({"pkg/__init__.py": "", **{f"pkg/m{index}.py": "" for index in range(100)}})
    files = LocalModules().files(["pkg"])
    files._checked += 3600
    edit(folder / "pkg/m1.py", "x = 1")
    assert files.unchanged()
    files._checked -= 7200
    assert not files.unchanged()


def test_source_that_is_none() -> None:
    assert source_imports(b"def (:") == ()
    assert source_imports(b"\x00") == ()
    assert source_imports(b"x = '\\d'\nimport a") == (("a", 0),)
    assert source_imports("# -*- coding: latin-1 -*-\nimport b  # ä".encode("latin-1")) == (("b", 0),)
