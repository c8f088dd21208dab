"""Websockets through a real gateway to real servers."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from yarl import URL

from runpod_flash.control_plane.balancing.client import Client
from runpod_flash.control_plane.balancing.client_side import ClientSide
from runpod_flash.control_plane.balancing.picking import Upstream
from runpod_flash.control_plane.balancing.sockets import Sockets
from runpod_flash.control_plane.limits import Limits
from tests.support.balanced import Balanced, Recorder, balanced, raw_server, serving, until

pytestmark = pytest.mark.anyio

Talk = Callable[[WebSocket], Awaitable[None]]


class Worker:
    """A websocket server; `talk` has each websocket. `ends` are the codes and reasons that clients ended with."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.ends: list[tuple[int, str]] = []
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        socket = WebSocket(scope, receive, send)
        try:
            await self._talk(socket)
        except WebSocketDisconnect as end:
            self.ends.append((end.code, end.reason or ""))


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"], message.get("reason"))
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


@asynccontextmanager
async def worker_of(plane: Balanced, talk: Talk) -> AsyncIterator[Worker]:
    worker = Worker(talk)
    async with serving(worker, ws_max_size=64 * 1024**2) as port:
        plane.add("w1", port)
        yield worker


async def test_a_thousand_texts_there_and_back_in_order(plane: Balanced) -> None:
    async with worker_of(plane, echo) as worker:
        async with plane.client.ws_connect(URL(plane.url("/a%2fb/..?q=%20", "ws"), encoded=True)) as socket:
            for number in range(1000):
                await socket.send_str(f"{number} – ü")
            for number in range(1000):
                assert await socket.receive_str(timeout=5) == f"{number} – ü"
            assert plane.load == (1, 0)
        await until(lambda: plane.load == (0, 0))
    (scope,) = worker.scopes
    assert (scope["raw_path"], scope["query_string"]) == (b"/a%2fb/..", b"q=%20")
    assert worker.ends == [(1000, "")]


async def test_five_megabytes_in_one_message(plane: Balanced) -> None:
    data = bytes(range(256)) * 20_000
    async with (
        worker_of(plane, echo),
        plane.client.ws_connect(plane.url("/", "ws"), max_msg_size=0) as socket,
    ):
        await socket.send_bytes(data)
        assert await socket.receive_bytes(timeout=20) == data
        await socket.send_bytes(b"")
        assert await socket.receive_bytes(timeout=5) == b""
        await socket.send_str("")
        assert await socket.receive_str(timeout=5) == ""


async def test_the_subprotocol_that_the_worker_takes_and_headers(plane: Balanced) -> None:
    async def talk(socket: WebSocket) -> None:
        await socket.accept(subprotocol="b")
        await socket.send_text(json.dumps(dict(socket.headers)))
        await socket.receive_text()

    headers = {"Authorization": "Bearer secret", "Origin": "http://o", "Cookie": "c=1", "X-Runpod-Worker-Id": "w1"}
    async with (
        worker_of(plane, talk) as worker,
        plane.client.ws_connect(plane.url("/", "ws"), protocols=["a", "b"], headers=headers, compress=15) as socket,
    ):
        assert socket.protocol == "b"
        assert socket._response.headers["X-Runpod-Worker-Id"] == "w1"
        got = json.loads(await socket.receive_str(timeout=5))
    assert worker.scopes[0]["subprotocols"] == ["a", "b"]
    assert (got["origin"], got["cookie"], got["host"]) == ("http://o", "c=1", f"127.0.0.1:{plane.port}")
    assert got["x-forwarded-proto"] == "http"
    assert not {"authorization", "x-runpod-worker-id", "sec-websocket-extensions"} & set(got)


@pytest.mark.parametrize("end", [(1000, ""), (1001, "bye"), (3456, "grüße"), (4999, "x" * 123)])
async def test_how_the_worker_ends_is_how_the_client_sees_it(plane: Balanced, end: tuple[int, str]) -> None:
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("last words")
        await socket.close(*end)

    async with worker_of(plane, talk), plane.client.ws_connect(plane.url("/", "ws")) as socket:
        assert await socket.receive_str(timeout=5) == "last words"
        message = await socket.receive(timeout=5)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, *end)


