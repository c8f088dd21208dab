"""The folder from which workers import: a copy of this package and its light dependencies, one per package content."""

import compileall
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from runpod_flash import release

_IMPORTED_FIRST = ("worker_runtime/", "cloudpickle/")
"""Whatever a worker does, it has to import these before."""


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
    building, made = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent)), set[Path]()
    try:
        for relative, source in release.bundle_files().items():
            target = building / relative
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            shutil.copyfile(source, target)
            if relative.startswith(_IMPORTED_FIRST):
                _copy_bytecode(source, target)
        building.chmod(0o755)
        _rename(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _copy_bytecode(source: Path, target: Path) -> None:
    """What is compiled of a file already is of use for its copy, which has to be of the same time for that."""
    of = f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    compiled = target.parent / "__pycache__" / of
    with contextlib.suppress(FileNotFoundError):
        compiled.parent.mkdir(exist_ok=True)
        shutil.copyfile(source.parent / "__pycache__" / of, compiled)
        found = source.stat()
        os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _rename(building: Path, folder: Path) -> None:
    try:
        building.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster
            raise
