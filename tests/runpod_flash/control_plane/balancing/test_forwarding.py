"""Requests and answers through a real gateway to real servers."""

import asyncio
import gzip
import io
import json
import select
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from yarl import URL

from runpod_flash.control_plane.limits import Limits
from tests.support.balanced import ENDPOINT, Balanced, Recorder, balanced, raw_server, serving, until

pytestmark = pytest.mark.anyio

SMALL = Limits(balanced_bytes=1000)
EXPECTS = b"POST /lb/abc123/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: "
Answer = Callable[[Request], Awaitable[Response]]


def app(answer: Answer) -> Any:
    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(Request(scope, receive))
        await response(scope, receive, send)

    return asgi


async def says(port: int, request: bytes) -> bytes:
    """What a server says to raw bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    assert response.headers.get("x-runpod-worker-id") == "w1"
    return response.status, (await response.json(content_type=None))["detail"]


async def test_method_path_query_and_body_arrive_as_they_were_sent(plane: Balanced) -> None:
    recorder = Recorder()
    async with serving(recorder) as port:
        plane.add("w1", port)
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "REPORT"):
            url = URL(plane.url("/a%2Fb/..%2f/%7Ex//y;z=1?q=%20&q&r=a+b"), encoded=True)
            async with plane.client.request(method, url, data=b"body of " + method.encode()) as response:
                assert (response.status, await response.text()) == (200, "w1")
            scope = recorder.scopes[-1]
            assert scope["method"] == method
            assert scope["raw_path"] == b"/a%2Fb/..%2f/%7Ex//y;z=1"
            assert scope["query_string"] == b"q=%20&q&r=a+b"
            assert recorder.bodies[-1] == b"body of " + method.encode()


async def test_the_bytes_of_paths_are_not_touched(plane: Balanced) -> None:
    recorder = Recorder()
    paths = [
        b"/..",
        b"/../../etc",
        b"/%2e%2e/x",
        b"/a/./b",
        b"//double//",
        b"/a#b",
        b"/%zz%",
        b'/[x]{y}|\\^`"<>',
        b"/a:b@c",
    ]
    async with serving(recorder) as port:
        plane.add("w1", port)
        for path in paths:
            head = b"GET /lb/abc123" + path + b"?q#%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            assert (await says(plane.port, head)).startswith(b"HTTP/1.1 200")
    assert [scope["raw_path"] for scope in recorder.scopes] == paths
    assert {scope["query_string"] for scope in recorder.scopes} == {b"q#%zz"}


async def test_headers_both_ways(plane: Balanced) -> None:
    async def answer(request: Request) -> Response:
        response = Response("x", headers={"X-Runpod-Worker-Id": "lie", "Server": "mine"})
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    recorder = Recorder(answer=app(answer))
    async with serving(recorder, server_header=False) as port:
        plane.add("w1", port)
        sent = {
            "Authorization": "Bearer secret",
            "X-Runpod-Worker-Id": "w1",
            "Cookie": "c=3",
            "X-Forwarded-For": "9.9.9.9",
        }
        async with plane.client.get(plane.url(), headers=sent, skip_auto_headers=["Accept", "User-Agent"]) as response:
            assert len(response.headers.getall("Set-Cookie")) == 2
            assert response.headers.getall("X-Runpod-Worker-Id") == ["w1"]
            assert len(response.headers.getall("Date")) == 1
            assert response.headers.getall("Server") == ["mine"]
    got = recorder.headers()
    assert got == {
        "host": f"127.0.0.1:{plane.port}",
        "accept-encoding": got["accept-encoding"],
        "cookie": "c=3",
        "x-forwarded-for": "9.9.9.9",
        "x-forwarded-proto": "http",
        "x-forwarded-host": f"127.0.0.1:{plane.port}",
        "x-forwarded-prefix": f"/lb/{ENDPOINT}",
        "connection": "close",
    }


async def test_a_cookie_of_one_client_is_not_sent_for_the_next_one(plane: Balanced) -> None:
    async def answer(request: Request) -> Response:
        response = Response(json.dumps(request.cookies))
        response.set_cookie("a", "1")
        return response

    async with serving(app(answer)) as port:
        plane.add("w1", port)
        for _ in range(2):
            async with plane.client.get(plane.url()) as response:
                assert (await response.text(), "a=1" in response.headers["Set-Cookie"]) == ("{}", True)


async def test_an_answer_comes_in_parts_as_the_worker_sends_them(plane: Balanced) -> None:
    seen = [asyncio.Event() for _ in range(3)]

    async def answer(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for number, event in enumerate(seen):
                yield f"data: {number}\n\n"
                await event.wait()

        return StreamingResponse(parts(), media_type="text/event-stream")

    async with serving(app(answer)) as port:
        plane.add("w1", port)
        async with plane.client.get(plane.url()) as response:
            assert response.content_type == "text/event-stream"
            for number, event in enumerate(seen):
                assert plane.load == (1, 0)
                assert await asyncio.wait_for(response.content.readany(), 5) == b"data: %d\n\n" % number
                event.set()
            assert await response.read() == b""


async def test_both_ways_at_once(plane: Balanced) -> None:
    """The worker answers each part of the body before the next part is sent."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ready", "more_body": True})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    turns: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while part := await turns.get():
            yield part

    async with serving(echo) as port:
        plane.add("w1", port)
        turns.put_nowait(b"first")  # this client sends the head with it
        async with plane.client.post(plane.url(), data=body()) as response:
            assert await response.content.readexactly(10) == b"readyfirst"
            for part in (b"second", b"third"):
                turns.put_nowait(part)
                assert await asyncio.wait_for(response.content.readexactly(len(part)), 5) == part
            turns.put_nowait(b"")
            assert await response.read() == b""


