"""The way to the target for requests of others: streams both ways, changes nothing, and finds a target that moved."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from runpod_flash.backends.clients import Address, certificates
from runpod_flash.errors import BackendUnavailable, FlashError

T = TypeVar("T")

FAULTS: Final = (aiohttp.ClientError, OSError, ValueError)
"""What a request may raise, beside TimeoutError and errors of ours. ValueError: what came is no HTTP."""

_AWAY_S: Final = 30.0  # how long a target that was there is looked for before a request fails
_PAUSE_S: Final = (0.05, 1.0)
_KEPT_S: Final = 3.0
_LONGEST_HEADER: Final = 64 * 1024
_OWN_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

Locate = Callable[[], Awaitable[Address]]
"""Finds the target, or starts it where it is the embedded one. Raises FlashError."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for the target.

    Attributes:
        path: raw, with its query.
        body: bytes, pieces or nothing.
        repeat: whether it may be sent once more, where the target goes away before it answers.
    """

    method: str
    path: str
    headers: Iterable[tuple[str, str]] = ()
    body: bytes | AsyncIterator[bytes] | None = None
    repeat: bool = False


class Upstream:
    """HTTP requests and websockets to the target, with its key."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate
        self._address: Address | None = None
        self._session: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def request(self, asked: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; gives the answer when its head is here, and closes it at the end.

        Where nobody takes connections, the target is looked for and asked again: nothing was sent. So it is where the
        connection breaks off and the request may be sent twice.

        Raises:
            BackendUnavailable: the target is away, and stays so.
            FAULTS: what came is no answer.
        """
        answer = await self._until_reached(lambda: self._send(asked), repeat=asked.repeat)
        try:
            yield answer
        finally:
            answer.close()

    async def websocket(
        self, path: str, headers: Iterable[tuple[str, str]], protocols: Iterable[str], most_bytes: int
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a websocket. Raises as `request` does, and aiohttp.WSServerHandshakeError where it is refused."""

        async def once() -> aiohttp.ClientWebSocketResponse:
            session, address = await self._ready()
            return await session.ws_connect(
                _url(address, path),
                headers=[*headers, *_key(address)],
                protocols=tuple(protocols),
                max_msg_size=most_bytes,
                autoclose=False,  # the client hears of an end first
            )

        return await self._until_reached(once)

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, asked: Request) -> aiohttp.ClientResponse:
        session, address = await self._ready()
        return await session.request(
            asked.method,
            _url(address, asked.path),
            headers=[*asked.headers, *_key(address)],
            data=asked.body,
            allow_redirects=False,
        )

    async def _until_reached(self, once: Callable[[], Awaitable[T]], *, repeat: bool = False) -> T:
        end, pause = time.monotonic() + _AWAY_S, _PAUSE_S[0]
        broken = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) if repeat else (aiohttp.ClientConnectorError,)
        while True:
            try:
                return await once()
            except (*broken, BackendUnavailable) as error:
                if time.monotonic() + pause > end:
                    raise _unavailable(error) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_S[1])

    async def _ready(self) -> tuple[aiohttp.ClientSession, Address]:
        address = await self._locate()
        if self._session is None or address != self._address:
            old, self._session, self._address = self._session, _session(address), address
            if old is not None:
                await old.close()
        return self._session, address


def _session(address: Address) -> aiohttp.ClientSession:
    tls = address.url.startswith("https://")
    connector: aiohttp.BaseConnector
    if address.socket:
        connector = aiohttp.UnixConnector(address.socket, limit=0, force_close=True)
    elif tls:
        connector = aiohttp.TCPConnector(limit=0, ssl=certificates(), keepalive_timeout=_KEPT_S)
    else:
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0),
        auto_decompress=False,
        skip_auto_headers=_OWN_HEADERS,
        trust_env=tls,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )


def _url(address: Address, path: str) -> URL:
    """The URL of a raw path on the target, byte for byte: nothing in it is decoded, joined or made canonical."""
    parts = urlsplit(address.url)
    raw, _, query = path.partition("?")
    return URL.build(
        scheme=parts.scheme, authority=parts.netloc, path=parts.path + raw, query_string=query, encoded=True
    )


def _key(address: Address) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {address.key}")] if address.key else []


def _unavailable(error: Exception) -> FlashError:
    if isinstance(error, BackendUnavailable):
        return error
    return BackendUnavailable(f"the target cannot be reached: {error}; is it running?")
