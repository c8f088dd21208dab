"""What is our own below `/flash/v1`, described."""

from collections.abc import Mapping
from typing import Final

from runpod_flash.control_plane.api.flash_jobs import AT_ONCE, STREAM_WAIT_MS
from runpod_flash.control_plane.api.openapi.flash_schemas import SCHEMAS
from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter, Schema
from runpod_flash.control_plane.api.openapi.shapes import (
    JOB,
    client,
    flag,
    identifier,
    json_answer,
    listed,
    record,
    ref,
    text,
    whole,
)
from worker_runtime.wire.calls import MEDIA_TYPE

_HASH = text(pattern="^[0-9a-f]{64}$")
_ARTIFACT = Parameter(name="id", place="path", schema=_HASH, about="The sha256 of the artifact's manifest.")
_VALUE = Parameter(name="id", place="path", schema=_HASH, about="The sha256 of the value.")
_RANGE = Parameter(
    name="Content-Range",
    place="header",
    schema=text(pattern="^bytes [0-9]{1,15}-[0-9]{1,15}/[0-9]{1,15}$"),
    about="That the body is a piece: `bytes FIRST-LAST/TOTAL`, both included. Without it, it is the whole.",
)
_BYTES: Final[Mapping[str, Schema]] = {"application/octet-stream": text(format="binary")}
_UPLOAD = Body(schema=text(format="binary"), media="application/octet-stream")
_PUT_REFUSED = (403, 409, 413, 422, 507)

_CONTENT: Final = (
    Operation(
        method="HEAD",
        path="/flash/v1/artifacts/{id}",
        id="hasArtifact",
        summary="Whether the artifact is here",
        about="404 with the header Upload-Offset: so many bytes have come in pieces; the next begins there.",
        parameters=(_ARTIFACT,),
        answers={200: Answer(about="It is; Content-Length is its size.")},
        problems=(403, 404, 422),
    ),
    Operation(
        method="PUT",
        path="/flash/v1/artifacts/{id}",
        id="putArtifact",
        summary="Bring shipped code, whole or in pieces",
        about="A piece begins where the last one ended, or before. 409 with the header Upload-Offset: it began beyond.",
        parameters=(_ARTIFACT, _RANGE),
        body=_UPLOAD,
        answers={
            201: json_answer("It is here.", record({"id": _HASH, "size": whole("Bytes.")})),
            202: json_answer("The piece is here.", record({"received": whole("Bytes of the artifact so far.")})),
        },
        problems=_PUT_REFUSED,
    ),
    Operation(
        method="GET",
        path="/flash/v1/values/{id}",
        id="getValue",
        summary="The bytes of a large argument or result",
        parameters=(_VALUE,),
        answers={200: Answer(about="The bytes.", content=_BYTES)},
        problems=(403, 404, 422),
    ),
    Operation(
        method="PUT",
        path="/flash/v1/values/{id}",
        id="putValue",
        summary="Bring a large argument",
        parameters=(_VALUE,),
        body=_UPLOAD,
        answers={201: json_answer("It is here.", record({"sha256": _HASH, "size": whole("Bytes.")}))},
        problems=_PUT_REFUSED,
    ),
)

