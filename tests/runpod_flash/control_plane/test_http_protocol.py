"""What the control plane's own connections do beyond uvicorn's."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from runpod_flash.control_plane import http_protocol, listening
from runpod_flash.control_plane.http_protocol import HEAD_LIMIT, GatheringTransport, Reply

pytestmark = pytest.mark.anyio


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path; below /slow with its head at once, and its body when a body has come."""
    body = scope["path"].encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if body.startswith(b"/slow"):
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def connected(
    folder: Path, prompt: Any = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of the app."""
    with listening.sockets(0, folder / "api.sock", None) as found:
        servers = listening.HttpServers(app, found, 2**20, prompt)
        await servers.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port)
        async with asyncio.timeout(20):
            yield reader, writer
        writer.close()
        await servers.stop()


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The head of the next answer, and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return head, await reader.readexactly(length)


async def test_requests_on_one_connection_are_answered_in_their_order(tmp_path: Path) -> None:
    async with connected(tmp_path) as (reader, writer):
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(20)))
        for number in range(20):
            assert (await answer(reader))[1] == b"/%d" % number


async def test_a_head_does_not_wait_for_its_body(tmp_path: Path) -> None:
    async with connected(tmp_path) as (reader, writer):
        writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        writer.write(b"x")
        assert await reader.readexactly(5) == b"/slow"


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 1000])
async def test_a_head_without_end_is_refused(tmp_path: Path, begin: bytes) -> None:
    async with connected(tmp_path) as (reader, writer):
        writer.write(begin)
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():  # the time of `connected` is the bound
                writer.write(b"a" * 1024)
                await writer.drain()
                await asyncio.sleep(0)


async def test_a_long_body_is_no_head(tmp_path: Path) -> None:
    async with connected(tmp_path) as (reader, writer):
        body = b"x" * (4 * HEAD_LIMIT)
        for _ in range(3):
            writer.write(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(3):
            assert (await answer(reader))[1] == b"/slow"


async def test_what_is_written_in_one_turn_leaves_at_once() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps one write apart from the next
    theirs.settimeout(10)

    class Sending(asyncio.Transport):
        def write(self, data: Any) -> None:
            ours.send(data)

        def writelines(self, list_of_data: Any) -> None:
            ours.send(b"".join(list_of_data))

        def is_closing(self) -> bool:
            return False

    with ours, theirs:
        gathering = GatheringTransport(Sending(), asyncio.get_running_loop())
        gathering.write(b"head ")
        gathering.write(b"body")
        gathering.flush()
        gathering.write(b"later")
        await asyncio.sleep(0)
        gathering.write(b"a" * 70_000)
        assert [theirs.recv(100_000)[:9] for _ in range(3)] == [b"head body", b"later", b"a" * 9]


class Prompt:
    """Takes what is below /prompt, and answers those below /prompt/late when it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.late: list[Reply] = []

    def __call__(self, scope: Scope, body: bytes, reply: Reply) -> bool:
        if not scope["path"].startswith("/prompt"):
            return False
        self.bodies.append(body)
        if scope["path"] == "/prompt/late":
            self.late.append(reply)
        else:
            reply(200, ((b"x-by", b"prompt"),), scope["path"].encode() + scope["query_string"])
        return True


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # the time of `connected` is the bound
        await asyncio.sleep(0.001)


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_what_comes_in_one_piece_is_answered_without_the_app(tmp_path: Path) -> None:
    prompt = Prompt()
    async with connected(tmp_path, prompt) as (reader, writer):
        writer.write(post("/prompt?a=1", b"body"))
        head, body = await answer(reader)
        assert (body, prompt.bodies) == (b"/prompta=1", [b"body"])
        assert "x-by: prompt" in head
        assert "date: " in head
        writer.write(post("/other", b"body"))
        assert await answer(reader) != (head, body)
        assert prompt.bodies == [b"body"]


async def test_what_comes_in_pieces_is_waited_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = Prompt()
    async with connected(tmp_path, prompt) as (reader, writer):
        whole = post("/prompt", b"body")
        for cut in (10, len(whole) - 4, len(whole) - 2):
            writer.write(whole[:cut])
            await asyncio.sleep(0.01)
            writer.write(whole[cut:])
            head, body = await answer(reader)
            assert body == b"/prompt"
            assert "x-by" in head
        monkeypatch.setattr(http_protocol, "_PIECES_S", 0.001)
        writer.write(whole[:-2])
        await asyncio.sleep(0.05)
        writer.write(whole[-2:])
        assert "x-by" not in (await answer(reader))[0]
    async with connected(tmp_path, prompt) as (_, writer):
        writer.write(whole[:-2])
        await asyncio.sleep(0.01)
        writer.transport.abort()


async def test_what_is_long_or_asks_first_goes_to_the_app(tmp_path: Path) -> None:
    prompt = Prompt()
    async with connected(tmp_path, prompt) as (reader, writer):
        whole = post("/prompt", b"x" * 10_000)
        writer.write(whole[:-2])
        await asyncio.sleep(0.01)
        writer.write(whole[-2:])
        assert "x-by" not in (await answer(reader))[0]
        writer.write(post("/prompt", b"", "Expect: 100-continue"))
        assert "x-by" not in (await answer(reader))[0]


async def test_a_late_answer_keeps_the_order_of_requests(tmp_path: Path) -> None:
    prompt = Prompt()
    async with connected(tmp_path, prompt) as (reader, writer):
        writer.write(post("/prompt/late", b"1") + post("/prompt", b"2") + post("/third", b""))
        await until(lambda: prompt.late)
        prompt.late[0](503, (), b"late")
        head, body = await answer(reader)
        assert head.startswith("http/1.1 503 ")
        assert [body, (await answer(reader))[1], (await answer(reader))[1]] == [b"late", b"/prompt", b"/third"]


async def test_who_has_left_or_leaves_after_it(tmp_path: Path) -> None:
    prompt = Prompt()
    async with connected(tmp_path, prompt) as (reader, writer):
        writer.write(post("/prompt/late", b""))
        await until(lambda: prompt.late)
        writer.transport.abort()
        await asyncio.sleep(0.02)
        prompt.late[0](200, (), b"nobody hears it")
    async with connected(tmp_path, prompt) as (reader, writer):
        writer.write(post("/prompt", b"", "Connection: close"))
        head, _ = await answer(reader)
        assert "connection: close" in head
        assert await reader.read() == b""


async def test_idle_connections_are_closed_and_busy_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_KEEP_ALIVE_S", 0.05)
    prompt = Prompt()
    async with connected(tmp_path, prompt) as (reader, writer):
        writer.write(post("/prompt", b""))
        await answer(reader)
        writer.write(post("/prompt/late", b""))
        await until(lambda: prompt.late)
        await asyncio.sleep(0.15)  # the timer has looked meanwhile
        prompt.late[0](200, (), b"late")
        assert (await answer(reader))[1] == b"late"
        assert await reader.read() == b""
