"""Environments: one for each request, built once, shared by all who wait and by all processes of a state folder."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runpod_flash.control_plane.environment_build import Builder
from runpod_flash.control_plane.environment_files import Answer, Environment, EnvironmentFiles
from runpod_flash.control_plane.interpreters import KEPT, Interpreter, Interpreters
from runpod_flash.control_plane.python_search import NOWHERE, PythonPlaces
from worker_runtime.apt import Apt
from worker_runtime.install import InstallFailed, Uv, check_requirements
from worker_runtime.pip import Pip
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex, canonical_hash

__all__ = ["Environment", "Environments", "InstallFailed"]

BUILD_LIMIT_S = 3600.0
"""Seconds after which a build is given up."""

_KEYS_KEPT = 1000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A failed build. It holds until a moment of the clock, and while the local package folders stay as they were."""

    message: str
    until: float
    links: tuple[int, ...]


@dataclass(slots=True)
class _Build:
    """A build under way and those who wait for it."""

    task: asyncio.Task[Environment] | None = None
    waiting: int = 0
    detail: str = ""
    listeners: list[Callable[[str], None]] = field(default_factory=list)

    def say(self, detail: str) -> None:
        self.detail = detail
        for listener in self.listeners:
            listener(detail)


class Environments:
    """Finds or builds the environment for a request. For one event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        uv: str,
        allow_apt: bool,
        wheels_only: bool = False,
        compiled: bool = False,
        base_env: Mapping[str, str],
        places: PythonPlaces = NOWHERE,
        failure_memory_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder`: where environments live; `uv`: path of the uv binary; `allow_apt`: the user agreed to apt packages.

        `wheels_only`: no package is built from source. `compiled`: what is installed is compiled to bytecode at once.

        `places`: where other Python versions are.

        `base_env`: the environment that installers start from; `failure_memory_s`: seconds for which a failed build is
        not tried again; `clock`: monotonic seconds.
        """
        self._files = EnvironmentFiles(folder)
        self._apt = Apt(base_env, allow=allow_apt, lock=folder / "locks" / "apt.lock")
        self._interpreters = Interpreters(base_env, folder / KEPT)
        self._builder = Builder(
            self._files,
            Uv(uv, base_env, self._files.cache, wheels_only=wheels_only, compiled=compiled),
            self._interpreters,
            Pip(base_env, wheels_only=wheels_only),
            places,
        )
        self._failure_memory_s = failure_memory_s
        self._clock = clock
        self._keys: dict[tuple[EnvironmentRequest, str], str] = {}
        self._builds: dict[str, _Build] = {}
        self._failures: dict[str, _Failure] = {}
        self._system_seen: set[tuple[str, ...]] = set()

    async def look_at(self, python: str) -> None:
        """Ask an interpreter what it has, which is needed when the first call of its programs comes."""
        with contextlib.suppress(InstallFailed):  # who needs it hears why
            await self._interpreters.inspect(python)

    async def key(self, request: EnvironmentRequest) -> str:
        """The request's key: it changes with the request and with the caller's interpreter and packages.

        Raises InstallFailed where the caller's interpreter cannot be run or has another version by now.
        """
        return self._key(request, await self._caller(request))

    def key_at_once(self, request: EnvironmentRequest) -> str | None:
        """The same where nobody has to be asked for it, else None. Raises InstallFailed."""
        if request.caller is None:
            return self._key(request, None)
        caller = self._interpreters.unchanged(request.caller)
        return None if caller is None else self._key(request, _checked(caller, request))

    def ready(self, key: str) -> Environment | None:
        """The environment for the request with this key, if it is there. Builds nothing, waits for nothing."""
        answer = self._files.answer(key)
        if answer is None or (answer.system and answer.system not in self._system_seen):
            return None  # system packages may have gone with an earlier container: they are looked at once
        return answer.environment

    async def get(self, request: EnvironmentRequest, *, on_stage: Callable[[str], None] | None = None) -> Environment:
        """The environment for a request; built first, unless it is there. Callers that ask at once share one build.

        `on_stage` hears how much is to be installed ("3 packages") as soon as that is known. Raises InstallFailed; for
        a while after a failure without a new try. When the last caller is cancelled, the build ends.
        """
        caller = await self._caller(request)
        key = self._key(request, caller)
        if (environment := self.ready(key)) is not None:
            return environment
        self._raise_remembered(key, request)
        build = self._builds.get(key)
        if build is None:
            build = self._builds[key] = _Build()
            build.task = asyncio.create_task(self._build(key, request, caller, build.say))
        return await self._join(key, build, build.task, on_stage)

    async def _join(
        self, key: str, build: _Build, task: asyncio.Task[Environment] | None, on_stage: Callable[[str], None] | None
    ) -> Environment:
        assert task is not None
        if on_stage is not None:
            build.listeners.append(on_stage)
            if build.detail:
                on_stage(build.detail)
        build.waiting += 1
        try:
            return await asyncio.shield(task)
        finally:
            build.waiting -= 1
            if on_stage is not None:
                build.listeners.remove(on_stage)
            if not build.waiting:  # it is done, or nobody wants it any more
                if self._builds.get(key) is build:
                    del self._builds[key]
                task.cancel()
                await asyncio.wait([task])

    async def _caller(self, request: EnvironmentRequest) -> Interpreter | None:
        if request.caller is None:
            return None
        return _checked(await self._interpreters.inspect(request.caller), request)

    def _key(self, request: EnvironmentRequest, caller: Interpreter | None) -> str:
        known = (request, caller.digest if caller is not None else "")
        if known not in self._keys:
            if len(self._keys) >= _KEYS_KEPT:
                self._keys.clear()
            data = {
                "caller": known[1],
                "python": request.python,
                "dependencies": _unordered(request.dependencies),
                "system": _unordered(request.system_dependencies),
                "index": asdict(request.index if request.packages else PackageIndex()),
            }
            if request.lock:
                data["lock"] = request.lock
            if not request.accelerate:
                data["installer"] = "pip"
            self._keys[known] = canonical_hash(data)
        return self._keys[known]

    # ---- failures

    def _raise_remembered(self, key: str, request: EnvironmentRequest) -> None:
        failure = self._failures.get(key)
        if failure is None:
            return
        if self._clock() < failure.until and failure.links == _link_marks(request.index):
            raise InstallFailed(failure.message)
        del self._failures[key]

    def _remember(self, key: str, request: EnvironmentRequest, failure: InstallFailed) -> None:
        until = self._clock() + min(self._failure_memory_s, failure.holds_s)
        self._failures[key] = _Failure(str(failure), until, _link_marks(request.index))

    # ---- building

    async def _build(
        self, key: str, request: EnvironmentRequest, caller: Interpreter | None, say: Callable[[str], None]
    ) -> Environment:
        """One build, with its failures translated and remembered."""
        try:
            async with asyncio.timeout(BUILD_LIMIT_S):
                return await self._answer(key, request, caller, say)
        except InstallFailed as failure:
            self._remember(key, request, failure)
            raise
        except TimeoutError:
            wanted = ", ".join((*request.dependencies, *request.system_dependencies))
            late = InstallFailed(f"installing {wanted} took longer than {BUILD_LIMIT_S:.0f} s and was given up")
            self._remember(key, request, late)
            raise late from None
        except OSError as error:
            raise InstallFailed(
                f"the folder of environments {self._files.folder} cannot be used: {error}. Make room or give rights"
                " there, or choose another folder by FLASH_HOME",
                holds_s=0,
            ) from None

    async def _answer(
        self, key: str, request: EnvironmentRequest, caller: Interpreter | None, say: Callable[[str], None]
    ) -> Environment:
        check_requirements(request.packages)
        self._files.prepare()
        system = _unordered(request.system_dependencies)
        if system:
            await self._apt.ensure(system)
            self._system_seen.add(system)
        async with self._files.lock(f"request-{key}"):
            if (environment := self.ready(key)) is not None:  # from an earlier process, or another one was faster
                return environment
            started = self._clock()
            environment = await self._builder.build(request, caller, say)
            self._files.record(key, Answer(environment, system))
        logger.info("environment %s: ready after %.1f s", environment.key[:12], self._clock() - started)
        return environment


def _unordered(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({text.strip() for text in texts}))


def _link_marks(index: PackageIndex) -> tuple[int, ...]:
    """When each local folder of packages was last changed: a wheel that was put there is worth a new try."""
    return tuple(os.stat(link).st_mtime_ns if os.path.isdir(link) else 0 for link in index.find_links)


def _checked(caller: Interpreter, request: EnvironmentRequest) -> Interpreter:
    """The caller's interpreter. Raises InstallFailed: it has another version by now."""
    if caller.minor != request.python:
        raise InstallFailed(
            f"{caller.path} is Python {caller.minor} by now, and the code comes from Python {request.python}; start"
            " your program again",
            holds_s=0,
        )
    return caller
