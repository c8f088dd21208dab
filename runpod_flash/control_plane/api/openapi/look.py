"""Lists of jobs and the lines of workers, described."""

from typing import Final

from runpod_flash.control_plane.api.look_api import ENDPOINTS_AT_ONCE, JOBS_AT_ONCE, LATEST_S, LINES_AT_ONCE
from runpod_flash.control_plane.api.openapi.flash_schemas import ABOUT_JOB
from runpod_flash.control_plane.api.openapi.job_schemas import SCHEMAS as JOB_SCHEMAS
from runpod_flash.control_plane.api.openapi.model import Answer, Face, Operation, Parameter, Schema
from runpod_flash.control_plane.api.openapi.shapes import (
    ENDPOINT,
    JOB,
    json_answer,
    listed,
    number,
    record,
    ref,
    text,
    whole,
)
from runpod_flash.control_plane.endpoint_logs import PLATFORM

_SINCE = Parameter(
    name="since",
    place="query",
    schema=number(minimum=0, maximum=LATEST_S),
    about="Seconds since the epoch: only what is later.",
)
_TAIL = Parameter(
    name="tail",
    place="query",
    schema=whole(minimum=0, maximum=LINES_AT_ONCE),
    about="Only so many of the last lines.",
)
_FOLLOW = Parameter(
    name="follow",
    place="query",
    schema=text(enum=["true", "false"]),
    about="Whether the answer goes on with what is written from now on: a JSON object a line, empty ones between.",
)
_LINES: Final[dict[str, Schema]] = {"application/x-ndjson": text("Lines, each an `EndpointLine`.")}

_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/flash/v1/jobs",
        id="listJobs",
        summary="Jobs of all endpoints, the newest first",
        about="A page can have fewer jobs than asked for and not be the last: ask on while there is `more`.",
        parameters=(
            Parameter(
                name="endpoint",
                place="query",
                schema=listed(text(pattern="^[a-z0-9]{14}$"), maxItems=ENDPOINTS_AT_ONCE),
                about="Only those of this endpoint, by its id; repeatable.",
            ),
            Parameter(
                name="status", place="query", schema=listed(ref("JobStatus")), about="Only in this state; repeatable."
            ),
            _SINCE,
            Parameter(
                name="limit", place="query", schema=whole(minimum=1, maximum=JOBS_AT_ONCE), about="How many; 100."
            ),
            Parameter(
                name="after",
                place="query",
                schema=whole(minimum=1, maximum=2**63 - 1),
                about="`more` of the page before.",
            ),
        ),
        answers={200: json_answer("A page of them.", ref("JobList"))},
        problems=(400, 403, 404),
    ),
    Operation(
        method="GET",
        path="/flash/v1/jobs/{job}/logs",
        id="getLogs",
        summary="What a job wrote; with `follow` until it has ended",
        parameters=(JOB, _SINCE, _TAIL, _FOLLOW),
        answers={
            200: Answer(
                about="Its last lines, oldest first.",
                content={"application/json": ref("JobLogs"), **_LINES},
            )
        },
        problems=(400, 403, 404),
    ),
    Operation(
        method="GET",
        path="/flash/v1/endpoints/{endpoint}/logs",
        id="getEndpointLogs",
        summary="What the workers of an endpoint wrote: its jobs, and what belongs to none; with `follow` without end",
        parameters=(ENDPOINT, _SINCE, _TAIL, _FOLLOW),
        answers={200: Answer(about="The last lines, oldest first.", content=_LINES)},
        problems=(400, 403, 404),
    ),
)

_JOB: Final = JOB_SCHEMAS["Job"]
_WITHOUT_OUTPUT: Final = {name: schema for name, schema in _JOB["properties"].items() if name != "output"}
_SCHEMAS: Final[dict[str, Schema]] = {
    "ListedJob": record(
        {**_WITHOUT_OUTPUT, **ABOUT_JOB},
        optional=tuple(name for name in _WITHOUT_OUTPUT if name not in _JOB["required"]),
        about="The job without its output.",
    ),
    "JobList": record(
        {
            "jobs": listed(ref("ListedJob")),
            "more": whole("Where the next page begins.", nullable=True),
        }
    ),
    "EndpointLine": record(
        {
            "time": number("Seconds since the epoch; it grows from line to line."),
            "job": text("Whose it is, where that can be told.", nullable=True),
            "worker": text("The id of the worker."),
            "attempt": whole("Of the job; 0: it is of none."),
            "stream": text(f"`{PLATFORM}`: what became of the worker.", enum=["stdout", "stderr", PLATFORM]),
            "line": text(),
        },
        optional=("time", "worker"),
    ),
}

FACE: Final = Face(
    name="Looking back",
    about="Jobs of all endpoints, and what workers write.",
    operations=_OPERATIONS,
    schemas=lambda: _SCHEMAS,
)
