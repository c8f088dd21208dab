"""The folder from which workers import: a copy of this package and its light dependencies, one per package content."""

import compileall
import shutil
import tempfile
from pathlib import Path

from runpod_flash import release


def ensure(folder: Path, *, compiled: bool = False) -> Path:
    """Fill `folder` unless that was done before; a half-made copy never stays. Raises OSError.

    `compiled`: with bytecode for this version of Python, for workers that cannot write it themselves.
    """
    if not folder.is_dir():
        _fill(folder)
    if compiled:
        compileall.compile_dir(folder, quiet=2)  # what is compiled already is passed over
    return folder


def _fill(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        for relative, source in release.bundle_files().items():
            target = building / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        building.chmod(0o755)
        _rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _rename(building: Path, folder: Path) -> None:
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