async def test_the_worker_sees_the_head_before_there_is_a_body(plane: Balanced) -> None:
    recorder = Recorder()
    async with serving(recorder) as port:
        plane.add("w1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
        writer.write(
            b"POST /lb/abc123/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        await until(lambda: recorder.scopes)
        writer.write(b"3\r\nabc\r\n0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    assert recorder.bodies == [b"abc"]
    assert recorder.headers()["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 5_000_000])
async def test_bodies_of_any_size_with_a_length_and_in_chunks(plane: Balanced, size: int) -> None:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield sent[start : start + 100_000]

    sent = bytes(range(256)) * (size // 256) + bytes(size % 256)
    recorder = Recorder(answer=app(echo))
    async with serving(recorder) as port:
        plane.add("w1", port)
        for body in (io.BytesIO(sent), chunks()):
            async with plane.client.post(plane.url(), data=body) as response:
                assert await response.read() == sent
                assert response.headers["content-length"] == str(size)
    assert recorder.headers(0)["content-length"] == str(size)
    assert recorder.headers(1)["transfer-encoding"] == "chunked"


async def test_a_body_that_waits_for_100_continue(plane: Balanced) -> None:
    recorder = Recorder()
    async with serving(recorder) as port:
        plane.add("w1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
        writer.write(EXPECTS + b"3\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 100")
        writer.write(b"abc")
        assert b"HTTP/1.1 200" in await reader.read()
        writer.close()
    assert recorder.bodies == [b"abc"]
    assert "expect" not in recorder.headers()


async def test_answers_without_a_body(plane: Balanced) -> None:
    async def answer(request: Request) -> Response:
        status = int(request.url.path[1:])
        return Response(status_code=status, headers={"ETag": "x", **({"Content-Length": "9"} if status == 304 else {})})

    async def head(request: Request) -> Response:
        return Response(headers={"Content-Length": str(10**9)})

    async with serving(app(answer)) as port, serving(app(head)) as other:
        plane.add("w1", port)
        for status in (204, 304):
            async with plane.client.get(plane.url(f"/{status}")) as response:
                assert (response.status, await response.read(), response.headers["etag"]) == (status, b"", "x")
        plane.change("w1", port=other)
        async with plane.client.head(plane.url()) as response:
            assert (response.status, response.headers["content-length"]) == (200, str(10**9))


async def test_neither_redirects_nor_compression_are_the_gateways_business(plane: Balanced) -> None:
    packed = gzip.compress(b"x" * 1000)

    async def answer(request: Request) -> Response:
        if request.url.path == "/r":
            return RedirectResponse("/elsewhere", 302)
        return Response(packed, headers={"Content-Encoding": "gzip"})

    async with serving(app(answer)) as port:
        plane.add("w1", port)
        async with plane.client.get(plane.url("/r"), allow_redirects=False) as response:
            assert (response.status, response.headers["location"]) == (302, "/elsewhere")
        async with plane.client.get(plane.url("/z")) as response:
            assert (await response.read(), response.headers["content-encoding"]) == (packed, "gzip")


async def test_an_aiohttp_worker_answers_as_well(plane: Balanced) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=418)
        await response.prepare(request)
        await response.write(await request.read())
        return response

    worker = web.AppRunner(_aiohttp_app(answer))
    await worker.setup()
    site = web.TCPSite(worker, "127.0.0.1", 0)
    await site.start()
    plane.add("w1", worker.addresses[0][1])
    async with plane.client.post(plane.url("/x"), data=b"tea") as response:
        assert (response.status, await response.read()) == (418, b"tea")
    await worker.cleanup()


def _aiohttp_app(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", answer)
    return application


async def test_a_request_that_announces_too_much_is_refused_before_a_worker_hears_of_it(anyio_backend: str) -> None:
    recorder = Recorder()
    async with balanced(SMALL) as plane, serving(recorder) as port:
        plane.add("w1", port)
        async with plane.client.post(plane.url(), data=bytes(1001)) as response:
            assert (response.status, response.headers.get("x-runpod-worker-id")) == (413, None)
        said = await says(plane.port, EXPECTS + b"1001\r\n\r\n")
        assert said.startswith(b"HTTP/1.1 413")
        assert b"HTTP/1.1 100" not in said
        async with plane.client.post(plane.url(), data=bytes(1000)) as response:
            assert response.status == 200
    assert recorder.bodies == [bytes(1000)]


async def test_a_request_that_grows_too_large_is_cut_off(anyio_backend: str) -> None:
    told = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while not told.is_set():
            yield bytes(100)
            await asyncio.sleep(0)

    recorder = Recorder()
    async with balanced(SMALL) as plane, serving(recorder) as port:
        plane.add("w1", port)
        async with plane.client.post(plane.url(), data=endless()) as response:
            assert await refusal(response) == (413, "the request has more than 1000 bytes, the most that is taken here")
            told.set()
    assert recorder.bodies == []


async def test_an_answer_that_is_too_large(anyio_backend: str) -> None:
    async def answer(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield bytes(100)

        if request.url.path == "/announced":
            return Response(bytes(1001))
        return StreamingResponse(parts())

    async with balanced(SMALL) as plane, serving(app(answer)) as port:
        plane.add("w1", port)
        async with plane.client.get(plane.url("/announced")) as response:
            status, detail = await refusal(response)
            assert (status, "more than 1000 bytes" in detail) == (502, True)
        async with plane.client.get(plane.url("/not")) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_a_worker_that_takes_too_long(anyio_backend: str) -> None:
    hang = asyncio.Event()

    async def answer(request: Request) -> Response:
        if request.url.path == "/late":
            await hang.wait()

        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            await hang.wait()

        return StreamingResponse(parts())

    async with balanced(Limits(balanced_s=0.3)) as plane, serving(app(answer)) as port:
        plane.add("w1", port)
        async with plane.client.get(plane.url("/late")) as response:
            assert await refusal(response) == (504, "the worker did not finish its answer within 0.3 s")
        async with plane.client.get(plane.url("/begins")) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        said = says(
            plane.port, b"POST /lb/abc123/late HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nConnection: close\r\n\r\n"
        )
        assert (await said).startswith(b"HTTP/1.1 408")
        hang.set()


@pytest.mark.parametrize(
    "words", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200", b"HTTP/1.1 101 Up\r\n\r\n", b"HTTP/1.1 999 X\r\n\r\n"]
)
async def test_a_worker_that_does_not_answer_as_http_wants_it(plane: Balanced, words: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(words)
        await writer.drain()

    async with raw_server(answer) as port:
        plane.add("w1", port)
        async with plane.client.get(plane.url()) as response:
            assert (await refusal(response))[0] == 502


async def test_a_worker_that_is_not_there(plane: Balanced) -> None:
    async with serving(Recorder()) as port:
        pass
    plane.add("w1", port)
    async with plane.client.post(plane.url(), data=b"x") as response:
        assert (await refusal(response))[0] == 502


@pytest.mark.parametrize(
    "head", [b"Content-Length: 100\r\n\r\n0123456789", b"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"]
)
async def test_a_worker_that_dies_in_its_answer_leaves_it_incomplete(plane: Balanced, head: bytes) -> None:
    seen = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        await seen.wait()

    async with raw_server(answer) as port:
        plane.add("w1", port)
        async with plane.client.get(plane.url()) as response:
            assert await response.content.readexactly(10) == b"0123456789"
            seen.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()


class Dying:
    """A server that keeps connections: it answers the first request of each, and ends when the second one is there."""

    def __init__(self, *, reads: bool, when_dead: Callable[[], None]) -> None:
        self.reads, self.when_dead = reads, when_dead
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self.thread.start()
        return int(self.listener.getsockname()[1])

    def __exit__(self, *error: object) -> None:
        self.thread.join(10)
        self.listener.close()

    def _serve(self) -> None:
        connection = self.listener.accept()[0]
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
            select.select([connection], [], [], 10)
            self.listener.close()
            if self.reads:
                connection.recv(65536)
            self.when_dead()


@pytest.mark.parametrize(
    ("reads", "method", "answer"), [(False, "GET", "w2"), (True, "GET", None), (False, "POST", None)]
)
async def test_a_request_that_a_killed_worker_had_not_read_goes_to_another(
    plane: Balanced, reads: bool, method: str, answer: str | None
) -> None:
    loop = asyncio.get_running_loop()

    def dead() -> None:
        loop.call_soon_threadsafe(plane.remove, "w1")

    second = Recorder("w2")
    async with serving(second) as other:
        with Dying(reads=reads, when_dead=dead) as port:
            plane.add("w1", port)
            plane.change("w1", keeps=True)
            async with plane.client.get(plane.url()) as response:
                assert await response.text() == "first"
            plane.add("w2", other)
            body = b"x" if method == "POST" else None
            headers = {"X-Runpod-Worker-Id": "w1"}
            async with plane.client.request(method, plane.url(), data=body, headers=headers) as response:
                got = (response.status, await response.text())
    assert got == (200, answer) if answer else got[0] == 502
    assert len(second.scopes) == (answer is not None)


async def test_nothing_is_tried_twice(plane: Balanced) -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")

    async with raw_server(answer) as port:
        plane.add("w1", port)
        async with plane.client.get(plane.url()) as response:
            assert response.status == 502
    assert asked == 1


@pytest.mark.parametrize("when", ["before the answer", "in the answer", "in the body"])
async def test_when_the_client_leaves_the_worker_hears_of_it(plane: Balanced, when: str) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if when == "in the answer":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with serving(answer) as port:
        plane.add("w1", port)
        _, writer = await asyncio.open_connection("127.0.0.1", plane.port)
        length = b"Content-Length: 9\r\n" if when == "in the body" else b""
        writer.write(b"POST /lb/abc123/ HTTP/1.1\r\nHost: x\r\n" + length + b"\r\n")
        await asyncio.wait_for(asked.wait(), 5)
        assert plane.load == (1, 0)
        writer.close()
        await asyncio.wait_for(left.wait(), 5)
        await until(lambda: plane.load == (0, 0))


async def test_a_worker_that_answers_without_reading_the_body(plane: Balanced) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read()

    async with raw_server(answer) as port:
        plane.add("w1", port)
        async with plane.client.post(plane.url(), data=io.BytesIO(bytes(5_000_000))) as response:
            assert (response.status, await response.read()) == (403, b"no")


@pytest.mark.parametrize(("target", "method", "status"), [("*", "OPTIONS", 400), ("a:1", "CONNECT", 405)])
async def test_what_is_no_request_for_a_worker(plane: Balanced, target: str, method: str, status: int) -> None:
    plane.add("w1", 1)
    head = f"{method} {target} HTTP/1.1\r\nHost: abc123.localhost\r\nConnection: close\r\n\r\n"
    assert (await says(plane.port, head.encode())).startswith(f"HTTP/1.1 {status}".encode())
