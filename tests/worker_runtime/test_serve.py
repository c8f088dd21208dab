"""How the parameters of plain functions become those of HTTP requests, asked over the real FastAPI."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Header, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from tests.worker_runtime.scripted_plane import by_value
from worker_runtime.serve import application_of, load
from worker_runtime.wire import paths
from worker_runtime.wire.errors import PicklesRefused
from worker_runtime.wire.routes import Served, ServedRoute, by_name
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest


class Item(BaseModel):
    """A body."""

    name: str
    price: float = 1.5


class Unspeakable:
    """Nothing that has a schema."""


class Client:
    """Asks an application as over HTTP."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.application, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)


def asked(*routes: tuple[str, str, Any], **hints: Any) -> Client:
    served = tuple(ServedRoute(method, path, function, hints) for method, path, function in routes)
    return Client(application_of(Served(served), "title"))


def answer(function: Any, body: Any, method: str = "POST", path: str = "/x", **more: Any) -> tuple[int, Any]:
    found = asked((method, path.partition("?")[0], function)).request(method, path, json=body, **more)
    return found.status_code, found.json()


def two(a: int, b: str = "c") -> list[Any]:
    return [a, b]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_parameters_are_fields_of_the_body(method: str) -> None:
    assert answer(two, {"a": 1, "b": "d"}, method) == (200, [1, "d"])
    assert answer(two, {"a": "7"}, method) == (200, [7, "c"])
    status, said = answer(two, {"b": "d"}, method)
    assert (status, said["detail"][0]["loc"]) == (422, ["body", "a"])


def test_get_takes_them_from_the_query() -> None:
    assert answer(two, None, "GET", "/x?a=1&b=d") == (200, [1, "d"])
    assert answer(two, None, "GET", "/x?a=z")[0] == 422


def test_one_parameter_and_one_without_a_type() -> None:
    def one(a: int) -> int:
        return a

    def untyped(a, b=None):  # type: ignore[no-untyped-def]
        return [a, b]

    assert answer(one, {"a": 3}) == (200, 3)
    assert answer(one, 3)[0] == 422
    assert answer(untyped, {"a": {"x": [1]}}) == (200, [{"x": [1]}, None])


def test_a_single_model_is_the_body_and_one_of_several_is_a_field() -> None:
    def single(item: Item) -> Item:
        return item

    def several(item: Item, count: int = 2) -> list[Any]:
        return [item, count]

    assert answer(single, {"name": "pen"}) == (200, {"name": "pen", "price": 1.5})
    assert answer(several, {"item": {"name": "pen"}}) == (200, [{"name": "pen", "price": 1.5}, 2])
    assert answer(several, {"name": "pen"})[0] == 422


@pytest.mark.parametrize("kind", [dict, dict[str, Any], Mapping[str, Any]])
def test_a_single_dict_is_the_body_or_its_only_field(kind: Any) -> None:
    def takes(data: Any) -> Any:
        return data

    takes.__annotations__["data"] = kind
    assert answer(takes, {"data": {"a": 1}}) == (200, {"a": 1})
    assert answer(takes, {"a": 1}) == (200, {"a": 1})
    assert answer(takes, {"data": {"a": 1}, "b": 2}) == (200, {"data": {"a": 1}, "b": 2})
    assert answer(takes, {"data": 3}) == (200, {"data": 3})
    assert answer(takes, [1])[0] == 422


def test_the_values_of_a_single_dict_are_checked() -> None:
    def counts(data: dict[str, int]) -> dict[str, int]:
        return data

    assert answer(counts, {"data": {"a": 1}}) == (200, {"a": 1})
    assert answer(counts, {"a": "x"})[0] == 422


def test_paths_headers_and_the_request_itself_are_no_fields() -> None:
    def f(shop: str, agent: Annotated[str, Header()], request: Request, count: int = 1) -> list[Any]:
        return [shop, agent, request.url.path, count]

    client = asked(("POST", "/shops/{shop}", f))
    assert client.post("/shops/north", json={"count": 2}, headers={"agent": "me"}).json() == [
        "north", "me", "/shops/north", 2,
    ]  # fmt: skip
    whole = asked(("GET", "/files/{path:path}", lambda path: path))
    assert whole.get("/files/a/b").json() == "a/b"


