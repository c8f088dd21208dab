"""What `ep.get(path)` gives: a request that is made when it is awaited, or a decorator."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from runpod_flash.blocking import Bridge
from runpod_flash.errors import CallError
from runpod_flash.http_verbs import http_verb
from runpod_flash.web import WebRequest


class Server:
    """Answers with the request; takes routes."""

    get, post = http_verb("GET"), http_verb("POST")

    def __init__(self) -> None:
        self._session = Bridge()
        self.routes: list[tuple[str, str, Any]] = []

    async def _request(self, asked: WebRequest) -> Any:
        await asyncio.sleep(0)
        if asked.target == "/bad":
            raise ValueError("bad")
        return asked.method, asked.target, asked.body, asked.timeout_s

    def _decorate(self, method: str, path: str, function: Callable[..., Any]) -> Any:
        self.routes.append((method, path, function))
        return function


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server._session.close()


def test_awaited_it_is_a_request(server: Server) -> None:
    async def main() -> None:
        assert await server.get("/x") == ("GET", "/x", None, 480.0)
        assert await server.post("/x", {"a": 1}, params={"b": 2}, timeout=None) == ("POST", "/x?b=2", b'{"a":1}', None)
        assert await server.post.aio("/x", json=0) == ("POST", "/x", b"0", 480.0)
        with pytest.raises(ValueError, match="bad"):
            await server.get("/bad")

    asyncio.run(main())
    assert server.get.blocking("/x", timeout=3) == ("GET", "/x", None, 3.0)


def test_it_is_as_good_as_a_coroutine(server: Server) -> None:
    async def main() -> None:
        assert await asyncio.create_task(server.get("/x")) == ("GET", "/x", None, 480.0)  # type: ignore[arg-type]
        assert len(await asyncio.gather(server.get("/a"), server.get("/b"))) == 2
        assert (await asyncio.wait_for(server.get("/x"), 5))[1] == "/x"
        task = asyncio.ensure_future(server.get("/x"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        once = server.get("/x")
        await once
        with pytest.raises(RuntimeError, match="cannot reuse already awaited"):
            await once

    asyncio.run(main())
    assert asyncio.run(server.get("/x"))[1] == "/x"


def test_as_a_decorator_it_asks_its_owner(server: Server) -> None:
    @server.post("/predict")
    def predict(x: int) -> int:
        return x

    assert predict(3) == 3
    assert server.routes == [("POST", "/predict", predict)]
    with pytest.raises(CallError, match="was given params, timeout; a route takes its path alone"):
        server.post("/predict", params={"a": 1}, timeout=1)(predict)


def test_a_wrong_request_is_refused_at_once_where_it_can_be_nothing_else(server: Server) -> None:
    with pytest.raises(CallError, match="begins with '/'"):
        server.get("x", params={"a": 1})
    with pytest.raises(CallError, match="begins with '/'"):
        server.get.blocking("x")


def test_one_that_nobody_awaits_is_said(server: Server) -> None:
    with pytest.warns(RuntimeWarning, match=r"GET /x was never awaited, so it was not made; .*\.get\.blocking"):
        server.get("/x")
    asked = server.get("/x")
    assert repr(asked) == "<GET /x: await it>"
    asked.close()
