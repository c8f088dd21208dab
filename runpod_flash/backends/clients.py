"""HTTP clients of a platform: one that short requests share, and lanes for those that are held long.

A pool of httpx looks at all of its connections for each request, so hundreds that are held at a time make it crawl. A
lane is a client with one connection, for one request at a time; many of them do not know of each other.
"""

import asyncio
import contextlib
import importlib.util
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import httpx

from runpod_flash import lazy
from runpod_flash.errors import ConfigError
from runpod_flash.release import VERSION

if TYPE_CHECKING:
    from runpod_flash.backends.near import Lines, NearRequests

CONNECT_S = 10.0
TIMEOUT = httpx.Timeout(connect=CONNECT_S, read=60.0, write=60.0, pool=None)

_NEAR: Final = "runpod_flash.backends.near"
_READS_ITSELF: Final = importlib.util.find_spec("httptools") is not None
"""Whether there is what `near` needs. Code of workers may be in an interpreter of another version, which lacks it."""

_KEPT_S = 3.0  # an idle connection is kept so long
_IDLE_LANES = 8


@dataclass(frozen=True, slots=True)
class Address:
    """Where a platform is. `platform` is what messages call it, `key_hint` what to do when it refuses the key.

    `calls` is the unix socket on which it speaks frames, if it has one.
    """

    url: str
    key: str | None = field(repr=False)
    platform: str
    key_hint: str
    socket: str | None = None
    calls: str | None = None


class Answered(NamedTuple):
    """An answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Lanes:
    """Clients for one request each. Some idle ones are kept with their connections, but for a unix socket's.

    Those cost nothing to make, and programs of this machine may end their event loop without a word.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._kept = 0 if address.socket else _IDLE_LANES
        self._near: NearRequests | None = None
        self._idle: list[httpx.AsyncClient] = []
        self._trust: ssl.SSLContext | None = None
        self._closed = False

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client for nobody else. Raises ConfigError: certificates cannot be read."""
        client = self._idle.pop() if self._idle else self._new()
        try:
            yield client
        except BaseException:
            await client.aclose()
            raise
        if len(self._idle) < self._kept and not self._closed:
            self._idle.append(client)
        else:
            await client.aclose()

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, silence_s: float | None
    ) -> Answered:
        """Make a request that may be held long; `silence_s`: how long nothing may come.

        Raises httpx.HTTPError; ConfigError: certificates cannot be read.
        """
        if url.startswith("/") and method != "HEAD" and _has_near(self._address):
            if self._near is None:
                headers_of_all = {
                    "Host": urlsplit(self._address.url).netloc,
                    "Accept": "*/*",
                    **_headers(self._address),
                }
                lines = _lines(self._address, self._kept)
                self._near = lazy.load(_NEAR).NearRequests(lines, list(headers_of_all.items()), CONNECT_S)
            return Answered(*await self._near.ask(method, url, headers, content, silence_s))
        timeout = httpx.Timeout(connect=CONNECT_S, read=silence_s, write=60.0, pool=None)
        async with self.lane() as client:
            response = await client.request(method, url, content=content, headers=dict(headers), timeout=timeout)
        return Answered(response.status_code, dict(response.headers), response.content)

    async def aclose(self) -> None:
        """Close what is idle; what is in use is closed by those who use it."""
        self._closed = True
        if self._near is not None:
            self._near.close()
            await asyncio.sleep(0)  # the loop may end after this, and has to close it before
        idle, self._idle = self._idle, []
        for client in idle:
            await client.aclose()

    def _new(self) -> httpx.AsyncClient:
        if self._trust is None:  # made once: it takes a while
            tls = self._address.url.startswith("https://")
            self._trust = certificates() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return new_client(self._address, kept=1 if self._kept else 0, trust=self._trust)


def requests_at_once(address: Address) -> int:
    """How many short requests are good to have under way: near, more only fight for one event loop; afar, they wait."""
    return 4 if _is_near(address) else 32


def _is_near(address: Address) -> bool:
    return address.socket is not None or urlsplit(address.url).hostname in ("localhost", "127.0.0.1", "::1")


def _has_near(address: Address) -> bool:
    """Whether `near` is the way to it: it is on this machine, and without TLS."""
    clear = address.socket is not None or (_is_near(address) and urlsplit(address.url).scheme == "http")
    return clear and _READS_ITSELF


def new_client(address: Address, kept: int | None = None, trust: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """A client that keeps so many idle connections; None: as many as are good. Raises ConfigError: no certificates."""
    kept = kept if kept is not None else requests_at_once(address) * 2
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=kept, keepalive_expiry=_KEPT_S)
    headers = _headers(address)
    transport: httpx.AsyncBaseTransport | None = None
    if _has_near(address):
        transport = lazy.load(_NEAR).NearTransport(_lines(address, kept))
    elif address.socket is not None:
        transport = httpx.AsyncHTTPTransport(uds=address.socket, limits=limits)
    if transport is not None:  # no proxy of the environment is for it
        return httpx.AsyncClient(
            base_url=address.url, transport=transport, verify=False, headers=headers, timeout=TIMEOUT, trust_env=False
        )
    return httpx.AsyncClient(
        base_url=address.url,
        verify=trust or (certificates() if address.url.startswith("https://") else False),
        limits=limits,
        headers=headers,
        timeout=TIMEOUT,
        trust_env=not _is_near(address),
    )


def _headers(address: Address) -> dict[str, str]:
    authorization = {"Authorization": f"Bearer {address.key}"} if address.key else {}
    return {"User-Agent": f"runpod-flash/{VERSION}", **authorization}


def _lines(address: Address, kept: int) -> "Lines":
    """Connections to a platform to which `near` is the way."""
    parts = urlsplit(address.url)
    place = address.socket or (parts.hostname or "", parts.port or 80)
    made: Lines = lazy.load(_NEAR).Lines(place, kept, _KEPT_S)
    return made


async def holding(client: httpx.AsyncClient, lanes: Lanes) -> AsyncGenerator[None, None]:
    """Closes them when the event loop ends, which ends its asynchronous generators."""
    try:
        yield
    finally:
        await client.aclose()
        await lanes.aclose()


def certificates() -> ssl.SSLContext:
    """Those that are trusted: of SSL_CERT_FILE or SSL_CERT_DIR, else the usual ones. Takes 50 ms."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        raise ConfigError(f"certificates cannot be read ({error}); mend SSL_CERT_FILE or SSL_CERT_DIR") from error
