"""The worker protocol below `/v2/{endpoint}`, described: what `runpod.serverless.start` speaks."""

from typing import Final

from runpod_flash.control_plane.api.openapi.model import Answer, Body, Face, Operation, Parameter
from runpod_flash.control_plane.api.openapi.shapes import (
    ENDPOINT,
    anything,
    identifier,
    json_answer,
    listed,
    record,
    ref,
    text,
    whole,
)
from runpod_flash.control_plane.api.workers import BATCH_LIMIT

_WORKER = Parameter(name="worker", place="path", schema=identifier(), about="The id of the worker whose key it is.")
_JOB = Parameter(
    name="job", place="path", schema=text(minLength=1), about="The id of the job. One that it does not have is ignored."
)
_GPU = Parameter(name="gpu", place="query", schema=text(), about="The name of the worker's GPU; not read.")
_BUSY = Parameter(name="job_in_progress", place="query", schema=text(), about="Whether the worker has jobs; not read.")
_BATCH = Parameter(
    name="batch_size",
    place="query",
    schema=whole("", 1, maximum=BATCH_LIMIT),
    about="The most jobs that the worker takes.",
)
_IS_STREAM = Parameter(name="isStream", place="query", schema=text(), about="Whether the job streams; not read.")
_HELD = Parameter(
    name="job_id", place="query", schema=text(), about="The ids of the jobs that the worker has, with commas."
)
_VERSION = Parameter(
    name="runpod_version", place="query", schema=text(), about="The version of the worker's SDK; not read."
)
_NOTHING = Answer(about="Nothing came while the request was held.")
_TAKEN = Answer(about="It is noted. What comes too late is ignored.", content={"application/json": ref("Noted")})
_FORM = "The body is JSON, whatever the content type says: workers send `application/x-www-form-urlencoded`."

_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v2/{endpoint}/job-take/{worker}",
        id="takeJob",
        summary="Wait for a job and take it",
        about="Held while there is none.",
        parameters=(ENDPOINT, _WORKER, _GPU, _BUSY),
        answers={200: json_answer("The job, which is this worker's now.", ref("TakenJob")), 204: _NOTHING},
        problems=(403,),
    ),
    Operation(
        method="GET",
        path="/v2/{endpoint}/job-take-batch/{worker}",
        id="takeJobs",
        summary="Wait for jobs and take them",
        parameters=(ENDPOINT, _WORKER, _BATCH, _GPU, _BUSY),
        answers={
            200: json_answer("The jobs.", listed(ref("TakenJob"), minItems=1)),
            204: _NOTHING,
        },
        problems=(400, 403),
    ),
    Operation(
        method="GET",
        path="/v2/{endpoint}/job-stop/{worker}",
        id="stopJobs",
        summary="Wait for jobs that the worker shall stop",
        parameters=(ENDPOINT, _WORKER, _GPU),
        answers={200: json_answer("The jobs to stop.", ref("JobsToStop")), 204: _NOTHING},
        problems=(403,),
    ),
    Operation(
        method="POST",
        path="/v2/{endpoint}/job-done/{worker}/{job}",
        id="finishJob",
        summary="The result of a job, or its progress",
        about=_FORM,
        parameters=(ENDPOINT, _WORKER, _JOB, _GPU, _IS_STREAM),
        body=Body(schema=ref("JobResult"), example={"output": {"colours": 5}}),
        answers={200: _TAKEN},
        problems=(400, 403, 408, 413, 507),
    ),
    Operation(
        method="POST",
        path="/v2/{endpoint}/job-stream/{worker}/{job}",
        id="yieldChunk",
        summary="A chunk that a job yields",
        about=_FORM,
        parameters=(ENDPOINT, _WORKER, _JOB, _GPU, _IS_STREAM),
        body=Body(schema=ref("JobChunk"), example={"output": "a word"}),
        answers={200: _TAKEN},
        problems=(400, 403, 408, 413, 507),
    ),
    Operation(
        method="GET",
        path="/v2/{endpoint}/ping/{worker}",
        id="ping",
        summary="The worker lives, and has these jobs",
        parameters=(
            ENDPOINT,
            _WORKER,
            _HELD,
            _VERSION,
            Parameter(
                name="status", place="query", schema=text(), about="`unhealthy` where a check of the worker failed."
            ),
            Parameter(name="check", place="query", schema=text(), about="Which check failed."),
            Parameter(name="reason", place="query", schema=text(), about="Why it failed."),
        ),
        answers={200: Answer(about="It is noted.", content={"application/json": ref("Noted")})},
        problems=(403,),
    ),
)

FACE: Final = Face(
    name="Workers",
    about="The worker protocol. Only the key that a worker was started with may speak it, for itself.",
    operations=_OPERATIONS,
    schemas=lambda: {
        "TakenJob": {
            **record(
                {"id": identifier(), "input": {"type": "object", "additionalProperties": True}},
                about="All other keys reach the handler, too.",
            ),
            "additionalProperties": True,
        },
        "JobsToStop": record({"jobsToStop": listed(identifier())}),
        "JobResult": record(
            {
                "output": anything("What the handler gave."),
                "error": anything("Why it failed: a text, or what is told as JSON. Empty ones are none."),
                "status": anything("IN_PROGRESS: this is no result but progress."),
                "stopPod": anything("Whether the worker asks to be replaced."),
            },
            optional=("output", "error", "status", "stopPod"),
        ),
        "JobChunk": record({"output": anything("What was yielded.")}),
        "Noted": record({}),
    },
)
