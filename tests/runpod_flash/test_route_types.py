"""Types that can come with a request, those that cannot, and the packages that serving needs."""

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from runpod_flash import Endpoint
from runpod_flash.crossing import Crossing
from runpod_flash.errors import ConfigError, NotPortable
from runpod_flash.route_types import Code, code_of, without_effect
from runpod_flash.shipping import Shipper
from tests.runpod_flash import routes_by_text
from worker_runtime.wire import paths
from worker_runtime.wire.routes import is_by_name
from worker_runtime.wire.specs import EnvironmentRequest


class Item(BaseModel):
    """What comes as JSON."""

    name: str


class Opaque:
    """What no request holds."""


def made(function: Any, verb: str = "post", path: str = "/x", **options: Any) -> Code:
    api = Endpoint(name="api", cpu="cpu3c-1-2", **options)
    (api.websocket if verb == "websocket" else getattr(api, verb))(path)(function)
    return code_of(api._table)


def test_what_is_shipped_gives_the_routes() -> None:
    def f(item: Item, count: int = 1) -> None: ...

    code = made(f)
    served = code.target()
    (route,) = served.routes
    assert (route.method, route.path, route.function, dict(route.hints)) == ("POST", "/x", f, {})
    assert code.packages == ("fastapi", "uvicorn")


def test_it_is_made_once_for_what_is_there_and_anew_for_more() -> None:
    api = Endpoint(name="api", cpu="cpu3c-1-2")
    api.get("/x")(lambda: 1)
    first = code_of(api._table)
    assert code_of(api._table) is first
    api.get("/y")(lambda: 2)
    assert len(code_of(api._table).target().routes) == 2


def test_annotations_that_are_text_travel_as_types() -> None:
    code = made(routes_by_text.takes_box)
    hints = code.target().routes[0].hints
    assert hints["box"] is routes_by_text.Box
    assert hints["image"] is bytes
    assert "python-multipart" in code.packages


def test_an_annotation_that_names_nothing_is_told_with_its_route() -> None:
    with pytest.raises(ConfigError, match=r"route POST /x: an annotation of lost\(\) cannot be read: .*Nowhere"):
        made(routes_by_text.lost)


@pytest.mark.parametrize("kind", [Opaque, list[Opaque], dict[str, Opaque], Annotated[Opaque, "note"], type(made)])
def test_a_type_that_cannot_come_is_told_with_route_and_parameter(kind: Any) -> None:
    def f(x: Any) -> None: ...

    f.__annotations__["x"] = kind
    for verb in ("get", "post"):
        with pytest.raises(ConfigError, match=rf"route {verb.upper()} /x: parameter 'x' of .*f\(\) has the type"):
            made(f, verb)


def test_what_the_framework_fills_is_its_own_matter() -> None:
    from fastapi import Depends, Header, Request, UploadFile, WebSocket

    def f(
        request: Request,
        file: UploadFile,
        agent: Annotated[str, Header()],
        more: Annotated[Opaque, Depends(Opaque)],
    ) -> None: ...

    async def socket(x: WebSocket, other: Opaque) -> None: ...

    assert made(f).packages == ("fastapi", "uvicorn", "python-multipart")
    assert made(socket, "websocket").packages == ("fastapi", "uvicorn", "websockets")


def test_packages_that_the_user_names_are_left_to_the_user() -> None:
    def f(image: bytes) -> None: ...

    named = ["FastAPI==0.115.0", "Python_Multipart"]
    assert made(f, dependencies=named).packages == ("uvicorn",)
    assert made(f, "get").packages == ("fastapi", "uvicorn")  # bytes of a query are no file


def test_an_application_may_have_websockets() -> None:
    api = Endpoint(name="api", cpu="cpu3c-1-2")

    @api.asgi
    def make() -> None: ...

    code = code_of(api._table)
    assert code.packages == ("fastapi", "uvicorn", "websockets")
    assert code.target().make_app is make


def test_options_that_routes_pass_over_are_told() -> None:
    spec = Endpoint(name="api", cpu="cpu3c-1-2", max_concurrency=4, retries=1, execution_timeout_ms=10).spec
    assert [message.partition("=")[0] for message in without_effect(spec).values()] == [
        "max_concurrency", "retries", "execution_timeout_ms",
    ]  # fmt: skip
    assert without_effect(Endpoint(name="api", cpu="cpu3c-1-2").spec) == {}


def test_the_same_routes_are_the_same_artifact_and_others_are_another() -> None:
    def shipped(number: int, path: str = "/x", shipper: Shipper | None = None) -> str:
        def f(x: int = number) -> int:
            return x

        code = made(f, "get", path)
        artifact = (shipper or Shipper()).ship(
            code.target, name="api", environment=EnvironmentRequest("3.11"), max_concurrency=1, gives_routes=True
        )
        assert artifact.manifest.kind == "routes"
        return artifact.id

    assert shipped(1) == shipped(1)
    assert len({shipped(1), shipped(2), shipped(1, "/y")}) == 3


def test_where_no_pickle_may_go_routes_are_names_and_files() -> None:
    way = Crossing("3.99", "pickles do not travel there")

    def shipped(function: Any) -> bytes:
        artifact = Shipper().ship(
            made(function).target, name="api", environment=EnvironmentRequest("3.99"), max_concurrency=1,
            way=way, gives_routes=True,
        )  # fmt: skip
        assert "tests/runpod_flash/routes_by_text.py" in artifact.manifest.files
        return paths.read_code(artifact.data()) or b""

    code = shipped(routes_by_text.takes_box)
    assert is_by_name(code)
    assert b"tests.runpod_flash.routes_by_text:takes_box" in code
    with pytest.raises(NotPortable, match="a lambda has no name in a file"):
        shipped(lambda x: x)
