"""The body of a request, read as it comes; tells when the client has left."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.types import Receive

_PARTS = 8  # that wait to be read


class Inbound:
    """One request's body. Iterate over it once, or `read` it whole."""

    def __init__(self, receive: Receive) -> None:
        self.gone = asyncio.Event()
        self._receive = receive
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue(_PARTS)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator["Inbound"]:
        """While inside, the body is read, and after it the client is watched."""
        task = asyncio.create_task(self._pump(), name="dev-inbound")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._parts.get()) is not None:
            yield part

    async def read(self, limit: int) -> bytes | None:
        """The whole body; None where it has more than `limit` bytes."""
        parts, size = [], 0
        async for part in self:
            size += len(part)
            if size > limit:
                return None
            parts.append(part)
        return b"".join(parts)

    async def _pump(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            if message.get("body"):
                await self._parts.put(message["body"])
            if not message.get("more_body", False):
                await self._parts.put(None)
