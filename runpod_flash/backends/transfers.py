"""What is large, or takes long, over a connection: whole bodies piece by piece, and answers of many lines."""

import asyncio
import hashlib
import io
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, TypeVar

import httpx

from runpod_flash.backends.base import Json
from runpod_flash.backends.clients import Lanes
from runpod_flash.backends.events import Lines
from runpod_flash.backends.held import Purpose
from runpod_flash.backends.patience import Busy
from runpod_flash.errors import FlashError

T = TypeVar("T")

STREAM_SILENCE_S: Final = 45.0
"""A stream on which nothing comes for so long is lost: the platform sends a beat every 15 s."""

CONNECT_S: Final = 10.0
"""How long a connection may take to be made, in seconds."""

_CHUNK: Final = 1024 * 1024


class Transfers:
    """Brings and takes. A connection is one, and has what this needs."""

    _lanes: Lanes | None
    _transfers: asyncio.Semaphore
    _held_requests: Mapping[Purpose, asyncio.Semaphore]

    @abstractmethod
    async def _repeat(
        self, once: Callable[[httpx.AsyncClient], Awaitable[T]], gate: asyncio.Semaphore, *, repeat: bool = True
    ) -> T:
        """Do something, again where a connection breaks. Raises a FlashError."""
        ...

    @abstractmethod
    def _refused(self, response: httpx.Response, missing: type[FlashError]) -> FlashError | Busy:
        """What a bad answer means."""
        ...

    async def fetch(self, path: str, missing: type[FlashError]) -> tuple[bytes, str]:
        """Get something large: its bytes and their sha256. Raises as `send` does."""

        async def take(pieces: AsyncIterator[bytes]) -> tuple[bytes, str]:
            buffer, digest = io.BytesIO(), hashlib.sha256()
            async for piece in pieces:
                buffer.write(piece)
                digest.update(piece)
            return buffer.getvalue(), digest.hexdigest()

        return await self.download(path, take, missing)

    async def store(self, path: str, data: bytes, missing: type[FlashError]) -> None:
        """Put something large, piece by piece. Raises as `send` does."""
        await self.upload(path, lambda: _pieces(data), len(data), missing)

    async def download(
        self,
        path: str,
        take: Callable[[AsyncIterator[bytes]], Awaitable[T]],
        missing: type[FlashError],
        params: Mapping[str, str] | None = None,
    ) -> T:
        """Let `take` have what comes, piece by piece; anew from the start where a connection breaks.

        Raises as `send` does.
        """

        async def once(client: httpx.AsyncClient) -> T:
            async with client.stream("GET", path, params=params) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._refused(response, missing)
                return await take(response.aiter_bytes(_CHUNK))

        return await self._repeat(once, self._transfers)

    async def read_lines(
        self,
        path: str,
        params: Callable[[], Mapping[str, str]],
        take: Callable[[Json], None],
        missing: type[FlashError],
    ) -> None:
        """Hand each JSON object of an answer of lines to `take`, as it comes, to the answer's end.

        Where a connection breaks, it is asked for again, with what `params` gives then. Raises as `send` does.
        """
        timeout = httpx.Timeout(connect=CONNECT_S, read=STREAM_SILENCE_S, write=60.0, pool=None)

        async def once(_: httpx.AsyncClient) -> None:
            assert self._lanes is not None
            async with self._lanes.lane() as client:
                asked = client.stream("GET", path, params=params(), timeout=timeout)
                async with asked as response:
                    if not response.is_success:
                        await response.aread()
                        raise self._refused(response, missing)
                    lines = Lines()
                    async for chunk in response.aiter_bytes():
                        for each in lines.feed(chunk):
                            take(each)

        await self._repeat(once, self._held_requests[Purpose.LINES])

    async def upload(
        self,
        path: str,
        pieces: Callable[[], AsyncIterator[bytes]],
        size: int,
        missing: type[FlashError],
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Put the `size` bytes of `pieces`; anew from the start where a connection breaks. Raises as `send` does."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}

        async def once(client: httpx.AsyncClient) -> None:
            response = await client.put(path, content=pieces(), headers=headers, params=params)
            if not response.is_success:
                raise self._refused(response, missing)

        await self._repeat(once, self._transfers)

    async def follow(
        self,
        path: str,
        json: Json,
        take: Callable[[AsyncIterator[bytes]], Awaitable[T]],
        missing: type[FlashError],
    ) -> T:
        """Post something that takes long and let `take` have the lines of the answer as they come.

        It is not asked for again once it was sent. Raises as `send` does.
        """
        timeout = httpx.Timeout(connect=CONNECT_S, read=STREAM_SILENCE_S, write=60.0, pool=None)
        headers = {"Accept": "application/x-ndjson"}

        async def once(client: httpx.AsyncClient) -> T:
            async with client.stream("POST", path, json=json, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    await response.aread()
                    raise self._refused(response, missing)
                return await take(response.aiter_bytes())

        return await self._repeat(once, self._transfers, repeat=False)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(view), _CHUNK):
        yield bytes(view[start : start + _CHUNK])
