"""Which routes an endpoint takes, what a decorated function stays, and every refusal."""

import inspect
import pickle
from typing import Any

import pytest

from runpod_flash import Endpoint, ServerlessScalerType
from runpod_flash.errors import CallError, ConfigError
from runpod_flash.routes import RouteTable, checked
from worker_runtime.wire import payload


def named(name: str = "api", **more: Any) -> Endpoint:
    return Endpoint(name=name, cpu="cpu3c-1-2", **more)


def of(endpoint: Endpoint) -> RouteTable:
    return endpoint._table


async def plain(x: int = 1) -> int:
    """As it was."""
    return x


def test_a_route_function_comes_back_as_it_is_with_marks_for_tools() -> None:
    api = named(dependencies=["numpy"])

    async def predict(data: dict[str, int]) -> int:
        return len(data)

    assert api.post("/predict")(predict) is predict
    assert inspect.iscoroutinefunction(predict)
    assert predict.__is_lb_route_handler__ is True  # type: ignore[attr-defined]
    marks = predict.__remote_config__  # type: ignore[attr-defined]
    assert (marks["method"], marks["path"], marks["dependencies"]) == ("POST", "/predict", ["numpy"])
    assert marks["is_lb_route_handler"] is True
    assert pickle.loads(pickle.dumps(marks)) == {}  # they stay here
    assert api.is_load_balanced
    assert api.scaler_type is ServerlessScalerType.REQUEST_COUNT
    assert not named().is_load_balanced


def test_all_methods_and_one_path_for_several() -> None:
    api = named()
    for verb in (api.get, api.post, api.put, api.delete, api.patch):
        verb("/x")(plain)
    assert [str(route) for route in of(api).routes] == ["GET /x", "POST /x", "PUT /x", "DELETE /x", "PATCH /x"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("predict", "must begin with '/'; did you mean '/predict'?"),
        ("", "must begin with '/'"),
        (None, "must begin with '/'"),
        ("/ping", "reserved"),
        ("/ping/", "reserved"),
        ("/execute", "reserved"),
        ("/docs", "reserved"),
        ("/openapi.json", "reserved"),
        ("/a b", "signs that no path has"),
        ("/a?x=1", "a query fills parameters by itself"),
        ("/{x", "braces that are no placeholder"),
        ("/{x:uint}", "braces that are no placeholder"),
        ("/{x}/{x}", "placeholder 'x' twice"),
    ],
)
def test_paths_that_cannot_be(path: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        named().get(path)(plain)
    assert said in str(refused.value)


def test_a_verb_without_a_path_says_how_it_is_written() -> None:
    with pytest.raises((ConfigError, CallError), match=r"@.*\.?get\("):
        named().get(plain)(plain)  # type: ignore[arg-type]


def takes_all(*parts: Any) -> None: ...


def takes_more(**more: Any) -> None: ...


def gives() -> Any:
    yield 1


async def opens(socket: Any) -> None: ...


@pytest.mark.parametrize(
    ("method", "path", "function", "said"),
    [
        ("GET", "/x", len, "decorates a function, not len()"),
        ("GET", "/x", dict, "decorates a function, not dict()"),
        ("POST", "/x", takes_all, "parameter *parts of takes_all() cannot be filled"),
        ("POST", "/x", takes_more, "parameter **more of takes_more() cannot be filled"),
        ("GET", "/x/{y}", plain, "plain() has no parameter 'y', which the path names; there are x"),
        ("WEBSOCKET", "/x", gives, "make gives() an async def that gets the WebSocket"),
        ("WEBSOCKET", "/x", takes_all, "make takes_all() an async def"),
    ],
)
def test_functions_that_cannot_be_served_there(method: str, path: str, function: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked(method, path, function)
    assert said in str(refused.value)
    assert f"{method} {path}" in str(refused.value)


def test_a_parameter_that_shall_come_from_a_path_without_it() -> None:
    from fastapi import Path

    def wrong(x: int = Path()) -> None: ...

    with pytest.raises(ConfigError, match=r"'x' of .*wrong\(\) is to come from the path, which has no \{x\}"):
        checked("GET", "/x", wrong)


def test_who_gets_the_request_itself_may_leave_placeholders_to_it() -> None:
    from fastapi import Request

    def reads(request: Request) -> None: ...

    def reads_by_text(request: "Request") -> None: ...

    assert checked("GET", "/x/{y}", reads).path == "/x/{y}"
    assert checked("GET", "/x/{y}", reads_by_text).path == "/x/{y}"


def test_one_method_and_path_is_one_route_whatever_its_placeholder_is_called() -> None:
    api = named()
    api.get("/items/{x}")(plain)
    api.post("/items/{x}")(plain)

    def other(y: int) -> None: ...

    with pytest.raises(ConfigError, match=r"duplicate route: endpoint 'api' has GET /items/\{x\} already, .* plain"):
        api.get("/items/{y}")(other)
    assert len(of(api).routes) == 2


def test_an_endpoint_is_for_routes_or_for_one_function_or_for_an_application() -> None:
    with pytest.raises(ConfigError, match="needs an endpoint with a name"):
        Endpoint(cpu="cpu3c-1-2").get("/x")(plain)
    api = named()
    api.get("/x")(plain)
    with pytest.raises(ConfigError, match="serves routes already"):
        api(plain)
    with pytest.raises(ConfigError, match="serves something already"):
        api.asgi(lambda: None)
    queue = named("queue")
    queue(plain)
    with pytest.raises(ConfigError, match=r"runs plain already, so it serves no routes"):
        queue.get("/x")(plain)
    site = named("site")
    site.asgi(lambda: None)
    assert site.is_load_balanced
    with pytest.raises(ConfigError, match="serves a whole application"):
        site.get("/x")(plain)
    with pytest.raises(CallError, match="client"):
        Endpoint(id="abc").get("/x")(plain)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("module:app", "takes a function that makes an ASGI application"),
        (gives, "takes a function that makes an ASGI application"),
        (opens, "needs socket"),
        (plain, "is a coroutine function"),
    ],
)
def test_what_makes_no_application(make: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        named().asgi(make)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scaler_type": ServerlessScalerType.QUEUE_DELAY}, "must be REQUEST_COUNT"),
        ({"scaler_value": 0.5}, "must be a whole number of 1 or more"),
    ],
)
def test_scalers_that_count_no_requests(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        named(**options).get("/x")(plain)
    assert said in str(refused.value)


def test_a_websocket_is_a_route_of_its_own() -> None:
    api = named()
    assert api.websocket("/x")(opens) is opens
    api.get("/x")(plain)
    with pytest.raises(ConfigError, match="duplicate route"):
        api.websocket("/x")(opens)
    with pytest.raises(ConfigError, match="reserved"):
        api.websocket("/ping")


def test_a_request_decorates_nothing() -> None:
    with pytest.raises(CallError, match="data"):
        named().post("/x", {"a": 1})(plain)


def test_an_endpoint_travels_without_its_routes() -> None:
    api = named(env={"A": "b"})
    api.get("/x")(plain)
    copy = payload.decode(payload.encode(api))
    assert (copy.spec, copy.is_load_balanced) == (api.spec, False)
    assert payload.decode(payload.encode(Endpoint(id="abc"))).id == "abc"