@pytest.mark.parametrize("end", [(1000, ""), (1001, "bye"), (3456, "grüße"), (4999, "x" * 123)])
async def test_how_the_client_ends_is_how_the_worker_sees_it(plane: Balanced, end: tuple[int, str]) -> None:
    async with worker_of(plane, echo) as worker:
        async with plane.client.ws_connect(plane.url("/", "ws")) as socket:
            await socket.send_str("x")
            await socket.receive_str(timeout=5)
            await socket.close(code=end[0], message=end[1].encode())
        await until(lambda: worker.ends)
        assert worker.ends == [end]
        await until(lambda: plane.load == (0, 0))


async def test_a_client_that_vanishes(plane: Balanced) -> None:
    async with worker_of(plane, echo) as worker:
        socket = await plane.client.ws_connect(plane.url("/", "ws"))
        await socket.send_str("x")
        await socket.receive_str(timeout=5)
        connection = socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        await until(lambda: worker.ends)
        await until(lambda: plane.load == (0, 0))
        await socket.close()


async def test_a_worker_that_vanishes(plane: Balanced) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hands_shake(reader, writer)
        await reader.readexactly(1)

    async with raw_server(talk) as port:
        plane.add("w1", port)
        async with plane.client.ws_connect(plane.url("/", "ws")) as socket:
            await socket.send_str("x")
            message = await socket.receive(timeout=5)
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1011)
    await until(lambda: plane.load == (0, 0))


