"""Which release this is: its version, a hash of its files, and the files that a worker needs to import."""

import functools
import hashlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

VERSION = "2.0.0"
"""Version of the package. The one place where it is written; the build reads it from this line."""

_HASHED_PACKAGES = ("runpod_flash", "worker_runtime")
_HASHED_SUFFIXES = (".py", ".sql")
# What code of workers reaches a platform with: httpx and what it imports. All are pure Python, so they fit any version.
_WAY_TO_A_PLATFORM = ("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "sniffio", "typing_extensions", "dotenv")
_BUNDLED_PACKAGES = (*_HASHED_PACKAGES, "cloudpickle", "packaging", "platformdirs", *_WAY_TO_A_PLATFORM)
_BUNDLED_SUFFIXES = (".py", ".typed", ".pem")
_NOT_BUNDLED = "runpod_flash/control_plane/"  # the platform's own program; no worker imports it


@functools.cache
def content_hash() -> str:
    """sha256 over the relative path and the bytes of the package's Python and SQL files, read once per process."""
    return hash_now()


def hash_now() -> str:
    """What `content_hash` gives, read from the files as they are now (in development they change)."""
    digest = hashlib.sha256()
    for relative, path in sorted(_files(_HASHED_PACKAGES, _HASHED_SUFFIXES)):
        content = path.read_bytes()
        digest.update(f"{relative}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def bundle_files() -> dict[str, Path]:
    """What goes into a bundle: relative POSIX path to file, of each package that a worker imports from us.

    Workers look there last: what their environment has itself goes before.
    """
    files = sorted(_files(_BUNDLED_PACKAGES, _BUNDLED_SUFFIXES))
    return {relative: path for relative, path in files if not relative.startswith(_NOT_BUNDLED)}


def package_folders() -> tuple[Path, ...]:
    """The folders that must be on `sys.path` for our packages to be imported."""
    return tuple(dict.fromkeys(_place(package).parent for package in _HASHED_PACKAGES))


def _files(packages: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    for package in packages:
        place = _place(package)
        if place.is_file():
            yield place.name, place
            continue
        for relative, path in _below(str(place), package):
            if relative.endswith(suffixes):
                yield relative, Path(path)


def _below(folder: str, relative: str) -> Iterator[tuple[str, str]]:
    """All files below a folder but bytecode, each by its relative POSIX path. Every start waits for this."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _below(entry.path, f"{relative}/{entry.name}")
            elif entry.is_file():
                yield f"{relative}/{entry.name}", entry.path


def _place(package: str) -> Path:
    """The folder of a package, or the file of a module that is none."""
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is not None and spec.has_location and spec.origin is not None:
        return Path(spec.origin)
    raise ModuleNotFoundError(f"package '{package}' is not installed as files", name=package)
