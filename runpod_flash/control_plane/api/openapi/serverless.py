"""Endpoint management below `/v2/serverless`, described; bodies are those that `serverless_body` checks."""

from collections.abc import Mapping
from typing import Any, Final

from runpod_flash.control_plane.api import serverless_body
from runpod_flash.control_plane.api.openapi.from_pydantic import schemas_of
from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter, Schema
from runpod_flash.control_plane.api.openapi.shapes import flag, json_answer, listed, record, ref, text, whole
from runpod_flash.hardware import POOLS, RAM_GB_PER_VCPU

_ID = Parameter(name="id", place="path", schema=text(pattern="^[a-z0-9]{14}$"), about="The id of the endpoint.")
_PROJECT = Parameter(
    name="X-Flash-Project",
    place="header",
    schema=text(),
    about="A folder, percent-encoded: the scope of names. The list shows its endpoints only, a new one belongs to it."
    " An extension.",
)
_NAME = Parameter(
    name="name",
    place="query",
    schema=text(),
    about="Only the endpoint of this name, which counts as used by that. An extension.",
)
_LINKS: Final[Mapping[str, Mapping[str, str]]] = {
    **{name: {"id": "$response.body#/id"} for name in ("getEndpoint", "updateEndpoint", "listWorkers")},
    **{name: {"endpoint": "$response.body#/id"} for name in ("run", "runSync", "getHealth", "listRequests")},
}
_EXAMPLE: Final[Mapping[str, Any]] = {
    "name": "palette",
    "type": "QUEUE",
    "command": "python handler.py",
    "directory": "/srv/palette",
    "cpu": [{"id": "cpu3c", "vcpuCount": 2}],
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
}
_EITHER = ("gpu", "cpu")
_MAY_BE_ABSENT: Final = (
    "image", "command", "directory", "artifact", "args", "startScript", "disk", "ports", "registry", *_EITHER,
)  # fmt: skip
_NULL: Final = {"enum": [None], "nullable": True}
_FAULTS = (400, 403, 408, 409, 413, 422, 507)

_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/serverless",
        id="listEndpoints",
        summary="All endpoints that this key sees",
        parameters=(_PROJECT, _NAME),
        answers={200: json_answer("The endpoints, the oldest first.", ref("Endpoints"))},
        problems=(403,),
    ),
    Operation(
        method="POST",
        path="/v2/serverless",
        id="createEndpoint",
        summary="Make an endpoint",
        about="Exactly one of `gpu` and `cpu`, and `image`, `command` or `artifact`. What is null has its default.",
        parameters=(_PROJECT,),
        body=Body(schema=ref("NewEndpoint"), example=_EXAMPLE),
        answers={201: json_answer("The endpoint.", ref("Endpoint"), links=_LINKS)},
        problems=_FAULTS,
    ),
    Operation(
        method="GET",
        path="/v2/serverless/{id}",
        id="getEndpoint",
        summary="One endpoint",
        parameters=(_ID,),
        answers={200: json_answer("The endpoint.", ref("Endpoint"))},
        problems=(403, 404),
    ),
    Operation(
        method="PATCH",
        path="/v2/serverless/{id}",
        id="updateEndpoint",
        summary="Change what is sent of an endpoint",
        about="null gives a field its default. `type` and the choice of `gpu` or `cpu` stay. Some changes bring new"
        " workers: the old ones finish what they run.",
        parameters=(_ID,),
        body=Body(schema=ref("EndpointChange"), example={"workers": {"max": 5}}),
        answers={200: json_answer("The endpoint as it is now.", ref("Endpoint"))},
        problems=(*_FAULTS, 404),
    ),
    Operation(
        method="DELETE",
        path="/v2/serverless/{id}",
        id="deleteEndpoint",
        summary="Delete an endpoint, cancel its jobs, end its workers",
        parameters=(_ID,),
        answers={204: Answer(about="It is gone.")},
        problems=(403, 404, 409, 507),
    ),
    Operation(
        method="GET",
        path="/v2/serverless/{id}/workers",
        id="listWorkers",
        summary="The workers of an endpoint",
        parameters=(_ID,),
        answers={200: json_answer("The workers.", ref("Workers"))},
        problems=(403, 404),
    ),
)

_WORKER: Final = record(
    {
        "id": text(),
        "status": text(enum=["RUNNING", "IDLE", "INITIALIZING", "THROTTLED", "UNHEALTHY"]),
        "isStale": flag("It is of an older version and ends when it has finished."),
        "gpuCount": whole(),
        "version": whole(),
        "uptimeSeconds": whole(),
        "gpuTypeId": text(),
    },
    optional=("version", "uptimeSeconds", "gpuTypeId"),
)
_WORKERS: Final = record(
    {
        "workers": listed(_WORKER),
        "summary": record(
            {name: whole() for name in ("running", "idle", "initializing", "throttled", "unhealthy", "total")}
        ),
        "endpointVersion": whole("Grows with each change that brings new workers.", 1),
    }
)


