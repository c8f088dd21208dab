"""The document: what the faces say of the routes that are served."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Mount, Route

from runpod_flash import release
from runpod_flash.control_plane.api.job_routes import JobRoutes
from runpod_flash.control_plane.api.openapi import problems
from runpod_flash.control_plane.api.openapi.model import Face
from runpod_flash.control_plane.balancing.hosts import PathRouting

_FORWARDED = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_TITLE = "runpod_flash control plane"
_ABOUT = """Runpod's published job API, worker protocol and endpoint management, served by this machine, and under
`/flash/v1` what they have no place for. Every request carries a key: `Authorization: Bearer KEY`, or just `KEY`.
Refusals are problem JSON."""


def build(faces: Iterable[Face], served: Collection[tuple[str, str]]) -> dict[str, Any]:
    """The OpenAPI 3.0 document of the operations in `served` (method and path), without `servers`.

    What is not served (a face can be switched off) is left out, and so are schemas that nothing refers to.
    """
    paths: dict[str, dict[str, Any]] = {}
    tags: list[dict[str, str]] = []
    schemas: dict[str, Any] = {"Problem": problems.PROBLEM}
    for face in faces:
        operations = [operation for operation in face.operations if operation.route in served]
        if not operations:
            continue
        tags.append({"name": face.name, "description": face.about})
        schemas.update(face.schemas())
        for operation in operations:
            paths.setdefault(operation.path, {})[operation.method.lower()] = operation.to_json(face.name)
    _drop_links(paths)
    responses = problems.responses()
    used = _referred(paths, {**_named("schemas", schemas), **_named("responses", responses)})
    return {
        "openapi": "3.0.3",
        "info": {"title": _TITLE, "version": release.VERSION, "description": _ABOUT, "license": {"name": "MIT"}},
        "security": [{"key": []}],
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
            "responses": _kept("responses", responses, used),
            "schemas": _kept("schemas", schemas, used),
        },
    }


def routes_of(routes: Iterable[BaseRoute]) -> set[tuple[str, str]]:
    """Method and path of all HTTP routes, paths as OpenAPI writes them. GET implies HEAD, which is not named again."""
    found: set[tuple[str, str]] = set()
    for route in routes:
        if isinstance(route, Route):
            methods = set(route.methods or ())
            if "GET" in methods:
                methods.discard("HEAD")
            path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
            found |= {(method, path) for method in methods}
        elif isinstance(route, JobRoutes):
            found |= route.served
        elif isinstance(route, Mount) and isinstance(route.app, PathRouting):
            found |= {(method, f"{route.path}/{{endpoint}}/{{path}}") for method in _FORWARDED}
    return found


def _drop_links(paths: Mapping[str, Mapping[str, Any]]) -> None:
    """Leave out the links to operations that are not served."""
    operations = [operation for methods in paths.values() for operation in methods.values()]
    known = {operation["operationId"] for operation in operations}
    for operation in operations:
        for answer in operation["responses"].values():
            if "links" in answer:
                answer["links"] = {name: link for name, link in answer["links"].items() if name in known}


def _named(kind: str, components: Mapping[str, Any]) -> dict[str, Any]:
    return {f"#/components/{kind}/{name}": component for name, component in components.items()}


def _kept(kind: str, components: Mapping[str, Any], used: Collection[str]) -> dict[str, Any]:
    return {name: component for name, component in components.items() if f"#/components/{kind}/{name}" in used}


def _referred(root: object, components: Mapping[str, Any]) -> set[str]:
    """All references that can be reached from `root`."""
    found: set[str] = set()
    pending = [root]
    while pending:
        for reference in _references(pending.pop()):
            if reference not in found:
                found.add(reference)
                pending.append(components[reference])
    return found


def _references(value: object) -> set[str]:
    if isinstance(value, Mapping):
        inner = {reference for part in value.values() for reference in _references(part)}
        target = value.get("$ref")
        return inner | {target} if isinstance(target, str) else inner
    if isinstance(value, list | tuple):
        return {reference for part in value for reference in _references(part)}
    return set()
