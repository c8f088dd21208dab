"""The HTTP client towards workers. It changes nothing by itself: no redirects, cookies, compression or headers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from yarl import URL

_OWN_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_LONGEST_HEADER: Final = 64 * 1024

FAULTS: Final = (aiohttp.ClientError, OSError, ValueError)
"""What a request to a worker may raise, beside TimeoutError. ValueError: it has sent what is no HTTP."""


class NoAnswer(aiohttp.ClientError):
    """The connection failed or ended before there was an answer."""


class NotReached(NoAnswer):
    """There is nobody at the worker's port, so nothing was sent."""


class Redirected(aiohttp.ClientError):
    """A worker answers the handshake of a websocket with a redirect, which is not followed."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        super().__init__(f"redirected with {answer.status}")
        self.status, self.headers = answer.status, answer.headers


class Client:
    """A connection is made for each request. On loopback that is cheap, and none can be closed while it is reused."""

    def __init__(self) -> None:
        self.session: Final = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers=_OWN_HEADERS,
            middlewares=(_once,),
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, url: URL, headers: list[tuple[str, str]], body: AsyncIterator[bytes] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; gives the answer when its head is here; at the end all is closed. Raises FAULTS."""
        answer = await self.session.request(method, url, headers=headers, data=body, allow_redirects=False)
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