_JOBS: Final = (
    Operation(
        method="POST",
        path="/flash/v1/jobs/watch",
        id="watchJobs",
        summary="How many jobs stand; the client's event stream is told the ends of the others",
        about="Job objects above about 8 MB stay for the next request: their ids are under `rest`.",
        body=Body(
            schema=record(
                {
                    "client": client(),
                    "jobs": listed(identifier(), minItems=1, maxItems=AT_ONCE),
                    "lines": flag("Whether what the first of them has written so far is told, too."),
                },
                optional=("lines",),
            ),
            example={"client": "c", "jobs": ["j-u1"]},
        ),
        answers={200: json_answer("How they stand.", ref("WatchedJobs"))},
        problems=(400, 403, 408, 413),
    ),
    Operation(
        method="POST",
        path="/flash/v1/jobs/find",
        id="findJobs",
        summary="The jobs that were submitted with these idempotency keys",
        body=Body(schema=record({"keys": listed(identifier(), minItems=1, maxItems=AT_ONCE)}), example={"keys": ["k"]}),
        answers={200: json_answer("Those that are known.", ref("FoundJobs"))},
        problems=(400, 403, 408, 413),
    ),
    Operation(
        method="GET",
        path="/flash/v1/jobs/{job}",
        id="getFacts",
        summary="All that is known of a job",
        parameters=(JOB,),
        answers={200: json_answer("The facts.", ref("JobFacts"))},
        problems=(403, 404),
    ),
    Operation(
        method="POST",
        path="/flash/v1/jobs/{job}/stream",
        id="readStream",
        summary="What a job has yielded after the item of this number; those up to it have arrived, and are forgotten",
        about="Held for up to `wait` ms while there is nothing. After a broken connection, the same question again.",
        parameters=(JOB,),
        body=Body(
            schema=record(
                {
                    "after": whole(
                        "The number of the last item that has arrived; 0: none.", minimum=0, maximum=2**63 - 1
                    ),
                    "wait": whole("ms", minimum=0, maximum=STREAM_WAIT_MS),
                }
            ),
            example={"after": 0, "wait": 0},
        ),
        answers={200: json_answer("The next items.", ref("StreamItems"))},
        problems=(400, 403, 404, 408, 413, 507),
    ),
)

_PLANE: Final = (
    Operation(
        method="GET",
        path="/flash/v1/capabilities",
        id="getCapabilities",
        summary="Which control plane this is, and its GPUs",
        answers={200: json_answer("What it is.", ref("Capabilities"))},
    ),
    Operation(
        method="GET",
        path="/flash/v1/events",
        id="getEvents",
        summary="The events of a client: a JSON object a line, without end",
        parameters=(
            Parameter(
                name="client",
                place="query",
                schema=client(),
                about="The id that the client has given itself. Another stream of the same id ends this one.",
                required=True,
            ),
        ),
        about=f"With `Accept: {MEDIA_TYPE}` in frames, which carry values as bytes.",
        answers={200: Answer(about="`hello`, then what happens.", content={"application/x-ndjson": text()})},
        problems=(400, 403),
    ),
    Operation(
        method="POST",
        path="/flash/v1/calls",
        id="submitCalls",
        summary="Submit, watch or cancel many calls at once; the client's event stream is told their ends",
        about="Body and answer are frames: 4 bytes length of the header, 8 bytes length of the body (big endian), "
        "the header as JSON, the body. See docs/api.md for their types.",
        parameters=(
            Parameter(
                name="X-Flash-Client",
                place="header",
                schema=client(),
                about="The client whose event stream is told the ends.",
                required=True,
            ),
        ),
        body=Body(schema=text(format="binary"), media=MEDIA_TYPE),
        answers={200: Answer(about="What was accepted and what was not.", content={MEDIA_TYPE: text(format="binary")})},
        problems=(400, 403, 408, 409, 413, 422),
    ),
    Operation(
        method="DELETE",
        path="/flash/v1/instances/{id}",
        id="dropInstance",
        summary="Close an object of a remote class; one that is unknown is closed already",
        parameters=(Parameter(name="id", place="path", schema=text(minLength=1), about="The id of the instance."),),
        answers={204: Answer(about="It is closed.")},
        problems=(403, 404),
    ),
    Operation(
        method="GET",
        path="/flash/v1/status",
        id="getStatus",
        summary="Endpoints, workers, jobs and disk at a glance",
        answers={200: json_answer("How things stand.", ref("Overview"))},
        problems=(403,),
    ),
)

FACE: Final = Face(
    name="Flash",
    about="What the published API has no place for: code, large values, events, logs, objects, status.",
    operations=(*_CONTENT, *_JOBS, *_PLANE),
    schemas=lambda: SCHEMAS,
)
