"""A session of `flash dev`, from the first build to the last word: everything that it starts ends with it."""

import asyncio
import contextlib
import socket
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flash_cli.builds.manifest import BuildManifest
from flash_cli.dev.app import DevApp
from flash_cli.dev.hearing import Hearing
from flash_cli.dev.project import LiveProject
from flash_cli.dev.reporter import Reporter
from flash_cli.dev.route_documents import RouteDocuments
from flash_cli.dev.serving import listening, serving
from flash_cli.dev.stage import RENEW_S, EphemeralStage
from flash_cli.dev.stamps import Stamps
from flash_cli.dev.state import State
from flash_cli.dev.stopping import Stops
from flash_cli.dev.upstream import Upstream
from flash_cli.dev.visits import Ended, Visits
from flash_cli.dev.warming import Warming
from flash_cli.dev.watching import watch
from flash_cli.dev.writings import Writings
from runpod_flash.backends.base import Backend
from runpod_flash.errors import BackendError, FlashError

_GOODBYE_S: Final = 15.0  # for the stage to be removed
_AGAIN_S: Final = 1.0
_BEHIND_S: Final = 0.1  # what a function prints comes over another connection than its answer, and is shown first

Complete = Callable[[BuildManifest, Mapping[str, Path]], Awaitable[BuildManifest]]
"""Adds to a manifest what only the target knows, given the file of each artifact by its id. Raises FlashError."""