def _schemas() -> dict[str, Schema]:
    parts = schemas_of(serverless_body.Serverless)
    asked = parts.pop("Serverless")
    sizes = parts.pop("Workers")
    parts["Gpu"]["properties"]["pools"]["items"]["enum"] = sorted(group.value for group in POOLS)
    parts["Cpu"]["properties"] |= {
        "id": text(enum=list(RAM_GB_PER_VCPU)),
        "vcpuCount": whole(
            "A power of two.", None, enum=[2**power for power in range(serverless_body.VCPUS_LIMIT.bit_length())]
        ),
    }
    delay = parts["QueueDelay"]["properties"]["queueDelay"]
    delay.update({"anyOf": [{"enum": [0]}, {"minimum": 0.5}]})
    asked["properties"]["workers"] = {"allOf": [ref("WorkerCounts")]}
    asked["properties"]["image"].pop("default")
    return {
        **parts,
        "WorkerCounts": sizes,
        "NewEndpoint": _new(asked),
        "EndpointChange": _change(asked, parts, sizes),
        "Endpoint": _shown(asked),
        "Endpoints": record({"endpoints": listed(ref("Endpoint"))}),
        "Workers": _WORKERS,
    }


def _new(asked: Mapping[str, Any]) -> Schema:
    required = asked["required"]
    fields = {
        name: dict(schema) if name in required else _or_null(schema) for name, schema in asked["properties"].items()
    }
    for name in _EITHER:
        fields[name] = {"nullable": True, **fields[name]}
    either = [
        {
            "title": f"on {name}",
            "required": [name],
            "properties": {name: {key: part for key, part in fields[name].items() if key != "nullable"}, other: _NULL},
        }
        for name, other in (_EITHER, reversed(_EITHER))
    ]
    return {**asked, "properties": fields, "oneOf": either}


def _change(asked: Mapping[str, Any], parts: Mapping[str, Any], sizes: Mapping[str, Any]) -> Schema:
    """Every field may be left out or be null, in the parts that are changed by single keys, too."""
    scaling = {
        "type": text(enum=["QUEUE_DELAY", "REQUEST_COUNT"], nullable=True),
        **{
            name: _or_null(parts[kind]["properties"][name])
            for kind, name in (("QueueDelay", "queueDelay"), ("RequestCount", "requestCount"))
        },
    }
    fields = {name: _or_null(schema) for name, schema in asked["properties"].items()}
    fields |= {
        "gpu": _partial(parts["Gpu"]),
        "workers": _partial(sizes),
        "scaling": {"type": "object", "nullable": True, "properties": scaling, "additionalProperties": False},
    }
    return {"type": "object", "description": "What is to change.", "properties": fields, "additionalProperties": False}


def _partial(part: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: _without_default(_or_null(schema)) for name, schema in part["properties"].items()}
    return {"type": "object", "nullable": True, "properties": fields, "additionalProperties": False}


def _without_default(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "default"}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None], "nullable": True}
    return {**schema, "nullable": True}


def _shown(asked: Mapping[str, Any]) -> Schema:
    fields = {name: _without_default(schema) for name, schema in asked["properties"].items()}
    for name in _MAY_BE_ABSENT[1:]:
        fields[name] = {key: value for key, value in fields[name].items() if key != "nullable"}
    memory = whole("RAM in GB.", 1)
    sized = {"id": text(), "vcpuCount": whole("", 1), "memory": memory}
    return record(
        {
            "id": text(),
            **fields,
            "cpu": listed(record(sized)),
            "createdAt": text(format="date-time"),
            "endpointVersion": whole(
                "Of what an endpoint with an `artifact` serves: the number of its last change.", 1
            ),
            "requestUrls": {
                "type": "object",
                "description": "Where it is reached: run, runSync, status and so on, or base and health of a balanced"
                " one. `{job_id}` in them stands for the id of a job.",
                "additionalProperties": text(),
            },
        },
        optional=(*_MAY_BE_ABSENT, "endpointVersion"),
        about="An endpoint, every default filled in.",
    )


FACE: Final = Face(
    name="Endpoints",
    about="What runs where: made, changed and deleted. Runpod's REST API v2, as far as endpoints go.",
    operations=_OPERATIONS,
    schemas=_schemas,
)
