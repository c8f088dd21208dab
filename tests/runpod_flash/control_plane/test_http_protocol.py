"""What the control plane's own connections do beyond uvicorn's."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from runpod_flash.control_plane import listening
from runpod_flash.control_plane.http_protocol import HEAD_LIMIT, GatheringTransport

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
async def connected(folder: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of the app."""
    with listening.sockets(0, folder / "api.sock", None) as found:
        servers = listening.HttpServers(app, found, 2**20)
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
