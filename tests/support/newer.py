"""A newer version of the package: it differs from the one under test in one line."""

import shutil
from pathlib import Path

from tests.support.place import ROOT


def newer_version(folder: Path) -> str:
    """A copy of the packages that differs in one line; what PYTHONPATH must be for it."""
    for name in ("runpod_flash", "worker_runtime"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "runpod_flash" / "release.py").open("a") as file:
        file.write("# newer\n")
    return f"{folder}:{ROOT / 'cli'}"
