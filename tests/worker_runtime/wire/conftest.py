"""A Python with packages for arrays, which those of the project do not bring."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.support.place import ROOT

PACKAGES = ("numpy", "pandas", "pillow")


@pytest.fixture(scope="session")
def array_checks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], None]:
    """Runs the checks of one package (see `array_checks.py`). torch is taken from a local folder of wheels only."""
    python = make_python(tmp_path_factory.mktemp("arrays"))

    def run(package: str) -> None:
        if package.startswith("torch"):
            install_torch(python)
        command = [python, "-m", "tests.worker_runtime.wire.array_checks", package]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def make_python(folder: Path) -> str:
    """A virtual environment with the packages; its interpreter."""
    uv, python = find_uv_bin(), str(folder / "bin" / "python")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "cloudpickle", *PACKAGES], check=True)
    return python


def install_torch(python: str) -> None:
    """Add torch, where pip's own settings name a folder that has it; else skip: from an index it is gigabytes."""
    links = [Path(link) for link in os.environ.get("PIP_FIND_LINKS", "").split() if Path(link).is_dir()]
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-"
    wheels = [wheel for folder in links for wheel in folder.glob(f"torch-*{tag}*.whl")]
    if not wheels:
        pytest.skip(f"no folder of PIP_FIND_LINKS has a wheel of torch for {tag[:-1]}")
    subprocess.run([find_uv_bin(), "pip", "install", "-q", "--python", python, str(wheels[0])], check=True)
