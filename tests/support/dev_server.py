"""A target as the dev server sees it: an application on a real port, which can go away and come back elsewhere."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
from starlette.types import Receive, Scope, Send

from flash_cli.dev.app import DevApp
from flash_cli.dev.state import State
from flash_cli.dev.upstream import Upstream
from flash_cli.dev.visits import Ended, Visits
from runpod_flash.backends.clients import Address
from runpod_flash.errors import BackendUnavailable
from tests.support.balanced import serving


@dataclass
class Target:
    """Answers `job`, or what a test says; keeps what was asked."""

    answer: Callable[[Scope, Receive, Send], Any] | None = None
    job: Any = None
    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        if self.answer is not None:
            await self.answer(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        told = [(b"content-type", b"application/json"), (b"x-runpod-worker-id", b"w1")]
        await send({"type": "http.response.start", "status": 200, "headers": told})
        await send({"type": "http.response.body", "body": json.dumps(self.job or {"id": "j"}).encode()})

    async def address(self) -> Address:
        if not self.port:
            raise BackendUnavailable("it is away")
        return Address(f"http://127.0.0.1:{self.port}", "secret", "the target", "")

    def headers(self) -> dict[str, str]:
        """The headers of the last request."""
        return {name.decode(): value.decode("latin-1") for name, value in self.scopes[-1]["headers"]}


@dataclass
class Dev:
    """The dev server and a client of it. It is its own project: `state`, and `settled` waits for `edits`."""

    target: Target
    state: State = field(default_factory=State)
    told: list[Ended] = field(default_factory=list)
    edits: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    client: aiohttp.ClientSession = field(init=False)

    async def settled(self) -> State:
        await self.edits.wait()
        return self.state

    def serves(self, state: State) -> None:
        """The endpoints of a state get ids."""
        self.state = replace(state, ids={name: f"id-{name}" for name in state.table.endpoints})


@contextlib.asynccontextmanager
async def dev_server(state: State, target: Target | None = None) -> AsyncIterator[Dev]:
    """A dev server of a state, before a target that is served."""
    target = target or Target()
    dev = Dev(target)
    dev.serves(state)
    dev.edits.set()
    upstream = Upstream(target.address)
    app = DevApp(dev, upstream, Visits(dev.told.append), host="localhost", client="listener")
    async with contextlib.AsyncExitStack() as stack:
        target.port = await stack.enter_async_context(serving(target))
        stack.push_async_callback(upstream.close)
        port = await stack.enter_async_context(serving(app))
        dev.url = f"http://localhost:{port}"
        dev.client = await stack.enter_async_context(aiohttp.ClientSession())
        yield dev
