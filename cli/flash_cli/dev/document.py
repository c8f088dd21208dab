"""The OpenAPI document of a project: its endpoints with their docstrings and the parameters of their calls. Pure."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from flash_cli.dev.route_documents import Document, below, operation, schemas
from flash_cli.dev.table import ANY, JOBS_BY_NAME, Line, Table
from runpod_flash.release import VERSION
from worker_runtime.wire.interface import Parameter

_JOB: Final = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "string"},
        "status": {"enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]},
        "output": {"description": "What the function gave back, as JSON."},
        "error": {"type": "string", "description": "Why it failed: JSON text with error_type and error_message."},
        "delayTime": {"type": "integer", "description": "Milliseconds until it began."},
        "executionTime": {"type": "integer", "description": "Milliseconds that it ran."},
        "workerId": {"type": "string"},
    },
}
_PROBLEM: Final = {
    "type": "object",
    "properties": {"status": {"type": "integer"}, "title": {"type": "string"}, "detail": {"type": "string"}},
}
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_]\w*)(?::(\w+))?\}")
_TYPES: Final = {"int": "integer", "float": "number"}


def of(table: Table, url: str, documents: Mapping[str, Document] = MappingProxyType({})) -> dict[str, Any]:
    """The document of all addresses, served at `url`; `documents`: what endpoints say themselves, by their names."""
    paths: dict[str, dict[str, Any]] = {}
    for line in table.lines():
        if line.schema_of is None:
            own = documents.get(line.endpoint.name)
            for path, methods in _whole(line, own) if own and line.method == ANY else [_route(line, own)]:
                paths.setdefault(path, {}).update(methods)
        else:
            _add_call(paths, line)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "flash dev",
            "version": VERSION,
            "description": "The endpoints of this project. Those that take jobs have the whole job API below "
            f"`/{JOBS_BY_NAME}/{{endpoint}}`, too: set a client's base URL to `{url}/{JOBS_BY_NAME}`.",
        },
        "servers": [{"url": url}],
        "tags": [{"name": each.name, "description": each.doc} for each in table.endpoints.values()],
        "paths": paths,
        "components": {"schemas": {"Job": _JOB, "Problem": _PROBLEM, **_schemas(documents)}},
    }


def _add_call(paths: dict[str, dict[str, Any]], line: Line) -> None:
    """The job API of one call, at its short address."""
    base = line.path.removesuffix("/runsync")
    body = _body(line)
    told = "Run it and wait for its end."
    paths[f"{base}/runsync"] = {"post": _operation(line, told, _job_answer(), body, doc=line.doc)}
    paths[f"{base}/run"] = {"post": _operation(line, "Run it; its job's id comes at once.", _job_answer(), body)}
    job = [{"name": "job", "in": "path", "required": True, "schema": {"type": "string"}}]
    for verb, method, told in (
        ("status", "get", "How a job is."),
        ("stream", "get", "What a job has yielded since it was asked for last."),
        ("cancel", "post", "Cancel a job."),
        ("retry", "post", "Queue a job that has failed once more."),
    ):
        answer = _operation(line, told, _job_answer())
        paths[f"{base}/{verb}/{{job}}"] = {method: {**answer, "parameters": job}}
    anything = _answer({"type": "object"})
    paths[f"{base}/health"] = {"get": _operation(line, "How many jobs and workers there are.", anything)}
    paths[f"{base}/purge-queue"] = {"post": _operation(line, "Cancel the jobs that wait.", anything)}


def _operation(
    line: Line, told: str, answers: dict[str, Any], body: dict[str, Any] | None = None, doc: str = ""
) -> dict[str, Any]:
    summary, _, rest = doc.strip().partition("\n")
    return {
        "tags": [line.endpoint.name],
        "summary": summary or told,
        "description": f"{rest.strip()}\n\n{told}".strip() if summary else "",
        **({"requestBody": body} if body is not None else {}),
        "responses": answers,
    }


def _body(line: Line) -> dict[str, Any]:
    interface = line.endpoint.interface
    parameters = interface.calls.get(line.schema_of or "", ()) if interface is not None else ()
    schema = {
        "type": "object",
        "required": ["input"] if any(each.required for each in parameters) else [],
        "properties": {"input": _input(parameters), "policy": {"type": "object"}, "webhook": {"type": "string"}},
    }
    needed = any(each.required for each in parameters)
    return {"required": needed, "content": {"application/json": {"schema": schema}}}


def _input(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    named = [each for each in parameters if each.kind != "rest"]
    return {
        "type": "object",
        "properties": {each.name: dict(each.schema) for each in named},
        "required": [each.name for each in named if each.required],
        "additionalProperties": len(named) < len(parameters),
    }


def _job_answer() -> dict[str, Any]:
    return _answer({"$ref": "#/components/schemas/Job"})


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "200": {"description": "Done.", "content": {"application/json": {"schema": schema}}},
        "default": {"description": "It was refused; `detail` says why.", "content": problem},
    }


def _schemas(documents: Mapping[str, Document]) -> dict[str, Any]:
    """The schemas that routes refer to, each below the name of its endpoint."""
    return {
        f"{name}.{schema}": below(name, value)
        for name, document in documents.items()
        for schema, value in schemas(document).items()
    }


def _whole(line: Line, document: Document) -> list[tuple[str, dict[str, Any]]]:
    """The routes of a whole application, which nobody but itself knows."""
    name, base = line.endpoint.name, line.path.rstrip("/")
    return [
        (base + path, {method: {**below(name, told), "tags": [name]} for method, told in methods.items()})
        for path, methods in document["paths"].items()
        if all(isinstance(told, dict) for told in methods.values())
    ]


def _route(line: Line, document: Document | None) -> tuple[str, dict[str, Any]]:
    """A route of an endpoint that answers requests itself: its path as OpenAPI has it, and its methods."""
    plain = _PLACEHOLDER.sub(lambda match: f"{{{match[1]}}}", line.route)
    own = None if document is None else operation(document, line.method, plain)
    if own is not None:
        path = _PLACEHOLDER.sub(lambda match: f"{{{match[1]}}}", line.path)
        return path, {line.method.lower(): {**below(line.endpoint.name, own), "tags": [line.endpoint.name]}}
    found = _PLACEHOLDER.findall(line.path)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": _TYPES.get(kind, "string")}}
        for name, kind in found
    ]
    path = _PLACEHOLDER.sub(lambda match: f"{{{match[1]}}}", line.path)
    told = _operation(line, "Answered by the endpoint itself.", _answer({}), doc=line.doc)
    if line.method == "WEBSOCKET":
        told |= {"summary": f"A websocket. {told['summary']}"}
    if line.method in ("GET", "WEBSOCKET", ANY):
        return path, {"get": {**told, "parameters": parameters}}
    body = {"required": False, "content": {"application/json": {"schema": {}}}}
    return path, {line.method.lower(): {**told, "parameters": parameters, "requestBody": body}}
