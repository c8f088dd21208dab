"""HTTP to a platform on this machine, against servers that say exactly what a test wants."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from runpod_flash.backends.near import NearTransport

pytestmark = pytest.mark.anyio

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A server, a client of it, and the heads of the requests on each connection."""

    client: httpx.AsyncClient
    heads: list[list[str]] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return len(self.heads)


async def request_of(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The head of a request and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return head, body
    return head, await reader.readexactly(int(fields.get("content-length", 0)))


@contextlib.asynccontextmanager
async def serving(
    path: Path, talk: Talk, kept: int = 2, kept_s: float = 60.0, read_s: float = 10.0
) -> AsyncIterator[Server]:
    """A server that `talk`s on each connection, and a client."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.heads.append([])
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    listener = await asyncio.start_unix_server(accept, str(path))
    transport = NearTransport("unused", 1, str(path), kept, kept_s)
    timeout = httpx.Timeout(connect=10.0, read=read_s, write=10.0, pool=None)
    async with httpx.AsyncClient(transport=transport, base_url="http://plane", timeout=timeout) as client:
        server = Server(client)
        async with asyncio.timeout(30):
            yield server
    listener.close()


def echo() -> Talk:
    """Answers each request with its body."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await request_of(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()

    return talk


async def pieces(number: int, size: int) -> AsyncIterator[bytes]:
    for each in range(number):
        yield bytes([each]) * size


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl") as folder:  # a socket's path is short
        yield Path(folder) / "s"


async def test_a_connection_is_used_again_and_bodies_go_both_ways(path: Path) -> None:
    async with serving(path, echo()) as server:
        for size in (0, 10, 3_000_000):
            answer = await server.client.post("/a", content=b"x" * size)
            assert (answer.status_code, answer.headers["x"], answer.content) == (200, "y", b"x" * size)
        sent = b"".join([piece async for piece in pieces(40, 50_000)])
        assert (await server.client.put("/b", content=pieces(40, 50_000))).content == sent
        assert server.connections == 1
        await asyncio.gather(*(server.client.get("/c") for _ in range(5)))
        assert server.connections == 5


@pytest.mark.parametrize(("kept", "kept_s"), [(0, 60.0), (2, 0.0)])
async def test_what_is_not_kept_is_closed(path: Path, kept: int, kept_s: float) -> None:
    async with serving(path, echo(), kept, kept_s) as server:
        for _ in range(3):
            await server.client.get("/")
        assert server.connections == 3


async def test_a_connection_that_the_server_has_closed_is_not_used(path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async with serving(path, once) as server:
        for _ in range(3):
            assert (await server.client.get("/")).status_code == 204
            await asyncio.sleep(0.01)  # so that the end has arrived
        assert server.connections == 3


async def test_an_answer_may_come_before_the_body_has_gone_and_in_parts(path: Path) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"5\r\nabcde\r\n", b"3\r\nfgh\r\n0\r\n\r\n"):
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(part)
        while await reader.read(65536):
            pass

    async with serving(path, early) as server:
        answer = await server.client.put("/", content=pieces(10, 100_000))
        assert (answer.status_code, answer.content) == (413, b"abcdefgh")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", httpx.RemoteProtocolError),
        (b"nonsense\r\n\r\n", httpx.RemoteProtocolError),
    ],
)
async def test_answers_that_break_off_are_errors_of_httpx(path: Path, said: bytes, error: type[Exception]) -> None:
    async def breaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(said)

    async with serving(path, breaking) as server:
        with pytest.raises(error):
            await server.client.get("/")


async def test_a_server_that_says_nothing_and_one_that_is_not_there(path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(path, silent, read_s=0.05) as server:
        with pytest.raises(httpx.ReadTimeout):
            await server.client.get("/")
    nobody = NearTransport("127.0.0.1", 1, str(path.with_name("nobody")), 0, 0.0)
    async with httpx.AsyncClient(transport=nobody, base_url="http://plane") as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("/")


async def test_who_is_cancelled_leaves_no_connection(path: Path) -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with serving(path, silent) as server:
        asking = asyncio.ensure_future(server.client.get("/"))
        while not server.connections:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        await ended.wait()


async def test_who_stops_reading_closes_the_connection(path: Path) -> None:
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"1\r\na\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with serving(path, endless) as server:
        async with server.client.stream("GET", "/") as response:
            async for _ in response.aiter_bytes():
                break
        await ended.wait()


async def test_an_error_of_what_is_sent_is_nobody_elses(path: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError("of the file")

    async with serving(path, echo()) as server:
        with pytest.raises(OSError, match="of the file"):
            await server.client.put("/", content=failing())
