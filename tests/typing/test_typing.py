"""The types of the public API, as two strict type checkers see them in the other files of this folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runpod_flash

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
USAGE = sorted(str(path.relative_to(ROOT)) for path in HERE.glob("*.py") if not path.name.startswith("test_"))
PYRIGHT = ("-m", "pyright", "--pythonpath", sys.executable)


def checked(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """What a type checker says that finds this project's packages."""
    paths = {"MYPYPATH": str(ROOT), "PYTHONPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_mypy_understands_the_usage(tmp_path: Path) -> None:
    options = ("--strict", "--config-file=", f"--cache-dir={tmp_path}", "--follow-imports=silent")
    done = checked("-m", "mypy", *options, *USAGE)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_pyright_understands_the_usage() -> None:
    done = checked(*PYRIGHT, "--project", str(HERE / "pyrightconfig.json"), "--outputjson")
    said = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert said["summary"]["filesAnalyzed"] == len(USAGE)


@pytest.mark.slow
def test_public_types_are_known_without_inference() -> None:
    """What another checker may infer otherwise is an error: then the two would not see the same."""
    done = checked(*PYRIGHT, "--verifytypes", "runpod_flash", "--ignoreexternal", "--outputjson")
    symbols = json.loads(done.stdout)["typeCompleteness"]["symbols"]
    public = [each for each in symbols if each["name"].startswith(_public())]
    assert len(public) > len(runpod_flash.__all__)
    unknown = {
        each["name"]: [found["message"] for found in each["diagnostics"]] for each in public if not each["isTypeKnown"]
    }
    assert unknown == {}


def _public() -> tuple[str, ...]:
    """The modules of the public names and of what they inherit from, of what a decorator gives back, of the errors."""
    named = [getattr(runpod_flash, name) for name in runpod_flash.__all__]
    kinds = [kind for each in named if isinstance(each, type) for kind in each.__mro__]
    homes = {kind.__module__ for kind in kinds} | {"runpod_flash.remote", "runpod_flash.errors"}
    return tuple(f"{home}." for home in sorted(homes) if home.startswith("runpod_flash."))