@dataclass(frozen=True, slots=True)
class Source:
    """A project: its folder, how it is built, its files, and which paths are worth a look when they change."""

    folder: Path
    build: Callable[[Any], Awaitable[Any]]
    files: Callable[[], list[Path]]
    matters: Callable[[Path], bool]

    def look(self) -> Stamps:
        """The stamps of all files that count."""
        return Stamps.of(self.folder, self.files())


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for. `provision`: workers start before they are called; `label`: whose session it is."""

    app: str
    host: str
    port: int
    label: str
    target: str
    reloads: bool = True
    provision: bool = False


async def run(backend: Backend, complete: Complete, source: Source, wanted: Wanted, reporter: Reporter) -> int:
    """Serve until a signal comes; gives the exit status.

    Raises:
        FlashError: nothing can be served. What was made is removed.
    """
    stage = EphemeralStage(backend, wanted.app, wanted.label, reporter.preparing)
    with listening(wanted.host, wanted.port) as sockets, Stops().heard() as stops:
        session = _Session(backend, complete, source, wanted, reporter, stage)
        life = asyncio.create_task(session.live(sockets), name="dev-session")
        asked = asyncio.create_task(stops.asked.wait())
        try:
            await asyncio.wait({life, asked}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
        finally:
            for task in (life, asked):
                task.cancel()
            await asyncio.gather(life, asked, return_exceptions=True)
            await _farewell(stage, stops, reporter)
    return stops.exit_status


async def _farewell(stage: EphemeralStage, stops: Stops, reporter: Reporter) -> None:
    """Remove the stage; whoever does not want to wait leaves it to its expiry."""
    if not stage.is_made:
        return
    removing = asyncio.create_task(stage.delete())
    insisted = asyncio.create_task(stops.insisted.wait())
    try:
        await asyncio.wait({removing, insisted}, timeout=_GOODBYE_S, return_when=asyncio.FIRST_COMPLETED)
        if removing.done():
            removing.result()
            reporter.say("stopped, and what it made is removed")
        else:
            reporter.say(f"stage {stage.name} of app {stage.app} is still there; it goes by itself when it expires")
    except FlashError as error:
        reporter.say(f"stage {stage.name} of app {stage.app} could not be removed and goes when it expires: {error}")
    finally:
        for task in (removing, insisted):
            task.cancel()
        await asyncio.gather(removing, insisted, return_exceptions=True)


class _Session:
    """The parts of a session, put together. A `Listener` of the target's events, too."""

    def __init__(
        self,
        backend: Backend,
        complete: Complete,
        source: Source,
        wanted: Wanted,
        reporter: Reporter,
        stage: EphemeralStage,
    ) -> None:
        self._complete, self._source, self._wanted, self._stage = complete, source, wanted, stage
        self._reporter = reporter
        client = uuid.uuid4().hex
        self._upstream = Upstream(backend.address)
        self._visits = Visits(self._visited)
        self._hearing = Hearing(self._upstream, client, self)
        self._warming = Warming(self._upstream)
        self._writings = Writings(backend.look, reporter.event)
        self._project = LiveProject(source.build, self._deploy, source.look, self, reloads=wanted.reloads)
        self._documents = RouteDocuments(self._upstream)
        self._app = DevApp(
            self._project,
            self._upstream,
            self._visits,
            host=wanted.host,
            client=client,
            waiting=reporter.waiting,
            documents=lambda state: self._documents.of(state, self._used),
        )
        self._used: set[str] = set()  # endpoints that were called
        self._untold: deque[Ended] = deque()  # requests whose line is shown in a moment
        self._renew = asyncio.Event()

    async def live(self, sockets: list[socket.socket]) -> None:
        """Serve until cancelled. Raises FlashError: there is nothing to serve."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._tell_all)
            stack.push_async_callback(self._upstream.close)
            stack.push_async_callback(self._warming.close)
            stack.push_async_callback(self._writings.close)
            alive = asyncio.create_task(self._stay_alive(), name="dev-renewing")
            stack.push_async_callback(_end, alive)
            await self._project.start()  # which may take long, where much is installed
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            listening = tasks.create_task(self._hearing.listen())
            stack.callback(listening.cancel)
            server = await stack.enter_async_context(serving(self._app, sockets))
            url = _url(self._wanted.host, sockets[0].getsockname()[1])
            self._reporter.serving(url, self._wanted.target, self._project.state)
            tasks.create_task(_outcome(alive))
            if self._wanted.reloads:
                tasks.create_task(watch(self._source.folder, self._source.matters, self._project.notice))
                tasks.create_task(self._project.run())
            await server
            raise BackendError("the HTTP server has ended by itself; start it again")

    async def _deploy(self, manifest: BuildManifest, artifacts: Mapping[str, Path]) -> Mapping[str, str]:
        return await self._stage.deploy(await self._complete(manifest, artifacts), artifacts)

    async def _stay_alive(self) -> None:
        """Renew the stage now and then; where the target lost it, it comes back."""
        pause, said = RENEW_S, ""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._renew.wait()
            self._renew.clear()
            try:
                ids = await self._stage.renew()
            except FlashError as error:
                pause = _AGAIN_S
                if str(error) != said:
                    said = str(error)
                    self._reporter.say(f"the session cannot be kept alive on the target: {error}")
                continue
            pause, said = RENEW_S, ""
            if self._project.awaits_target:
                self._project.notice()
            if ids is not None:
                self._project.moved(ids)
                self._writings.follow(ids)
                self._reporter.say("the target had lost this session's endpoints; they are there again")

    def _visited(self, ended: Ended) -> None:
        self._used.add(ended.endpoint)
        self._untold.append(ended)
        asyncio.get_running_loop().call_later(_BEHIND_S, self._tell)

    def _tell(self) -> None:
        if self._untold:
            self._reporter.visited(self._untold.popleft())

    def _tell_all(self) -> None:
        while self._untold:
            self._tell()

    def taken_up(self, before: State, now: State, warnings: Sequence[str], took_s: float) -> None:
        """See `project.Told`: workers of what was used before start now, with the new code."""
        self._reporter.taken_up(before, now, warnings, took_s)
        self._writings.follow(now.ids)
        old, new = before.table.endpoints, now.table.endpoints
        wanted = set(new) if self._wanted.provision else self._used
        self._warming.warm(now, [name for name in new if name in wanted and new[name] != old.get(name)])

    def hear(self, event: Mapping[str, Any]) -> None:
        """See `hearing.Listener`."""
        self._visits.hear(event)
        if event.get("event") != "log":  # all lines come by another way, also those of calls from elsewhere
            self._reporter.event(event)

    def lost(self, why: str) -> None:
        """See `hearing.Listener`."""
        self._reporter.say(f"the target went away ({why}); calls wait for it")

    def back(self) -> None:
        """See `hearing.Listener`."""
        self._reporter.say("the target is there again")
        self._renew.set()


def _url(host: str, port: int) -> str:
    """Where a browser finds it."""
    name = "localhost" if host == "127.0.0.1" else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


async def _outcome(task: asyncio.Task[None]) -> None:
    await task


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
