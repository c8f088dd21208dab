"""The archive of a build: manifest and artifacts in one file, the same bytes for the same build."""

import contextlib
import gzip
import hashlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flash_cli.builds.building import Built, scratch_of
from flash_cli.builds.packing import write
from runpod_flash.errors import ConfigError, ShippingError

NAME = "artifact.tar.gz"

MANIFEST, ARTIFACTS = "manifest.json", "artifacts"

_KEPT_S = 86_400  # artifacts of earlier builds, which a deploy may be sending


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive on disk. `size` in bytes."""

    file: Path
    size: int
    sha256: str


def keep(built: Built, root: Path, output: Path | None = None) -> Archive:
    """Write the manifest into `.flash/build`, and the archive to `output` or beside it.

    Raises:
        ConfigError: `output` is a folder.
        ShippingError: something cannot be written.
    """
    scratch = scratch_of(root)
    target = Path(os.path.abspath(output)) if output is not None else scratch / NAME
    if target.is_dir():
        raise ConfigError(f"--output is {str(output)!r}, a folder; name a file in it: {output}/{NAME}")
    _forget_old(built, scratch / "build" / ARTIFACTS)
    write(scratch / "build" / MANIFEST, built.manifest.dumps().encode())
    try:
        with _written(target) as file:
            _pack(built, file)
        with target.open("rb") as file:
            return Archive(target, target.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        reason = error.strerror or error
        raise ShippingError(f"{target} cannot be written: {reason}; make room or give rights") from error


def _pack(built: Built, file: IO[bytes]) -> None:
    with (
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        manifest = built.manifest.dumps().encode()
        archive.addfile(_member(MANIFEST, len(manifest)), io.BytesIO(manifest))
        for name, artifact in sorted(built.artifacts.items()):
            with artifact.open("rb") as content:
                archive.addfile(_member(f"{ARTIFACTS}/{name}.zip", os.fstat(content.fileno()).st_size), content)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)  # of the year that clocks begin in, of nobody
    member.size, member.mode = size, 0o644
    return member


@contextlib.contextmanager
def _written(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes its place when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=target.parent, prefix=".part-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            yield file
        os.replace(part, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _forget_old(built: Built, folder: Path) -> None:
    """Remove artifacts of earlier builds that nobody is sending any more."""
    for file in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            if file.stem not in built.artifacts and time.time() - file.stat().st_mtime > _KEPT_S:
                file.unlink()
