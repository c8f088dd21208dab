"""A gateway on a real port, with real HTTP servers behind it, all in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from runpod_flash.control_plane.balancing.gateway import Gateway
from runpod_flash.control_plane.balancing.hosts import PREFIX, HostRouting, PathRouting
from runpod_flash.control_plane.balancing.late_client import LateClient
from runpod_flash.control_plane.balancing.picking import Upstream
from runpod_flash.control_plane.http_protocol import HttpProtocol
from runpod_flash.control_plane.limits import Limits
from runpod_flash.errors import EndpointNotFound
from tests.support.prompt_server import PromptServer

ENDPOINT = "abc123"


async def until(condition: Callable[[], object], deadline_s: float = 10.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, **settings: Any) -> AsyncIterator[int]:
    """An ASGI application on a free port of 127.0.0.1, which is given."""
    config = uvicorn.Config(
        app,
        port=0,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=2,
        http=HttpProtocol,
        ws="websockets-sansio",
        **settings,
    )
    server = PromptServer(config)
    task = asyncio.create_task(server._serve())  # `serve` would take the signals of the test process
    await until(lambda: server.started or task.done())
    try:
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.end()
        await asyncio.wait_for(task, 10)


@contextlib.asynccontextmanager
async def raw_server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    """A server in the test's own words: `answer` has each connection, which is closed after it. Gives the port."""
    conversations: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            conversations.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(conversations):
            task.cancel()
        if conversations:
            await asyncio.wait(list(conversations))
        await server.wait_closed()


@dataclass
class FewWorkers:
    """The workers of ENDPOINT, as the test says."""

    workers: dict[str, Upstream] = field(default_factory=dict)
    reason: str | None = None
    waited_for: int = 0

    def of(self, endpoint_id: str) -> Iterable[Upstream]:
        return list(self.workers.values()) if endpoint_id == ENDPOINT else []

    def are_waited_for(self, endpoint_id: str) -> None:
        self.waited_for += 1

    def hopeless(self, endpoint_id: str) -> str | None:
        return self.reason


@dataclass
class Balanced:
    """The gateway, its workers, and a client of it."""

    gateway: Gateway
    workers: FewWorkers
    client: aiohttp.ClientSession
    port: int
    changes: list[tuple[int, int]]  # what `on_change` saw: in flight, waiting

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """The URL of a path of the endpoint."""
        return f"{scheme}://127.0.0.1:{self.port}{PREFIX}/{ENDPOINT}{path}"

    def add(self, worker: str, port: int, *, healthy: bool = True) -> None:
        """A worker comes."""
        self.workers.workers[worker] = Upstream(worker, port, healthy)
        self.gateway.changed(ENDPOINT)

    def change(self, worker: str, **changes: Any) -> None:
        """A worker changes."""
        self.workers.workers[worker] = replace(self.workers.workers[worker], **changes)
        self.gateway.changed(ENDPOINT)

    def remove(self, worker: str) -> None:
        """A worker ends."""
        del self.workers.workers[worker]
        self.gateway.changed(ENDPOINT)

    @property
    def load(self) -> tuple[int, int]:
        """In flight, waiting."""
        load = self.gateway.loads.of(ENDPOINT)
        return load.in_flight, load.waiting


def _knows(connection: Any, endpoint_id: str) -> None:
    if endpoint_id != ENDPOINT:
        raise EndpointNotFound(f"there is no endpoint {endpoint_id!r}")


@contextlib.asynccontextmanager
async def balanced(limits: Limits | None = None, **settings: Any) -> AsyncIterator[Balanced]:
    """A gateway without workers, and after it: nothing in flight, nothing waiting."""
    workers, late = FewWorkers(), LateClient()
    authorize = settings.pop("authorize", _knows)
    gateway = Gateway(workers, limits or Limits(), late, authorize)
    changes: list[tuple[int, int]] = []

    def changed(endpoint_id: str) -> None:
        load = gateway.loads.of(endpoint_id)
        changes.append((load.in_flight, load.waiting))

    gateway.loads.on_change = changed
    plain = Starlette(
        routes=[Route("/{path:path}", lambda request: PlainTextResponse("the normal app"))],
    )
    app = HostRouting(
        Starlette(routes=[Mount(PREFIX, PathRouting(gateway)), Mount("/", plain)]), gateway, ENDPOINT.__eq__
    )
    async with serving(app, server_header=False, ws_max_size=64 * 1024**2, **settings) as port:
        client = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        plane = Balanced(gateway, workers, client, port, changes)
        try:
            yield plane
        finally:
            await client.close()
            gateway.close()
            await until(lambda: plane.load == (0, 0))
            await late.close()


class Recorder:
    """An application that keeps the scopes it saw and answers `ok`, or what the test says."""

    def __init__(self, name: str = "w1", answer: ASGIApp | None = None) -> None:
        self.name = name
        self.scopes: list[Scope] = []
        self.bodies: list[bytes] = []
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if self._answer is not None:
            await self._answer(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await PlainTextResponse(self.name)(scope, receive, send)

    def headers(self, number: int = -1) -> dict[str, str]:
        """The headers of a request that came."""
        return {name.decode(): value.decode("latin-1") for name, value in self.scopes[number]["headers"]}
