"""Requests to a platform on this machine, against servers that say exactly what a test wants."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from runpod_flash.backends.near_requests import NearRequests

pytestmark = pytest.mark.anyio

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server, what asks it, and the heads of the requests on each connection."""

    requests: NearRequests
    heads: list[list[str]] = field(default_factory=list)

    async def post(self, content: bytes = b"", silence_s: float | None = 10.0) -> tuple[int, bytes]:
        status, _, body = await self.requests.ask("POST", "/a", {"X-A": "b"}, content, silence_s)
        return status, body


@contextlib.asynccontextmanager
async def serving(path: Path, talk: Talk, kept: int = 2, kept_s: float = 60.0) -> AsyncIterator[Server]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heads.append([])
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    async with asyncio.timeout(30):
        listener = await asyncio.start_unix_server(accept, str(path))
        server = Server(NearRequests(str(path), [("Host", "plane")], kept, kept_s, 10.0))
        yield server
        server.requests.close()
        listener.close()


async def request_of(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0)
    return head, await reader.readexactly(length)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its body."""
    while True:
        head, body = await request_of(reader)
        assert head == f"POST /a HTTP/1.1\r\nHost: plane\r\nX-A: b\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


def saying(said: bytes) -> Talk:
    """A server that says this to the first request of each connection, and goes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(said)
        await writer.drain()

    return talk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl") as folder:  # a socket's path is short
        yield Path(folder) / "s"


async def test_a_connection_is_used_again_and_bodies_go_both_ways(path: Path) -> None:
    async with serving(path, echo) as server:
        for size in (0, 10, 3_000_000):
            assert await server.post(b"x" * size) == (200, b"x" * size)
        assert len(server.heads) == 1
        await asyncio.gather(*(server.post() for _ in range(5)))
        assert len(server.heads) == 5


@pytest.mark.parametrize(("kept", "kept_s"), [(0, 60.0), (2, 0.0)])
async def test_what_is_not_kept_is_closed(path: Path, kept: int, kept_s: float) -> None:
    async with serving(path, echo, kept, kept_s) as server:
        for _ in range(3):
            await server.post()
        assert len(server.heads) == 3


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (200, b"abc")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 X\r\nContent-Length: 1\r\n\r\na", (413, b"a")),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", (200, b"a")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", (200, b"until the end")),
    ],
)
async def test_answers_of_all_forms_and_a_connection_that_has_ended_is_not_used(
    path: Path, said: bytes, found: tuple[int, bytes]
) -> None:
    async with serving(path, saying(said)) as server:
        for _ in range(2):
            assert await server.post() == found
            await asyncio.sleep(0.01)  # so that the end has arrived
        assert len(server.heads) == 2


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]
)
async def test_answers_that_break_off_are_errors_of_httpx(path: Path, said: bytes) -> None:
    async with serving(path, saying(said)) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await server.post()


async def test_a_server_that_says_nothing_and_one_that_is_not_there(path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(path, silent) as server:
        with pytest.raises(httpx.ReadTimeout):
            await server.post(silence_s=0.05)
    nobody = NearRequests(str(path.with_name("nobody")), [], 0, 0.0, 10.0)
    with pytest.raises(httpx.ConnectError):
        await nobody.ask("GET", "/", {}, None, None)


async def test_what_comes_now_and_then_is_no_silence(path: Path) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.1)
            writer.write(b"x")

    async with serving(path, slow) as server:
        assert await server.post(silence_s=0.3) == (200, b"xxxxx")


async def test_who_is_cancelled_leaves_no_connection(path: Path) -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with serving(path, silent) as server:
        asking = asyncio.ensure_future(server.post())
        while not server.heads:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        await ended.wait()


async def test_targets_and_headers_cannot_break_the_request(path: Path) -> None:
    async with serving(path, saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        with pytest.raises(httpx.LocalProtocolError):
            await server.requests.ask("GET", "/", {"X": "a\r\nY: b"}, None, 10.0)
        assert (await server.requests.ask("GET", "/a b\r\nX: y?ü=1", {}, None, 10.0))[0] == 200
