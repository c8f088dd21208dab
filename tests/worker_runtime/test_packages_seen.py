"""Which packages count as seen, in an interpreter of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker_runtime.scripted_plane import ROOT
from worker_runtime import packages_seen

CODE = """
import json, sys
sys.path[:0] = sys.argv[1:]
from worker_runtime import packages_seen
before = frozenset(sys.modules)
import colorsys, whole.part, single, edited, lone_namespace.inner
sys.modules["strange"] = object()
sys.modules["none"] = None
print(json.dumps(packages_seen.names(before)))
"""


def installed(folder: Path, *files: str) -> Path:
    """A folder with these empty modules."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def seen(*arguments: str) -> list[str]:
    """What such an interpreter says."""
    ran = subprocess.run([sys.executable, "-c", CODE, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    names: list[str] = json.loads(ran.stdout)
    return names


def test_modules_at_the_top_of_installed_packages_in_the_order_of_their_import(tmp_path: Path) -> None:
    packages = installed(tmp_path / "site-packages", "whole/__init__.py", "whole/part.py", "lone_namespace/inner.py")
    overlay = installed(tmp_path / "overlay", "single.py")
    user = installed(tmp_path / "project", "edited.py")
    folders = [str(each) for each in (packages, overlay, user)]
    assert seen(*folders) == ["whole", "single"]
    # A folder of another name is none of packages.
    assert seen(*folders[:1], str(installed(tmp_path / "linked", "single.py", "edited.py"))) == ["whole"]


def test_a_folder_whose_name_only_begins_so_is_another(tmp_path: Path) -> None:
    names = ("whole/__init__.py", "whole/part.py", "single.py", "edited.py", "lone_namespace/inner.py")
    installed(tmp_path / "overlay2", *names)
    (tmp_path / "overlay").mkdir()
    assert seen(str(tmp_path / "overlay"), str(tmp_path / "overlay2")) == []


def test_they_are_not_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    here = packages_seen.names(())
    assert {"pytest", "pluggy"} <= set(here)
    assert "worker_runtime" not in here
    monkeypatch.setattr(packages_seen, "_MOST", 2)
    assert packages_seen.names(()) == here[:2]
