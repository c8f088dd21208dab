"""A receiver of webhooks: a real HTTP server on loopback that keeps what it got and answers as a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

HANG = 0
"""The status of an answer that never comes."""


@dataclass
class Got:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Receiver:
    """`answers` are the statuses of the next answers, by path; without one it is 200."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: dict[str, list[int]] = field(default_factory=dict)
    most_at_once: int = 0
    _now: int = 0
    _release: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Where it listens."""
        return f"http://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Got]:
        """What came there."""
        return [got for got in self.got if got.path == path]

    def release(self) -> None:
        """Let those go that hang."""
        self._release.set()

    async def answer(self, request: web.Request) -> web.Response:
        self.got.append(Got(request.path, dict(request.headers), await request.json()))
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            answers = self.answers.get(request.path, [])
            status = answers.pop(0) if answers else 200
            if status == HANG:
                await self._release.wait()
            location = {"Location": self.url("/elsewhere")} if 300 <= status < 400 else {}
            return web.Response(status=status or 200, headers=location)
        finally:
            self._now -= 1


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver, gone at the end."""
    it = Receiver()
    app = web.Application(client_max_size=64 * 1024**2)
    app.router.add_post("/{path:.*}", it.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        it.port = runner.addresses[0][1]
        yield it
    finally:
        it.release()
        await runner.cleanup()


async def until(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    """Return as soon as the condition holds; fail where it does not."""
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)
