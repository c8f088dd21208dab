"""The HTTP client towards workers. It changes nothing by itself: no redirects, cookies, compression or headers."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from yarl import URL

_OWN_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_LONGEST_HEADER: Final = 64 * 1024

KEEP_S: Final = 30.0
"""Seconds for which an idle connection is kept. `worker_runtime.serve` keeps its own for longer."""

_RESET: Final = (errno.ECONNRESET, errno.EPIPE)
"""How a connection ends at which a process ended, or closed its end, with something that it had not read."""

FAULTS: Final = (aiohttp.ClientError, OSError, ValueError)
"""What a request to a worker may raise, beside TimeoutError. ValueError: it has sent what is no HTTP."""


class NoAnswer(aiohttp.ClientError):
    """The connection failed or ended before there was an answer."""


class NotReached(NoAnswer):
    """There is nobody at the worker's port who could have read the request: nothing was sent, or it came too late."""


class Redirected(aiohttp.ClientError):
    """A worker answers the handshake of a websocket with a redirect, which is not followed."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        super().__init__(f"redirected with {answer.status}")
        self.status, self.headers = answer.status, answer.headers


class Client:
    """A connection is made for each request, but to servers that keep theirs as long as they live (`keep`).

    Of others none can be closed while it is reused, which nobody could tell from a request that was lost.
    """

    def __init__(self) -> None:
        self.session: Final = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        self._keeping: Final = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_S))

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        url: URL,
        headers: list[tuple[str, str]],
        body: AsyncIterator[bytes] | None,
        *,
        keep: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; gives the answer when its head is here. Raises FAULTS.

        At the end the connection is closed, unless it is kept and the whole answer was read. A server that ended while
        a request without a body was on its way to it has not read that: NotReached.
        """
        session = self._keeping if keep else self.session
        try:
            answer = await session.request(method, url, headers=headers, data=body, allow_redirects=False)
        except NoAnswer as error:
            if keep and body is None and getattr(error.__cause__, "errno", None) in _RESET:
                raise NotReached(str(error)) from error
            raise
        try:
            yield answer
        finally:
            answer.close()

    async def status(self, url: str, seconds: float) -> int | None:
        """The status that a GET of this URL is answered with; None where no answer comes in time."""
        try:
            async with asyncio.timeout(seconds), self.request("GET", URL(url), [("Accept", "*/*")], None) as answer:
                return answer.status
        except (*FAULTS, TimeoutError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()
        await self._keeping.close()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=_OWN_HEADERS,
        middlewares=(_once,),
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )


def worker_url(port: int, path: bytes, query: bytes) -> URL:
    """The URL of a path on a worker, byte for byte; nothing in it is decoded, joined or made canonical."""
    return URL.build(
        scheme="http",
        host="127.0.0.1",
        port=port,
        path=path.decode("ascii"),
        query_string=query.decode("ascii"),
        encoded=True,
    )


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once. aiohttp would try some a second time, and follow redirects of a websocket's handshake."""
    try:
        answer = await handler(request)
    except aiohttp.ClientConnectorError as error:
        raise NotReached(str(error)) from error
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise NoAnswer(str(error)) from error
    if "Upgrade" in request.headers and 300 <= answer.status < 400:
        answer.close()
        raise Redirected(answer)
    return answer
