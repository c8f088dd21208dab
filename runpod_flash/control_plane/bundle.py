"""The folder from which workers import: a copy of this package and its light dependencies, one per package content."""

import compileall
import contextlib
import os
import shutil
import sys
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
            _copy(source, building / relative)
        building.chmod(0o755)
        _rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its bytecode, if there is some, so that no first worker has to compile it.

    An interpreter takes bytecode by the time of its source, which is kept: what is not of that source is made anew.
    """
    _copy_with_time(source, target)
    if source.suffix == ".py":
        with contextlib.suppress(FileNotFoundError):
            _copy_with_time(_bytecode(source), _bytecode(target))


def _bytecode(source: Path) -> Path:
    return source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"


def _copy_with_time(source: Path, target: Path) -> None:
    found = source.stat()
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _rename(building: Path, folder: Path) -> None:
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
