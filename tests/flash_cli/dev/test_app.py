"""The dev server's way of a request: who may ask, what is waited for, where it goes, what is told of it."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from flash_cli.builds.manifest import BuiltEndpoint, BuiltRoute
from flash_cli.dev.state import State
from flash_cli.dev.table import Table
from tests.support.balanced import raw_server, until
from tests.support.dev_server import Target, dev_server
from worker_runtime.wire.interface import Interface, Parameter

INFER = BuiltEndpoint(
    "infer",
    "function",
    "gpu.py",
    "infer",
    {"type": "QUEUE"},
    artifact="a",
    interface=Interface({"": (Parameter("x"),)}),
)
MODEL = BuiltEndpoint(
    "model", "class", "m.py", "Model", {"type": "QUEUE"}, artifact="a",
    interface=Interface({"predict": (), "train": ()}),
)  # fmt: skip
WEB = BuiltEndpoint(
    "web", "routes", "web.py", "api", {"type": "LOAD_BALANCER"}, artifact="a",
    routes=(BuiltRoute("POST", "/echo/{id}", "echo"), BuiltRoute("WEBSOCKET", "/chat", "chat")),
)  # fmt: skip
STATE = State(Table.of([INFER, MODEL, WEB]))


def run(test: Any) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_a_job_goes_to_the_endpoint_with_the_targets_key_and_its_answer_comes_back() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            dev.target.job = {"id": "j", "status": "COMPLETED", "output": 4, "executionTime": 3, "workerId": "w1"}
            asked = {"input": {"x": 2}}
            async with dev.client.post(
                f"{dev.url}/gpu/runsync?wait=2000", json=asked, headers={"Authorization": "Bearer mine"}
            ) as answer:
                assert answer.status == 200
                assert await answer.json() == dev.target.job
            scope, headers = dev.target.scopes[-1], dev.target.headers()
            assert scope["path"] == "/v2/id-infer/runsync"
            assert scope["query_string"] == b"wait=2000"
            assert json.loads(dev.target.bodies[-1]) == asked
            assert (headers["authorization"], headers["x-flash-client"]) == ("Bearer secret", "listener")
            await until(lambda: dev.told)
            assert (dev.told[-1].endpoint, dev.told[-1].worker, dev.told[-1].run_ms) == ("infer", "w1", 3)

    run(test())


def test_the_method_of_a_class_is_put_in_and_a_body_is_not_needed() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            async with dev.client.post(f"{dev.url}/m/train/run") as answer:
                assert answer.status == 200
            assert json.loads(dev.target.bodies[-1]) == {"input": {"method": "train"}}
            assert dev.target.headers()["content-type"] == "application/json"

    run(test())


def test_clients_of_the_real_api_work_by_names() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            for method, path in (("GET", "health"), ("POST", "cancel/j%2F1"), ("POST", "run"), ("POST", "openai/v1/x")):
                async with dev.client.request(method, f"{dev.url}/v2/infer/{path}", data=b"{}") as answer:
                    assert answer.status == 200
                assert dev.target.scopes[-1]["raw_path"] == f"/v2/id-infer/{path}".encode()

    run(test())


def test_a_load_balanced_endpoint_sees_the_request_as_it_was() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            body = bytes(range(256)) * 5000

            async def pieces() -> Any:
                for start in range(0, len(body), 100_000):
                    yield body[start : start + 100_000]

            headers = {"X-Mine": "ä", "Content-Type": "application/octet-stream"}
            async with dev.client.post(f"{dev.url}/web/echo/7?a=1&b=%20", data=pieces(), headers=headers) as answer:
                assert answer.status == 200
            scope = dev.target.scopes[-1]
            assert (scope["path"], scope["query_string"]) == ("/lb/id-web/echo/7", b"a=1&b=%20")
            assert dev.target.bodies[-1] == body
            assert dev.target.headers()["x-mine"].encode("latin-1").decode() == "ä"
            await until(lambda: dev.told)
            assert dev.told[-1].worker == "w1"

    run(test())


def test_an_answer_comes_as_it_is_made_and_ends_where_the_client_leaves() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-own", b"1"), (b"x-own", b"2")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        target.left.set()

    target = Target(answer)

    async def test() -> None:
        async with dev_server(STATE, target) as dev:
            response = await dev.client.get(f"{dev.url}/web/echo/1")
            assert response.status == 201
            assert response.headers.getall("x-own") == ["1", "2"]
            assert await response.content.readany() == b"first"
            response.close()
            await asyncio.wait_for(target.left.wait(), 10)
            await until(lambda: dev.told)
            assert dev.told[-1].status in (201, 499)

    run(test())


def test_a_call_waits_until_an_edit_is_taken_up() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            dev.edits.clear()
            call = asyncio.create_task(dev.client.post(f"{dev.url}/gpu/run", json={"input": {"x": 1}}))
            new = asyncio.create_task(dev.client.post(f"{dev.url}/new/run", json={"input": {"x": 1}}))
            ping = await dev.client.get(f"{dev.url}/ping")
            assert ping.status == 200
            assert not call.done()
            dev.serves(State(Table.of([INFER, replace(INFER, name="new", file="new.py")])))
            dev.edits.set()
            assert (await call).status == 200
            assert (await new).status == 200
            assert {scope["path"] for scope in dev.target.scopes} == {"/v2/id-infer/run", "/v2/id-new/run"}

    run(test())


def test_a_broken_file_answers_503_and_the_rest_goes_on() -> None:
    async def test() -> None:
        state = replace(
            STATE,
            broken={"infer": "gpu.py cannot be used: line 3: no such name"},
            files={"gpu.py": "line 3: no such name", "other.py": "line 1: bad"},
        )
        async with dev_server(state) as dev:
            for path in ("/gpu/runsync", "/v2/infer/run", "/other/runsync", "/other/f/run"):
                async with dev.client.post(f"{dev.url}{path}", json={"input": {"x": 1}}) as answer:
                    assert answer.status == 503, path
                    found = await answer.json()
                    assert "cannot be used: line" in found["detail"]
                    assert found["code"] == "BrokenFile"
            async with dev.client.get(f"{dev.url}/gpu/status/j") as answer:
                assert answer.status == 200
            async with dev.client.post(f"{dev.url}/m/train/run") as answer:
                assert answer.status == 200
            await until(lambda: len(dev.told) == 4)
            assert [each.status for each in dev.told] == [503, 503, 200, 200]

    run(test())


def test_an_unknown_path_names_the_nearest() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev, dev.client.post(f"{dev.url}/gpuu/runsync") as answer:
            assert answer.status == 404
            assert answer.content_type == "application/problem+json"
            assert "/gpu/runsync" in (await answer.json())["detail"]

    run(test())


def test_pages_of_others_are_refused() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
                async with dev.client.post(f"{dev.url}/gpu/run", data=b"{}", headers=headers) as answer:
                    assert answer.status == 403
            assert not dev.target.scopes

    run(test())


def test_a_target_that_comes_back_elsewhere_is_found() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            port, dev.target.port = dev.target.port, 0
            call = asyncio.create_task(dev.client.post(f"{dev.url}/gpu/run", json={"input": {"x": 1}}))
            await until(lambda: dev.told or not call.done())
            dev.target.port = port
            assert (await call).status == 200

    run(test())


def test_a_job_is_sent_once_more_with_its_key_where_the_target_dies_before_it_answers() -> None:
    async def test() -> None:
        requests: list[bytes] = []

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if len(requests) > 1:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()

        async with raw_server(converse) as port, dev_server(STATE) as dev:
            dev.target.port = port
            async with dev.client.post(f"{dev.url}/gpu/runsync", json={"input": {"x": 1}}) as answer:
                assert answer.status == 200
            keys = {line for each in requests for line in each.splitlines() if b"idempotency-key" in line.lower()}
            assert (len(requests), len(keys)) == (2, 1)
            del requests[:]
            async with dev.client.post(f"{dev.url}/web/echo/1", data=b"x") as answer:
                assert answer.status == 502
            assert len(requests) == 1

    run(test())


def test_a_websocket_speaks_both_ways_and_ends_as_it_was_ended() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b"})
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text == "end":
                await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
                return
            told = {"text": f"{text}!"} if text is not None else {"bytes": message["bytes"] * 2}
            await send({"type": "websocket.send", **told})

    async def test() -> None:
        async with dev_server(STATE, Target(answer)) as dev:
            async with dev.client.ws_connect(f"{dev.url}/web/chat?x=1", protocols=("a", "b")) as socket:
                assert socket.protocol == "b"
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello!"
                await socket.send_bytes(b"\0\1")
                assert await socket.receive_bytes() == b"\0\1\0\1"
                await socket.send_str("end")
                await socket.receive()
                assert socket.close_code == 4001
            scope = dev.target.scopes[-1]
            assert (scope["path"], scope["query_string"]) == ("/lb/id-web/chat", b"x=1")
            await until(lambda: dev.told)
            assert dev.told[-1].status == 101

    run(test())


def test_a_refused_websocket_says_so() -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 1008})

    async def test() -> None:
        import aiohttp

        async with dev_server(STATE, Target(answer)) as dev:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await dev.client.ws_connect(f"{dev.url}/web/chat")
            assert refused.value.status == 403

    run(test())


def test_the_pages_are_there() -> None:
    async def test() -> None:
        async with dev_server(STATE) as dev:
            async with dev.client.get(dev.url) as answer:
                found = await answer.json()
            assert {each["url"] for each in found["endpoints"]} >= {
                f"{dev.url}/gpu/runsync",
                f"{dev.url}/m/train/runsync",
            }
            for path in ("/docs", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json"):
                async with dev.client.get(f"{dev.url}{path}") as answer:
                    assert answer.status == 200, path
                    assert await answer.read()
            assert not dev.target.scopes

    run(test())