def test_positional_only_and_keyword_only_parameters() -> None:
    def f(a: int, /, b: int, *, c: int = 3) -> list[int]:
        return [a, b, c]

    assert answer(f, {"a": 1, "b": 2}) == (200, [1, 2, 3])


def test_plain_functions_run_in_threads_and_coroutines_on_the_loop() -> None:
    async def on_loop() -> bool:
        return asyncio.get_running_loop().is_running()

    def in_thread() -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return True
        return False

    client = asked(("GET", "/a", on_loop), ("GET", "/b", in_thread))
    assert [client.get("/a").json(), client.get("/b").json()] == [True, True]


def test_generators_stream_and_the_first_item_says_of_what_kind() -> None:
    closed: list[str] = []

    def lines(n: int) -> Iterator[str]:
        try:
            for number in range(n):
                yield f"{number}\n"
        finally:
            closed.append("lines")

    async def data() -> AsyncIterator[bytes]:
        yield b"\x00"
        yield b"\x01"

    async def rows() -> AsyncIterator[Any]:
        yield {"item": Item(name="pen")}
        yield [1, None]

    def fails() -> Iterator[str]:
        raise ValueError("before the first")
        yield ""

    client = asked(("GET", "/l", lines), ("GET", "/d", data), ("POST", "/r", rows), ("GET", "/f", fails))
    found = client.get("/l?n=2")
    assert (found.text, found.headers["content-type"]) == ("0\n1\n", "text/plain; charset=utf-8")
    assert closed == ["lines"]
    assert client.get("/l?n=0").text == ""
    found = client.get("/d")
    assert (found.content, found.headers["content-type"]) == (b"\x00\x01", "application/octet-stream")
    found = client.post("/r")
    assert found.text.splitlines() == ['{"item":{"name":"pen","price":1.5}}', "[1,null]"]
    assert found.headers["content-type"] == "application/x-ndjson"
    assert client.get("/f").status_code == 500


def test_what_is_returned_is_described_where_it_can_be() -> None:
    def strange() -> Unspeakable:  # FastAPI would refuse to describe it
        return PlainTextResponse("fine")  # type: ignore[return-value]

    def shorter() -> Item:
        return {"name": "pen", "price": 2, "more": 1}  # type: ignore[return-value]

    def response() -> PlainTextResponse:
        return PlainTextResponse("plain", 201)

    client = asked(("GET", "/a", strange), ("GET", "/b", shorter), ("GET", "/c", response))
    assert client.get("/a").text == "fine"
    assert client.get("/b").json() == {"name": "pen", "price": 2.0}
    assert client.get("/c").status_code == 201
    described = client.get("/openapi.json").json()
    assert described["info"]["title"] == "title"
    assert "Item" in described["components"]["schemas"]


def test_types_that_came_along_stand_for_annotations_that_are_text() -> None:
    def f(item: "Nowhere") -> Any:  # type: ignore[name-defined]  # noqa: F821
        return item

    client = asked(("POST", "/x", f), item=Item)
    assert client.post("/x", json={"name": "pen"}).json() == {"name": "pen", "price": 1.5}


def test_a_websocket_gets_its_parameters() -> None:
    from fastapi import WebSocket

    async def echo(socket: WebSocket, room: str) -> None:
        await socket.accept()
        await socket.send_text(room + await socket.receive_text())

    incoming = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "b"}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/rooms/a", "headers": [], "query_string": b"", "subprotocols": []}
    asyncio.run(asked(("WEBSOCKET", "/rooms/{room}", echo)).application(scope, receive, send))
    assert [message.get("text") for message in sent] == [None, "ab"]


def test_an_application_is_made_by_its_function() -> None:
    made = object()
    assert application_of(Served(make_app=lambda: made), "title") is made


def test_pickles_are_loaded_where_they_may_be_and_names_everywhere() -> None:
    served = Served((ServedRoute("GET", "/x", asyncio.sleep, {}),))
    _, pickled = by_value(lambda: served, kind="routes")
    assert load(pickled) == served
    with pytest.raises(PicklesRefused):
        load(pickled, pickles=False)
    code = by_name(served, lambda function: "asyncio:sleep")
    names = paths.pack(ArtifactManifest("routes", "r", "0", EnvironmentRequest("3.11")), code, {})
    assert load(names, pickles=False) == served
