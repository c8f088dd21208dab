"""Files come into a folder together: all of them, or none where something goes wrong."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from runpod_flash.errors import ConfigError


def conflicts(folder: Path, files: Mapping[str, str]) -> Sequence[str]:
    """The names that are taken in a folder by something else than these texts.

    Raises:
        ConfigError: the folder is none, or something in it is in the way that no file can replace, or cannot be read.
    """
    found = []
    for name, text in files.items():
        path = folder / name
        try:
            if path.is_dir():
                raise ConfigError(f"{path} is a folder, and a file of this name shall be written; move it away")
            if os.path.lexists(path) and (path.is_symlink() or path.read_bytes() != text.encode()):
                found.append(name)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error}); choose another folder") from error
    return found


def place(folder: Path, files: Mapping[str, str]) -> None:
    """Write files into a folder, which is made where there is none. What they replace is gone.

    Raises:
        ConfigError: they cannot be written; everything is as it was before.
    """
    made = _missing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".flash-", dir=folder) as aside:
            _replace(folder, files, Path(aside))
    except BaseException as error:
        for each in made:
            with contextlib.suppress(OSError):
                each.rmdir()
        if isinstance(error, OSError):
            raise ConfigError(f"{folder} cannot be written to ({error}); nothing was changed") from error
        raise


def _replace(folder: Path, files: Mapping[str, str], aside: Path) -> None:
    """First all are written `aside`, then each takes its place; what was there is kept aside until all have."""
    new, old = aside / "new", aside / "old"
    new.mkdir()
    old.mkdir()
    for name, text in files.items():
        (new / name).write_text(text, encoding="utf-8")
    placed: list[str] = []
    try:
        for name in files:
            if os.path.lexists(folder / name):
                (folder / name).rename(old / name)
            placed.append(name)
            (new / name).rename(folder / name)
    except BaseException:
        for name in placed:
            (folder / name).unlink(missing_ok=True)
        for path in old.iterdir():
            shutil.move(path, folder / path.name)
        raise


def _missing(folder: Path) -> list[Path]:
    """The folders that would have to be made, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]
