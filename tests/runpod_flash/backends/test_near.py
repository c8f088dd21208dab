"""HTTP to a platform on this machine, by httpx and without, against servers that say exactly what a test wants."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from runpod_flash.backends.near import Lines, NearRequests, NearTransport

pytestmark = pytest.mark.anyio

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answered = tuple[int, str, bytes]


@dataclass
class Server:
    """A server, the two ways of asking it, and the heads of the requests on each connection."""

    client: httpx.AsyncClient
    requests: NearRequests
    whole: bool  # what is asked without httpx
    heads: list[list[str]] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return len(self.heads)

    async def post(self, content: bytes = b"", x_a: str = "b") -> Answered:
        """Status, the header X, body."""
        if self.whole:
            status, headers, body = await self.requests.ask("POST", "/a", {"X-A": x_a}, content, self.silence_s)
            return status, headers.get("x", ""), body
        answer = await self.client.post("/a", headers={"X-A": x_a}, content=content)
        return answer.status_code, answer.headers.get("x", ""), answer.content

    @property
    def silence_s(self) -> float | None:
        return self.client.timeout.read


Serving = Callable[..., contextlib.AbstractAsyncContextManager[Server]]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl") as folder:  # a socket's path is short
        yield Path(folder) / "s"


def serving_at(path: Path, *, whole: bool) -> Serving:
    """Makes a server that `talk`s on each connection, and who asks it."""

    @contextlib.asynccontextmanager
    async def made(talk: Talk, kept: int = 2, kept_s: float = 60.0, read_s: float = 10.0) -> AsyncIterator[Server]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.heads.append([])
            task = asyncio.current_task()
            assert task is not None
            talking.append(task)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(reader, writer)
            writer.close()

        talking = list[asyncio.Task[None]]()
        listener = await asyncio.start_unix_server(accept, str(path))
        timeout = httpx.Timeout(connect=10.0, read=read_s, write=10.0, pool=None)
        transport = NearTransport(Lines(str(path), kept, kept_s))
        async with httpx.AsyncClient(transport=transport, base_url="http://plane", timeout=timeout) as client:
            requests = NearRequests(Lines(str(path), kept, kept_s), [("Host", "plane")], 10.0)
            server = Server(client, requests, whole)
            async with asyncio.timeout(30):
                yield server
        requests.close()
        listener.close()
        if talking:
            assert not (await asyncio.wait(talking, timeout=10))[1], "a connection was left"

    return made


@pytest.fixture(params=[True, False], ids=["whole", "httpx"])
def serving(path: Path, request: pytest.FixtureRequest) -> Serving:
    """Servers that are asked in each of the two ways."""
    return serving_at(path, whole=request.param)


@pytest.fixture
def by_httpx(path: Path) -> Serving:
    """Servers that are asked by httpx: for what it alone can ask."""
    return serving_at(path, whole=False)


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


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its body."""
    while True:
        head, body = await request_of(reader)
        assert "\r\nHost: plane\r\n" in head
        writer.write(b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


def saying(said: bytes) -> Talk:
    """A server that says this to the first request of each connection, and goes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(said)
        await writer.drain()

    return talk


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def pieces(number: int, size: int) -> AsyncIterator[bytes]:
    for each in range(number):
        yield bytes([each]) * size


async def test_a_connection_is_used_again_and_bodies_go_both_ways(serving: Serving) -> None:
    async with serving(echo) as server:
        for size in (0, 10, 3_000_000):
            assert await server.post(b"x" * size) == (200, "y", b"x" * size)
        assert server.connections == 1
        await asyncio.gather(*(server.post() for _ in range(5)))
        assert server.connections == 5


async def test_what_is_sent_in_pieces_is_whole_there(by_httpx: Serving) -> None:
    async with by_httpx(echo) as server:
        sent = b"".join([piece async for piece in pieces(40, 50_000)])
        for _ in range(2):
            assert (await server.client.put("/b", content=pieces(40, 50_000))).content == sent
        assert (await server.client.put("/b", content=pieces(2, 0))).content == b""
        assert server.connections == 1


@pytest.mark.parametrize(("kept", "kept_s"), [(0, 60.0), (2, 0.0)])
async def test_what_is_not_kept_is_closed(serving: Serving, kept: int, kept_s: float) -> None:
    async with serving(echo, kept, kept_s) as server:
        for _ in range(3):
            await server.post()
        assert server.connections == 3


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", (200, b"abc")),
        (b"HTTP/1.1 100 Continue\r\nX: z\r\n\r\nHTTP/1.1 413 X\r\nContent-Length: 1\r\n\r\na", (413, b"a")),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", (200, b"a")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", (200, b"until the end")),
    ],
)
async def test_answers_of_all_forms_and_a_connection_that_has_ended_is_not_used(
    serving: Serving, said: bytes, found: tuple[int, bytes]
) -> None:
    async with serving(saying(said)) as server:
        for _ in range(2):
            status, header, body = await server.post()
            assert (status, header, body) == (found[0], "", found[1])
            await asyncio.sleep(0.01)  # so that the end has arrived
        assert server.connections == 2


async def test_an_answer_may_come_before_the_body_has_gone_and_in_parts(by_httpx: Serving) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Too Large\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (b"5\r\nabcde\r\n", b"3\r\nfgh\r\n0\r\n\r\n"):
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(part)
        while await reader.read(65536):
            pass

    async with by_httpx(early) as server:
        for _ in range(2):
            answer = await server.client.put("/", content=pieces(10, 100_000))
            assert (answer.status_code, answer.reason_phrase, answer.content) == (413, "Too Large", b"abcdefgh")
        assert server.connections == 2, "a request that was not sent whole is followed by no other"


async def test_an_answer_to_head_has_no_body(by_httpx: Serving) -> None:
    async with by_httpx(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")) as server:
        answer = await server.client.head("/")
        assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "10", b"")


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]
)
async def test_answers_that_break_off_are_errors_of_httpx(serving: Serving, said: bytes) -> None:
    async with serving(saying(said)) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await server.post()


async def test_a_server_that_says_nothing(serving: Serving) -> None:
    async with serving(silent, read_s=0.05) as server:
        with pytest.raises(httpx.ReadTimeout):
            await server.post()


async def test_one_that_is_not_there(path: Path) -> None:
    nobody = Lines(str(path.with_name("nobody")), 0, 0.0)
    with pytest.raises(httpx.ConnectError):
        await NearRequests(nobody, [], 10.0).ask("GET", "/", {}, None, None)
    async with httpx.AsyncClient(transport=NearTransport(nobody), base_url="http://plane") as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("/")


async def test_what_comes_now_and_then_is_no_silence(serving: Serving) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.1)
            writer.write(b"x")

    async with serving(slow, read_s=0.3) as server:
        assert await server.post() == (200, "", b"xxxxx")


async def test_a_server_that_reads_nothing_is_not_written_to_for_ever(by_httpx: Serving) -> None:
    done = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    async with by_httpx(deaf) as server:
        server.client.timeout = httpx.Timeout(connect=10.0, read=10.0, write=0.05, pool=None)
        with pytest.raises(httpx.WriteTimeout):
            await server.client.put("/", content=pieces(100, 1_000_000))
        done.set()


async def test_who_is_cancelled_leaves_no_connection(serving: Serving) -> None:
    ended = asyncio.Event()

    async def ending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()

    async with serving(ending) as server:
        asking = asyncio.ensure_future(server.post())
        while not server.connections:
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        await ended.wait()


async def test_who_reads_slowly_holds_the_server_back(by_httpx: Serving) -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        for _ in range(500):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with by_httpx(endless) as server, server.client.stream("GET", "/") as response:
        parts = response.aiter_bytes()
        await anext(parts)
        before = -1
        while sent != before:  # until it can write no more
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 10_000_000
        async with contextlib.aclosing(parts):
            assert sum([len(part) async for part in parts]) > 40_000_000, "it goes on where it was held back"


async def test_who_stops_reading_closes_the_connection(by_httpx: Serving) -> None:
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

    async with by_httpx(endless) as server:
        async with server.client.stream("GET", "/") as response:
            async for _ in response.aiter_bytes():
                break
        await ended.wait()


async def test_an_error_of_what_is_sent_is_nobody_elses(by_httpx: Serving) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError("of the file")

    async with by_httpx(echo) as server:
        with pytest.raises(OSError, match="of the file"):
            await server.client.put("/", content=failing())


async def test_targets_and_headers_cannot_break_the_request(serving: Serving) -> None:
    async with serving(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as server:
        for value in ("a\r\nY: b", "a\nY: b"):
            with pytest.raises(httpx.LocalProtocolError):
                await server.post(x_a=value)
        assert (await server.requests.ask("GET", "/a b\r\nX: y?ü=1", {}, None, 10.0))[0] == 200
