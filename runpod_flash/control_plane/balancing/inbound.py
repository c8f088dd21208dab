"""The body of a request, read a little ahead of the worker, so that a client that leaves is noticed."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from starlette.types import Message, Receive

_AHEAD: Final = 64 * 1024
_SWALLOWED: Final = 64 * 1024**2


class Inbound:
    """An async iterator over the parts of a body. Its first part is empty: then the head of the request leaves at once.

    Attributes:
        gone: is set when the client has left; `left` is done then.
        too_large: the body has more than `limit` bytes; the iteration ends with an error.
        complete: the whole body has arrived.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self.gone = asyncio.Event()
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.too_large = False
        self.complete = False
        self._receive = receive
        self._limit = limit
        self._total = 0
        self._parts: deque[bytes] = deque([b""])
        self._ahead = 0
        self._arrived, self._taken, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator["Inbound"]:
        """Read while the block runs."""
        pump = asyncio.create_task(self._pump())
        try:
            yield self
        finally:
            pump.cancel()
            await asyncio.wait([pump])

    def __aiter__(self) -> "Inbound":
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self.too_large or (self.gone.is_set() and not self.complete):
                raise ConnectionAbortedError("the rest of the request's body does not come")
            if self._parts:
                part = self._parts.popleft()
                self._ahead -= len(part)
                self._taken.set()
                return part
            if self.complete:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()

    async def swallow(self, seconds: float) -> None:
        """Let the rest of a body that is too large pass, within bounds, so that the client gets round to the answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def _pump(self) -> None:
        try:
            while not self.gone.is_set() and self._total <= self._limit + _SWALLOWED:
                await self._room()
                self._take(await self._receive())
                self._arrived.set()
        finally:
            self._ended.set()

    async def _room(self) -> None:
        while self._ahead >= _AHEAD and not self.too_large:
            self._taken.clear()
            await self._taken.wait()

    def _take(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.gone.set()
            if not self.left.done():
                self.left.set_result(None)
            return
        body: bytes = message.get("body", b"")
        self._total += len(body)
        self.too_large = self._total > self._limit
        self.complete = not message.get("more_body", False)
        if self.complete:
            self._ended.set()
        if body and not self.too_large:
            self._parts.append(body)
            self._ahead += len(body)