async def hands_shake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accept: bytes | None = None) -> None:
    """The worker's side of the handshake, by hand."""
    from websockets.utils import accept_key

    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    key = next(line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))
    writer.write(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
    writer.write((accept or accept_key(key).encode()) + b"\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("frame", [b"\x88\x00", b"\x88\x02\x03\xe8"])
async def test_an_end_of_the_worker_without_a_code_is_a_normal_one(plane: Balanced, frame: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hands_shake(reader, writer)
        writer.write(frame)
        await reader.read()

    async with raw_server(talk) as port:
        plane.add("w1", port)
        async with plane.client.ws_connect(plane.url("/", "ws")) as socket:
            message = await socket.receive(timeout=5)
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1000)


async def test_an_end_of_the_client_without_a_code_is_a_normal_one(plane: Balanced) -> None:
    async with worker_of(plane, echo) as worker, plane.client.ws_connect(plane.url("/", "ws")) as socket:
        await socket.send_frame(b"", WSMsgType.CLOSE)
        await until(lambda: worker.ends)
    assert worker.ends == [(1000, "")]


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_refusal_is_passed_on(plane: Balanced, status: int) -> None:
    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await Response("no", status, headers={"X-Why": "because"})(scope, receive, send)

    async with serving(talk) as port:
        plane.add("w1", port)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await plane.client.ws_connect(plane.url("/", "ws"))
    assert refused.value.status == status
    assert refused.value.headers is not None
    assert refused.value.headers["X-Why"] == "because"
    assert refused.value.headers["X-Runpod-Worker-Id"] == "w1"


async def test_a_redirect_of_a_handshake_is_not_followed(plane: Balanced) -> None:
    target = Recorder()

    async with serving(target) as other:

        async def talk(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await RedirectResponse(f"http://127.0.0.1:{other}/", 307)(scope, receive, send)

        async with serving(talk) as port:
            plane.add("w1", port)
            reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
            writer.write(
                b"GET /lb/abc123/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
    assert answer.startswith(b"HTTP/1.1 307")
    assert f"location: http://127.0.0.1:{other}/".encode() in answer
    assert target.scopes == []


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"wrong key"])
async def test_a_worker_that_opens_it_wrongly(plane: Balanced, answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answer == b"wrong key":
            await hands_shake(reader, writer, b"AAAA")
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    async with raw_server(talk) as port:
        plane.add("w1", port)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await plane.client.ws_connect(plane.url("/", "ws"))
    assert refused.value.status == 502


async def test_a_worker_that_does_not_open_it_in_time_and_one_that_is_not_there(anyio_backend: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with balanced(Limits(balanced_s=0.1)) as plane:
        statuses = []
        async with raw_server(talk) as port:
            plane.add("w1", port)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await plane.client.ws_connect(plane.url("/", "ws"))
            statuses.append(refused.value.status)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await plane.client.ws_connect(plane.url("/", "ws"))
        statuses.append(refused.value.status)
    assert statuses == [504, 502]


async def test_an_open_websocket_outlives_the_limit_of_requests(anyio_backend: str) -> None:
    async with (
        balanced(Limits(balanced_s=0.2)) as plane,
        worker_of(plane, echo),
        plane.client.ws_connect(plane.url("/", "ws")) as socket,
    ):
        loop = asyncio.get_running_loop()
        opened = loop.time()
        while loop.time() < opened + 0.4:
            await socket.send_str("x")
            assert await socket.receive_str(timeout=5) == "x"


@pytest.mark.parametrize("size", [1000, 1001])
async def test_the_limit_of_a_message_of_the_client(anyio_backend: str, size: int) -> None:
    async with balanced(Limits(balanced_bytes=1000)) as plane, worker_of(plane, echo) as worker:
        async with plane.client.ws_connect(plane.url("/", "ws")) as socket:
            await socket.send_str("ü" * (size // 2) + "x" * (size % 2))
            message = await socket.receive(timeout=5)
            if size == 1000:
                assert message.type is WSMsgType.TEXT
                return
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)
        await until(lambda: worker.ends)
        assert worker.ends == [(1009, "more than 1000 bytes")]


@pytest.mark.parametrize("size", [1000, 1001])
async def test_the_limit_of_a_message_of_the_worker(anyio_backend: str, size: int) -> None:
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_bytes(bytes(size))
        await socket.receive_text()

    async with balanced(Limits(balanced_bytes=1000)) as plane, worker_of(plane, talk) as worker:
        async with plane.client.ws_connect(plane.url("/", "ws")) as socket:
            message = await socket.receive(timeout=5)
            if size == 1000:
                assert (message.type, message.data) == (WSMsgType.BINARY, bytes(1000))
                return
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)
        await until(lambda: worker.ends)
        assert worker.ends[0][0] == 1009


async def test_a_worker_that_reads_nothing_slows_the_client_down() -> None:
    """The gateway takes no message from the client before the one before is on its way."""
    stop, taken = asyncio.Event(), 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hands_shake(reader, writer)
        await stop.wait()

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "websocket.receive", "bytes": bytes(1_000_000)}

    async def send(message: Any) -> None:
        pass

    client = Client()
    async with raw_server(talk) as port:
        scope = {"type": "websocket", "scheme": "ws", "headers": [], "query_string": b"", "subprotocols": []}
        sockets = Sockets(client)
        socket = await sockets.connect(scope, Upstream("w1", port, True), b"/", Limits())
        side = ClientSide(asyncio.ensure_future(receive()), receive, send)
        talking = asyncio.create_task(sockets.converse(socket, side, [], Limits()))
        before = -1
        while before != taken:  # the buffers of the two sockets fill up
            before = taken
            await asyncio.wait([talking], timeout=0.3)
        assert 1 < taken < 100
        stop.set()
        talking.cancel()
        await asyncio.wait([talking])
    await client.close()


async def test_a_client_that_leaves_while_it_waits_for_a_worker_waits_no_more(plane: Balanced) -> None:
    opening = asyncio.create_task(plane.client.ws_connect(plane.url("/", "ws")))
    await until(lambda: plane.load == (0, 1))
    opening.cancel()
    await until(lambda: plane.load == (0, 0))


async def test_a_websocket_waits_for_a_worker(plane: Balanced) -> None:
    opening = asyncio.create_task(plane.client.ws_connect(plane.url("/", "ws")))
    await until(lambda: plane.load == (0, 1))
    async with worker_of(plane, echo):
        socket = await opening
        await socket.send_str("x")
        assert await socket.receive_str(timeout=5) == "x"
        await socket.close()
