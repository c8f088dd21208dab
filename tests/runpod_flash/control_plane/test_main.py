"""`python -m runpod_flash.control_plane`: its exit status and its last words."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.place import ROOT


def run(env: dict[str, str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-P", "-m", "runpod_flash.control_plane"]
    base = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, env={**base, **env}, cwd=cwd, capture_output=True, text=True, timeout=30, check=False
    )


def test_without_a_folder_for_its_state_it_says_which_variable_is_missing(tmp_path: Path) -> None:
    done = run({}, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("error: FLASH_HOME is not set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["a-file/home", "a-file"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "a-file").write_text("")
    done = run({"FLASH_HOME": str(tmp_path / below)}, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "a-file" in line
    assert "FLASH_HOME" in line
