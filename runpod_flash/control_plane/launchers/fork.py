"""Starts workers by forking them from processes that have imported what they need; where that cannot be, plainly.

    calls of our SDK            the worker's parent, its init process and its child are forked
    where that cannot be        parent and init are forked, the child starts a program: it must be isolated from others,
                                or no fork server of its environment is ready yet, or that cannot be forked from
    commands, servers           the same
    no fork server at all       all are started by the plain launcher

A fork server that ends, hangs, or has imported what is no more as it was costs one worker a plain start; another one
follows.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from runpod_flash.control_plane.launchers.fork_server import ForkServer, Kind, NotForked, Spawned, own_kind
from runpod_flash.control_plane.launchers.process import LocalProcess, ProcessLauncher
from worker_runtime.preloading import Packages
from worker_runtime.wire.specs import WorkerLaunch

logger = logging.getLogger(__name__)

OF_ONE_WORKER = ("RUNPOD_POD_ID", "FLASH_API_KEY")
"""Variables that each worker has another value of: nothing can be imported with them before it is forked."""

_UNUSED_S = 300.0  # after which a fork server ends whose last worker has gone
_MOST = 8  # fork servers at a time, beside that of the control plane's own interpreter
_TRIES = 3  # of starting one
_ENDS: Final = f"the process that imports ahead ended while it did so, {_TRIES} times in a row"
_OWN_S = 2.0  # for the first one to be ready; a plain start takes less than what is lost by waiting longer


@dataclass(slots=True)
class _Place:
    """A kind of fork server, whether there is one or not."""

    server: ForkServer | None = None
    starting: "asyncio.Task[None] | None" = None
    failures: int = 0
    unfit: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)  # what the last one could not import, each with the error
    workers: int = 0  # that live and could have been forked from it
    unused: asyncio.TimerHandle | None = None
    untold: dict[str, WorkerLaunch] = field(default_factory=dict)  # by endpoint: who is to hear of `unfit` and `failed`
    told: set[str] = field(default_factory=set)  # the endpoints that have heard

    @property
    def can_start(self) -> bool:
        return self.server is None and self.starting is None and not self.unfit and self.failures < _TRIES


class ForkLauncher:
    """Forks workers. It must be closed."""

    def __init__(
        self, bundle: Path, plain: ProcessLauncher, *, preloads: bool = True, spawned: Spawned | None = None
    ) -> None:
        """`preloads`: whether packages of endpoints may be imported where no worker's walls stand around them.

        `spawned`: the process of a fork server of the control plane's own interpreter, started before `begin`.

        Callbacks, which can be set later: `on_notice` hears why workers like this one are not forked, `on_failed` which
        modules could not be imported before that, each with the error.
        """
        self._plain = plain
        self._preloads = preloads
        self._own = own_kind(bundle)
        self._spawned = spawned
        self._places: dict[Kind, _Place] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self.on_notice: Callable[[WorkerLaunch, str], None] = lambda launch, text: None
        self.on_failed: Callable[[WorkerLaunch, Mapping[str, str]], None] = lambda launch, failed: None

    def begin(self) -> None:
        """Start the fork server of the control plane's own interpreter."""
        self._want(self._own)

    async def start(self, launch: WorkerLaunch) -> LocalProcess:
        """Start one worker, forked where that is possible. Raises OSError."""
        Path(launch.folder).mkdir(parents=True, exist_ok=True)
        kinds = self._kinds(launch)
        used = [(kind, self._want(kind)) for kind in kinds]
        for _, place in used:
            self._count(place)
            self._tell(place, launch)
        process = await self._forked(launch, kinds) or await self._plain.start(launch)
        watch = asyncio.ensure_future(self._until_ended(process, used))
        self._ending.add(watch)
        watch.add_done_callback(self._ending.discard)
        return process

    def prepare(self, launch: WorkerLaunch) -> None:
        """Let there be a fork server for the workers that come after this one."""
        for kind in self._kinds(launch)[:1]:
            self._tell(self._want(kind), launch)

    async def close(self) -> None:
        """End all fork servers. Workers live on until they are told to end, or see that the control plane has gone."""
        self._closed = True
        for place in self._places.values():
            if place.starting is not None:
                place.starting.cancel()
                await asyncio.wait([place.starting])
            if place.unused is not None:
                place.unused.cancel()
            if (server := place.server) is not None:
                server.end()
                await server.wait()
        for watch in self._ending:
            watch.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _kinds(self, launch: WorkerLaunch) -> list[Kind]:
        """The fork servers in whose interpreter the child could go on, the best first."""
        if not self._preloads or launch.must_isolate or launch.command is not None or launch.port:
            return []
        bare = Kind(launch.python, launch.bundle, Packages(launch.overlay))
        if not launch.preload:
            return [bare]
        env = tuple(sorted((name, value) for name, value in launch.env.items() if name not in OF_ONE_WORKER))
        packages = Packages(launch.overlay, launch.preload, len(launch.cpus))
        return [Kind(launch.python, launch.bundle, packages, env), bare]

    async def _forked(self, launch: WorkerLaunch, kinds: list[Kind]) -> LocalProcess | None:
        ways = [(kind, True) for kind in kinds] + [(self._own, False)]
        for kind, whole in ways:
            place = self._want(kind)
            if kind == self._own and place.starting is not None:  # the control plane has just begun
                await asyncio.wait([place.starting], timeout=_OWN_S)
            if place.server is None or not place.server.ready:
                continue
            try:
                return LocalProcess(await place.server.fork(launch, whole=whole))
            except NotForked as reason:
                logger.info("worker %s is started in another way: %s", launch.worker, reason)
        return None

    def _want(self, kind: Kind) -> _Place:
        """The place of a kind, where a fork server is on its way unless there is one or can be none."""
        place = self._places.setdefault(kind, _Place())
        if place.can_start and not self._closed:
            self._make_room()
            place.starting = asyncio.ensure_future(self._start(kind, place))
        return place

    async def _start(self, kind: Kind, place: _Place) -> None:
        server: ForkServer | None = None
        try:
            server = self._adopted(kind) or ForkServer.start(kind)
            if await server.begun():
                place.server, place.failures = server, 0
                server.on_end = lambda: self._over(place, server)
                logger.info("fork server %d is ready: %s", server.pid, _described(kind))
            else:
                place.failures += 1
                place.unfit = server.unfit or ("" if place.failures < _TRIES else _ENDS)
                logger.warning("fork server %d of %s: %s", server.pid, _described(kind), server.unfit or "it ended")
            place.failed = server.failed
            if server.failed:
                logger.warning("fork server %d of %s: %s", server.pid, _described(kind), dict(server.failed))
        except OSError as error:
            place.failures += 1
            logger.warning("a fork server of %s cannot be started: %s", _described(kind), error)
        finally:
            place.starting = None
            if server is not None and place.server is not server:
                server.end()
                await server.wait()
        for launch in list(place.untold.values()):
            self._tell(place, launch)

    def _tell(self, place: _Place, launch: WorkerLaunch) -> None:
        """Say what is wrong with a place, now or as soon as that is known; each endpoint hears it once."""
        if place.starting is not None:
            place.untold[launch.endpoint] = launch
            return
        place.untold.pop(launch.endpoint, None)
        if (place.unfit or place.failed) and launch.endpoint not in place.told:
            place.told.add(launch.endpoint)
            if place.unfit:
                self.on_notice(launch, f"its workers are started without preloading: {place.unfit}")
            if place.failed:
                self.on_failed(launch, place.failed)

    def _adopted(self, kind: Kind) -> ForkServer | None:
        """The one that was started already, once."""
        if self._spawned is None or kind != self._own:
            return None
        server, self._spawned = ForkServer(self._spawned), None
        return server

    def _over(self, place: _Place, server: ForkServer | None) -> None:
        if place.server is server:
            place.server = None
        if server is not None:
            reaping = asyncio.ensure_future(server.wait())
            self._ending.add(reaping)
            reaping.add_done_callback(self._ending.discard)

    # ---- how long they are kept

    @staticmethod
    def _count(place: _Place) -> None:
        place.workers += 1
        if place.unused is not None:
            place.unused.cancel()
            place.unused = None

    async def _until_ended(self, process: LocalProcess, used: list[tuple[Kind, _Place]]) -> None:
        await process.wait()
        for kind, place in used:
            place.workers -= 1
            if not place.workers and kind != self._own and self._places.get(kind) is place:
                place.unused = asyncio.get_running_loop().call_later(_UNUSED_S, self._drop, kind)

    def _drop(self, kind: Kind) -> None:
        place = self._places.pop(kind, None)
        if place is None:
            return
        if place.starting is not None:
            place.starting.cancel()  # which ends what it has started
        if place.server is not None:
            place.server.end()

    def _make_room(self) -> None:
        """End the fork server that was wanted first of those that nobody uses, where there are many."""
        there = [kind for kind, place in self._places.items() if place.server is not None and kind != self._own]
        if len(there) >= _MOST:
            unused = [kind for kind in there if not self._places[kind].workers]
            self._drop((unused or there)[0])


def _described(kind: Kind) -> str:
    modules = ", ".join(kind.packages.preload)
    return (
        kind.python
        + (f" with {kind.packages.overlay}" if kind.packages.overlay else "")
        + (f", {modules} imported" if modules else "")
    )
