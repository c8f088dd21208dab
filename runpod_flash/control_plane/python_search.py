"""Where an interpreter of a wanted Python version is on this machine, and how one is got where the operator wants that.

In this order: what FLASH_PYTHONS names, the PATH, pyenv, what was downloaded before, what uv knows besides; a download.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from runpod_flash.control_plane.interpreters import Interpreters
from worker_runtime.install import InstallFailed, Uv

SUPPORTED = ("3.11", "3.12", "3.13")
"""The versions on which workers run."""


@dataclass(frozen=True, slots=True)
class PythonPlaces:
    """Where to look, as the operator says.

    Attributes:
        named: interpreters, or folders that hold some (`FLASH_PYTHONS`).
        path: folders of commands (`PATH`).
        pyenv: pyenv's folder (`PYENV_ROOT`, else `~/.pyenv`); None: no such folder is known.
        download: whether one may be downloaded (`FLASH_DOWNLOAD_PYTHON=1`).
    """

    named: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    pyenv: Path | None = None
    download: bool = False

    def candidates(self, version: str) -> Iterator[str]:
        """Files that may be interpreters of this version, the first choice first."""
        found = (path for place in self.named for path in _named(place, version))
        on_path = (os.path.join(folder, f"python{version}") for folder in self.path)
        in_pyenv = below(self.pyenv / "versions", version) if self.pyenv is not None else ()
        for path in (*found, *on_path, *in_pyenv):
            if os.path.isfile(path) and os.access(path, os.X_OK):
                yield path

    def folders(self) -> list[Path]:
        """The installations that these files belong to, by their places: they must not change under users."""
        files = (path for version in SUPPORTED for path in self.candidates(version))
        return sorted({Path(os.path.realpath(file)).parent.parent for file in files} - {Path("/")})


NOWHERE = PythonPlaces()
"""No places but those that uv knows."""


@dataclass(frozen=True, slots=True)
class PythonSearch:
    """Looks for interpreters. `folder`: where downloaded ones live; `lock` keeps two downloads of one version apart."""

    places: PythonPlaces
    uv: Uv
    interpreters: Interpreters
    folder: Path
    lock: Callable[[str], AbstractAsyncContextManager[None]]

    async def find(self, version: str, work: Path) -> str:
        """The path of an interpreter of the version "major.minor". `work`: a private folder to run uv in.

        Raises:
            InstallFailed: there is none, or it is no version that workers run on; the message says where was looked
                and how to get one.
        """
        if version not in SUPPORTED:
            raise InstallFailed(
                f"there are no workers for Python {version!r:.20}, only for {', '.join(SUPPORTED)}", holds_s=0
            )
        for path in (*self.places.candidates(version), *below(self.folder, version)):
            if await self._is(version, path):
                return path
        known = await self.uv.find(version, work)
        if known is not None and await self._is(version, known):
            return known
        if self.places.download:
            return await self._download(version, work)
        raise InstallFailed(await self._nowhere(version, work), holds_s=0)

    async def _download(self, version: str, work: Path) -> str:
        async with self.lock(f"python-{version}"):
            for path in below(self.folder, version):  # another process was faster
                if await self._is(version, path):
                    return path
            return await self.uv.download(version, self.folder, work)

    async def _is(self, version: str, path: str) -> bool:
        """Whether a file is an interpreter of this version: a shim may lead nowhere, a name may lie."""
        try:
            return (await self.interpreters.inspect(path)).minor == version
        except (InstallFailed, ValueError):  # it does not start, or is something else
            return False

    async def _nowhere(self, version: str, work: Path) -> str:
        there = ", ".join(f"{path} ({known})" for known, path in (await self.uv.installed(work)).items()) or "none"
        named = os.pathsep.join(self.places.named) or "not set"
        pyenv = f"in {self.places.pyenv / 'versions'}" if self.places.pyenv is not None else "in pyenv (no folder)"
        return (
            f"there is no Python {version} on this machine. Looked for it in FLASH_PYTHONS ({named}), as "
            f"python{version} on the PATH, {pyenv} and among those that uv knows; found: {there}. Install it there "
            f"(`pyenv install {version}`, `uv python install {version}`), or say where it is with FLASH_PYTHONS, or "
            "allow a download with FLASH_DOWNLOAD_PYTHON=1; a running control plane reads variables at its next start "
            "(`flash server stop`)"
        )


def _named(place: str, version: str) -> Iterator[str]:
    """What an entry of FLASH_PYTHONS may mean: an interpreter, its folder, its prefix, a folder of prefixes."""
    path = Path(place).expanduser()
    if path.is_dir():
        yield str(path / f"python{version}")
        yield str(path / "bin" / f"python{version}")
        yield from below(path, version)
    else:
        yield str(path)


def below(folder: Path, version: str) -> Iterator[str]:
    """Interpreters in a folder of installations that have their versions in their names, the newest first."""
    installed = list(folder.glob(f"{version}.*")) + list(folder.glob(f"cpython-{version}.*"))
    for prefix in sorted(installed, key=lambda one: _numbers(one.name), reverse=True):
        yield str(prefix / "bin" / f"python{version}")


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)[:3]]
