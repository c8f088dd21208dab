"""Command lines that call endpoints."""

import json
import shlex
from typing import Any

import jsonschema
import pytest

from flash_cli.builds.manifest import BuiltEndpoint, BuiltRoute
from flash_cli.deploys.curl_lines import curl, sample, sample_input
from worker_runtime.wire.interface import Interface, Parameter

URL = "http://127.0.0.1:1/v2/id"


def endpoint(kind: str, **more: Any) -> BuiltEndpoint:
    return BuiltEndpoint("e", kind, "e.py", "e", more.pop("body", {"type": "QUEUE"}), artifact="a" * 64, **more)


def words(line: str) -> list[str]:
    """As a shell hands them to curl, but for the key."""
    return shlex.split(line.replace("$(flash target key)", "KEY"))


def test_a_function_gets_what_it_needs_and_no_more() -> None:
    interface = Interface(
        {
            "": (
                Parameter("data", schema={"type": "string"}),
                Parameter("it's", schema={"type": "integer", "minimum": 3}),
                Parameter("more", required=False),
                Parameter("rest", "rest"),
            )
        }
    )
    line = words(curl(endpoint("function", interface=interface), URL))
    assert line[0] == "curl"
    assert line[-1] == f"{URL}/runsync"
    assert "Authorization: Bearer KEY" in line
    assert json.loads(line[line.index("-d") + 1]) == {"input": {"data": "text", "it's": 3}}


def test_a_class_is_told_the_method_and_no_arguments_have_their_own_form() -> None:
    several = Interface({"predict": (Parameter("x"),), "reset": ()})
    assert sample_input(several) == {"method": "predict", "x": "text"}
    assert sample_input(Interface({"predict": ()})) == {"__empty": True}


def test_routes_and_images() -> None:
    routes = (BuiltRoute("POST", "/a", "f"), BuiltRoute("GET", "/b/{x}", "g"), BuiltRoute("GET", "/c d", "h"))
    balanced = {"type": "LOAD_BALANCER"}
    assert words(curl(endpoint("routes", routes=routes, body=balanced), URL))[-1] == f"{URL}/c d"
    assert words(curl(endpoint("routes", routes=routes[:2], body=balanced), URL))[-1] == f"{URL}/ping"
    assert words(curl(endpoint("image", body=balanced), URL))[-1] == f"{URL}/ping"
    assert words(curl(endpoint("image"), URL))[-1] == f"{URL}/runsync"


SCHEMAS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "null"},
    {"type": "array", "items": {"type": "integer"}, "minItems": 2},
    {"type": "object", "additionalProperties": {"type": "string"}},
    {"anyOf": [{"type": "null"}, {"type": "integer"}]},
    {"enum": ["b", "a"]},
    {"const": 7},
    {"type": "integer", "default": 5},
    {
        "$ref": "#/$defs/Point",
        "$defs": {
            "Point": {
                "type": "object",
                "properties": {
                    "x": {"type": "number"},
                    "next": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]},
                },
                "required": ["x"],
            }
        },
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_samples_are_what_their_schema_takes(schema: dict[str, Any]) -> None:
    jsonschema.validate(sample(schema), schema)


def test_a_schema_without_end_has_a_sample() -> None:
    loop = {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert sample(loop) == "text"
