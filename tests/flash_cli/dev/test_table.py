"""Which path of the dev server means what."""

from typing import Any

import pytest

from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint, BuiltRoute
from flash_cli.dev.table import Place, Table, merged
from worker_runtime.wire.interface import Interface, Parameter


def function(name: str, file: str, called: str = "", **fields: Any) -> BuiltEndpoint:
    interface = Interface({"": (Parameter("x"),)}, {"": f"What {name} does."})
    body = {"type": "QUEUE"}
    return BuiltEndpoint(name, "function", file, called or name, body, interface=interface, **fields)


def class_of(name: str, file: str, *methods: str) -> BuiltEndpoint:
    interface = Interface(dict.fromkeys(methods, ()), {})
    return BuiltEndpoint(name, "class", file, "Model", {"type": "QUEUE"}, interface=interface)


def routes(name: str, file: str, *paths: str) -> BuiltEndpoint:
    found = tuple(BuiltRoute(*path.split(" "), "f") for path in paths)
    return BuiltEndpoint(name, "routes", file, "api", {"type": "LOAD_BALANCER"}, routes=found)


def test_a_function_alone_in_its_file_has_the_files_address() -> None:
    table = Table.of([function("infer", "models/gpu.py")])
    assert table.find("POST", "/models/gpu/runsync") == Place("infer", "runsync", "/runsync", short=True)
    assert table.find("GET", "/models/gpu/infer/status/a%2Fb") == Place("infer", "status", "/status/a%2Fb", short=True)
    assert table.find("GET", "/models/gpu") is None
    assert [line.path for line in table.lines()] == ["/models/gpu/runsync"]


def test_several_in_a_file_have_their_own_names() -> None:
    table = Table.of([function("one", "app.py"), function("other-name", "app.py", "two")])
    assert table.find("POST", "/app/runsync") is None
    assert table.find("POST", "/app/two/run") == Place("other-name", "run", "/run", short=True)
    assert {line.path for line in table.lines()} == {"/app/one/runsync", "/app/two/runsync"}


def test_methods_are_selected_where_there_are_several() -> None:
    several = Table.of([class_of("model", "m.py", "predict", "train")]).find("POST", "/m/train/runsync")
    alone = Table.of([class_of("model", "m.py", "predict")]).find("POST", "/m/runsync")
    assert several is not None
    assert several.call == "train"
    assert alone is not None
    assert (alone.call, alone.takes_nothing) == ("", True)


def test_two_load_balanced_endpoints_of_a_file_stay_apart() -> None:
    table = Table.of([routes("a", "web.py", "GET /x", "POST /same"), routes("b", "web.py", "GET /y/{id}", "PUT /same")])
    for method, path, name in (
        ("GET", "/web/x", "a"),
        ("GET", "/web/y/1", "b"),
        ("PUT", "/web/same", "b"),
        ("DELETE", "/web/same", "a"),
        ("HEAD", "/web/y/1", "b"),
    ):
        place = table.find(method, path)
        assert place is not None
        assert place.endpoint == name, (method, path)
        assert place.rest == path.removeprefix("/web")
        assert place.is_balanced


def test_names_reach_every_endpoint() -> None:
    table = Table.of([function("my infer", "a.py"), routes("web", "w.py", "GET /x")])
    assert table.find("GET", "/v2/my%20infer/health") == Place("my infer", "health", "/health")
    assert table.find("GET", "/lb/web/x/y") == Place("web", "", "/x/y")
    assert table.find("POST", "/v2/nobody/run") is None


def test_packages_and_names_of_odd_files() -> None:
    table = Table.of([function("f", "01_hello/__init__.py"), function("g", "a b/ü.py")])
    assert table.find("POST", "/01_hello/runsync") is not None
    assert table.find("POST", "/a%20b/%C3%BC/runsync") is not None
    assert "/a%20b/%C3%BC/runsync" in [line.path for line in table.lines()]


def test_the_nearest_address_is_offered() -> None:
    table = Table.of([function("infer", "gpu_worker.py")])
    assert table.nearest("/gpu-worker/runsync") == "/gpu_worker/runsync"
    assert table.nearest("/zzzzzz") == ""


def test_endpoints_of_broken_files_stay_as_they_were() -> None:
    old = BuildManifest("app", (function("a", "a.py", artifact="1"), function("b", "b.py", artifact="1")))
    new = BuildManifest("app", (function("b", "b.py", artifact="2"),))
    found = {each.name: each.artifact for each in merged(new, ["a.py"], old).endpoints}
    assert found == {"a": "1", "b": "2"}
    assert {each.name for each in merged(new, [], old).endpoints} == {"b"}
    moved = BuildManifest("app", (function("a", "c.py", artifact="3"),))
    assert [each.file for each in merged(moved, ["a.py"], old).endpoints] == ["c.py"]


@pytest.mark.parametrize("file", ["v2.py", "docs.py", "lb.py"])
def test_files_with_names_of_the_server_are_reached(file: str) -> None:
    table = Table.of([function("f", file)])
    place = table.find("POST", f"/{file.removesuffix('.py')}/runsync")
    assert place is not None
    assert place.endpoint == "f"
