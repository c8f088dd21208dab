"""How a request becomes an environment: the caller's packages, an overlay in front of them, or a separate one.

    nothing to add to the caller's packages        ->  the caller's interpreter as it is
    one resolution with the caller's versions held ->  an overlay with what is missing
    that has no solution, or there is no caller    ->  a virtual environment with everything
    a lock                                         ->  a virtual environment with exactly that

The caller's environment is read and never written to.
"""

import asyncio
import dataclasses
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from runpod_flash.control_plane.environment_files import Environment, EnvironmentFiles
from runpod_flash.control_plane.interpreters import Interpreter, Interpreters
from runpod_flash.control_plane.python_search import NOWHERE, PythonPlaces, PythonSearch
from worker_runtime.install import BuildFailed, NoSolution, Uv
from worker_runtime.pip import Pip
from worker_runtime.wire.specs import EnvironmentRequest, canonical_hash


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds environments. The lock of the request is held by whoever calls."""

    files: EnvironmentFiles
    uv: Uv
    interpreters: Interpreters
    pip: Pip
    places: PythonPlaces = NOWHERE

    async def build(
        self, request: EnvironmentRequest, caller: Interpreter | None, say: Callable[[str], None]
    ) -> Environment:
        """The environment for `request`; `say` hears "3 packages" before they are installed.

        Raises InstallFailed, OSError.
        """
        with self.files.work() as work:
            task = _Task(self, request, work, say)
            if caller is None:
                return await task.separate(await self._find(request.python, work), ())
            if request.lock:
                return await task.separate(caller.path, ())
            if not request.dependencies:
                return task.callers_own(caller)
            try:
                missing = await task.missing(caller)
            except (NoSolution, BuildFailed):  # held at a version, a package may drag in sources that do not build
                environment = await task.separate(caller.path, (caller.digest,))
                return dataclasses.replace(environment, notices=(_notice(request, caller),))
            return await task.overlay(caller, missing) if missing else task.callers_own(caller)

    async def _find(self, version: str, work: Path) -> str:
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        if version == own:
            return sys.executable
        pythons = self.files.folder / "pythons"
        return await PythonSearch(self.places, self.uv, self.interpreters, pythons, self.files.lock).find(version, work)


@dataclass(frozen=True, slots=True)
class _Task:
    """One build: what is asked for, and a private folder for it."""

    builder: Builder
    request: EnvironmentRequest
    work: Path
    say: Callable[[str], None]

    @property
    def installer(self) -> Uv | Pip:
        """What resolves and installs; virtual environments are made by uv, whichever it is."""
        return self.builder.uv if self.request.accelerate else self.builder.pip

    async def missing(self, caller: Interpreter) -> tuple[str, ...]:
        """What is to be added to the caller's packages: one resolution of all, with their versions held."""
        seen = self.work / "caller"
        await asyncio.to_thread(caller.write_metadata, seen)
        return await self.installer.plan(
            caller.path,
            self.request.dependencies,
            self.request.index,
            work=self.work,
            installed=seen,
            constraints=caller.pins(),
        )

    def callers_own(self, caller: Interpreter) -> Environment:
        key = canonical_hash({"kind": "caller", "interpreter": caller.digest})
        return Environment(key, caller.path, path_entries=caller.bin_folders())

    async def overlay(self, caller: Interpreter, packages: tuple[str, ...]) -> Environment:
        key = self._key("overlay", caller.digest, packages)

        async def fill(folder: Path) -> Environment:
            overlay = folder / "overlay"
            await self.installer.install(caller.path, packages, self.request.index, work=self.work, target=overlay)
            entries = (str(overlay / "bin"), *caller.bin_folders())
            return Environment(key, caller.path, str(overlay), path_entries=entries, packages=len(packages))

        return await self._once(key, packages, fill)

    async def separate(self, python: str, origin: tuple[str, ...]) -> Environment:
        """A virtual environment of its own with everything. `origin` names the caller's packages in its key."""
        uv, request = self.builder.uv, self.request
        packages = request.lock
        if request.dependencies and not packages:
            empty = self.work / "empty"
            empty.mkdir()
            packages = await self.installer.plan(
                python, request.dependencies, request.index, work=self.work, installed=empty
            )
        interpreter = await self.builder.interpreters.inspect(python)
        names = [*origin, interpreter.path, interpreter.version]
        key = self._key("separate", names, packages)

        async def fill(folder: Path) -> Environment:
            venv = folder / "venv"
            own = str(venv / "bin" / "python")
            await uv.create(python, venv)
            if packages:
                await self.installer.install(own, packages, request.index, work=self.work)
            return Environment(key, own, path_entries=(str(venv / "bin"),), packages=len(packages))

        return await self._once(key, packages, fill)

    def _key(self, kind: str, interpreter: str | list[str], packages: tuple[str, ...]) -> str:
        by = {} if self.request.accelerate else {"installer": "pip"}
        return canonical_hash({"kind": kind, "interpreter": interpreter, "packages": packages, **by})

    async def _once(
        self, key: str, packages: tuple[str, ...], fill: Callable[[Path], Awaitable[Environment]]
    ) -> Environment:
        """The environment with this key: built already for another request, or now by `fill` in a new folder."""
        files = self.builder.files
        async with files.lock(key):
            if (environment := files.built(key)) is not None:
                return environment
            by = "" if self.request.accelerate else " by pip"
            self.say(f"{len(packages)} package{'' if len(packages) == 1 else 's'}{by}")
            await asyncio.to_thread(files.clear, key)
            folder = files.new(key)
            try:
                environment = await fill(folder)
                files.complete(folder, environment, packages)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                raise
            return environment


def _notice(request: EnvironmentRequest, caller: Interpreter) -> str:
    """Says why there is a separate environment and what that means."""
    return (
        f"the dependencies {', '.join(request.dependencies)} have no solution together with the packages installed for"
        f" {caller.path}; a separate environment was built for them. Your own packages are not in it: what the function"
        " imports must be among its dependencies"
    )
