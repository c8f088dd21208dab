"""A command line that calls an endpoint: as it stands, it can be pasted."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from flash_cli.builds.manifest import BuiltEndpoint
from worker_runtime.wire.interface import FUNCTION, Interface

KEY = '-H "Authorization: Bearer $(flash target key)"'
"""The key of the chosen target, whatever that is."""

_DEPTH = 8  # levels of a schema that are followed
_BY_TYPE: Mapping[str, Any] = {"string": "text", "integer": 1, "number": 1.0, "boolean": True, "null": None}


def curl(endpoint: BuiltEndpoint, url: str) -> str:
    """The line for an endpoint at this URL, with values of the right types for what it needs."""
    if endpoint.kind == "image" and endpoint.body.get("type") != "LOAD_BALANCER":
        return _post(f"{url}/runsync", {"input": {"key": "value"}})
    if endpoint.interface is not None:
        return _post(f"{url}/runsync", {"input": sample_input(endpoint.interface)})
    simple = (each.path for each in endpoint.routes if each.method == "GET" and "{" not in each.path)
    return f"curl {KEY} {shlex.quote(url + next(simple, '/ping'))}"


def sample_input(interface: Interface) -> dict[str, Any]:
    """An input that the first call of an interface takes: its required parameters, each with some value that fits."""
    name = next(iter(interface.calls), FUNCTION)
    given: dict[str, Any] = {"method": name} if len(interface.calls) > 1 else {}
    for parameter in interface.calls.get(name, ()):
        if parameter.required and parameter.kind != "rest":
            given[parameter.name] = sample(parameter.schema)
    return given or {"__empty": True}


def sample(schema: Mapping[str, Any]) -> Any:
    """Some value that a JSON schema takes, as far as its common words go."""
    return _sample(schema, schema.get("$defs") or {}, _DEPTH)


def _sample(schema: Mapping[str, Any], named: Mapping[str, Any], depth: int) -> Any:
    for word in ("default", "const"):
        if word in schema:
            return schema[word]
    for listed in (schema[word] for word in ("examples", "enum") if schema.get(word)):
        return listed[0]
    if "$ref" in schema and depth:
        return _sample(named.get(str(schema["$ref"]).rpartition("/")[2], {}), named, depth - 1)
    for choices in (schema[word] for word in ("anyOf", "oneOf", "allOf") if schema.get(word) and depth):
        return _sample(next((each for each in choices if each.get("type") != "null"), choices[0]), named, depth - 1)
    return _of_type(schema, named, depth)


def _of_type(schema: Mapping[str, Any], named: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if kind == "array":
        few = range(int(schema.get("minItems", 0))) if depth else ()
        return [_sample(schema.get("items") or {}, named, depth - 1) for _ in few]
    if kind == "object":
        fields = schema.get("properties") or {}
        needed = [name for name in schema.get("required", ()) if name in fields] if depth else []
        return {name: _sample(fields[name], named, depth - 1) for name in needed}
    if kind in ("integer", "number") and "minimum" in schema:
        return schema["minimum"]
    return _BY_TYPE.get(str(kind), "text")


def _post(url: str, body: Mapping[str, Any]) -> str:
    return (
        f"curl -X POST {KEY} -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))} {shlex.quote(url)}"
    )
