"""The job API below `/v2/{endpoint}`, described."""

from collections.abc import Mapping
from typing import Any, Final

from runpod_flash.control_plane.api.bodies import ID_LIMIT
from runpod_flash.control_plane.api.jobs import REQUESTS_SHOWN, SYNC_WAIT_MS, WAIT_DEFAULT_MS, WAIT_MS
from runpod_flash.control_plane.api.openapi.job_schemas import SCHEMAS
from runpod_flash.control_plane.api.openapi.model import (
    PROBLEM_TYPE,
    Answer,
    Body,
    Face,
    Operation,
    Parameter,
    Status,
    also,
)
from runpod_flash.control_plane.api.openapi.shapes import ENDPOINT, JOB, json_answer, ref, text, whole


def _wait(bounds: tuple[int, int], about: str) -> Parameter:
    least, most = bounds
    return Parameter(name="wait", place="query", schema=whole("", least, maximum=most), about=about)


_USUAL = f"Milliseconds to wait at most; {WAIT_DEFAULT_MS} if it is not there."
_HOLD = "Milliseconds that the answer is held at most while there is nothing; 10 seconds if it is not there."
_CLIENT = Parameter(
    name="X-Flash-Client",
    place="header",
    schema=text(maxLength=ID_LIMIT, pattern="^[^/]*$"),
    about="The event stream that is told the end of the job. An extension.",
)
_KEY = Parameter(
    name="Idempotency-Key",
    place="header",
    schema=text(maxLength=ID_LIMIT),
    about="A submit with the key of an earlier one at this endpoint gives the job that it made. An extension.",
)
_LINKS: Final[Mapping[str, Mapping[str, str]]] = {
    name: {"endpoint": "$request.path.endpoint", "job": "$response.body#/id"}
    for name in ("getJob", "waitForJob", "getStream", "cancelJob", "retryJob")
}
_SUBMITTED = (400, 403, 404, 408, 413, 422, 429, 507)
_LOOKED = (400, 403, 404, 429)
_EXAMPLE: Final[Mapping[str, Any]] = {"input": {"prompt": "a hill"}, "policy": {"executionTimeout": 60_000}}

_STATUS = Operation(
    method="GET",
    path="/v2/{endpoint}/status/{job}",
    id="getJob",
    summary="A job as it is now",
    parameters=(ENDPOINT, JOB),
    answers={200: json_answer("The job.", ref("Job"))},
    problems=_LOOKED,
)
_STATUS_SYNC = Operation(
    method="GET",
    path="/v2/{endpoint}/status-sync/{job}",
    id="waitForJob",
    summary="A job when it has ended, or as it is after the wait",
    parameters=(ENDPOINT, JOB, _wait(SYNC_WAIT_MS, _USUAL)),
    answers={200: json_answer("The job.", ref("Job"))},
    problems=_LOOKED,
)
_STREAM = Operation(
    method="GET",
    path="/v2/{endpoint}/stream/{job}",
    id="getStream",
    summary="What a job has yielded since the last call",
    about="Each chunk is given once. The stream has ended when the status is final and no chunk comes any more; that of"
    " a cancelled job is FAILED here, since clients that wait for an end do not know the other.",
    parameters=(ENDPOINT, JOB, _wait(WAIT_MS, _HOLD)),
    answers={200: json_answer("The chunks.", ref("JobStream"))},
    problems=_LOOKED,
)
_OPENAI_PATH = Parameter(
    name="path",
    place="path",
    schema=text(minLength=1),
    about="The rest of the path, such as `v1/chat/completions`; it may have slashes.",
)
_OPENAI_ANSWERS: Final[Mapping[Status, Answer]] = {
    200: Answer(
        about="What the worker gave: one object, or server-sent events where the body says `stream`.",
        content={"application/json": ref("AnyJson"), "text/event-stream": text()},
    ),
    **{
        status: Answer(about=about, content={PROBLEM_TYPE: ref("Problem"), "application/json": ref("OpenAIError")})
        for status, about in (
            (400, "Refused, or an error of the worker. Its `code` is the status if it can be one."),
            (409, "The job was cancelled."),
            (500, "The job failed."),
            (504, "The job timed out."),
        )
    },
}
_OPENAI = Operation(
    method="GET",
    path="/v2/{endpoint}/openai/{path}",
    id="getOpenAI",
    summary="An OpenAI route of the worker",
    about="Becomes a job whose input is `openai_route` (`/` and the rest of the path) and `openai_input` (the body)."
    " Waits for its end. What a streamed answer yields is passed on as it comes.",
    parameters=(ENDPOINT, _OPENAI_PATH),
    answers=_OPENAI_ANSWERS,
    problems=(403, 404, 429, 507),
)

_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v2/{endpoint}/run",
        id="run",
        summary="Queue a job",
        about="The answer comes when the job is stored.",
        parameters=(ENDPOINT, _CLIENT, _KEY),
        body=Body(schema=ref("NewJob"), example=_EXAMPLE),
        answers={200: json_answer("The job is queued.", ref("JobState"), links=_LINKS)},
        problems=_SUBMITTED,
    ),
    Operation(
        method="POST",
        path="/v2/{endpoint}/runsync",
        id="runSync",
        summary="Queue a job and wait for its end",
        about="After the wait the answer is the job as it is then; it goes on.",
        parameters=(ENDPOINT, _wait(WAIT_MS, _USUAL), _CLIENT, _KEY),
        body=Body(schema=ref("NewJob"), example=_EXAMPLE),
        answers={200: json_answer("The job.", ref("Job"), links=_LINKS)},
        problems=_SUBMITTED,
    ),
    _STATUS,
    also(_STATUS, "POST", "postGetJob"),
    _STATUS_SYNC,
    also(_STATUS_SYNC, "POST", "postWaitForJob"),
    _STREAM,
    also(_STREAM, "POST", "postGetStream"),
    Operation(
        method="POST",
        path="/v2/{endpoint}/cancel/{job}",
        id="cancelJob",
        summary="Cancel a job; one that has ended stays as it is",
        parameters=(ENDPOINT, JOB),
        answers={200: json_answer("Its state now.", ref("JobState"))},
        problems=_LOOKED,
    ),
    Operation(
        method="POST",
        path="/v2/{endpoint}/retry/{job}",
        id="retryJob",
        summary="Queue a job again that failed or timed out",
        about="It keeps id and input; what it gave before is forgotten. 400 for a job in another state.",
        parameters=(ENDPOINT, JOB),
        answers={200: json_answer("It is queued.", ref("JobState"))},
        problems=(400, 403, 404, 507),
    ),
    Operation(
        method="POST",
        path="/v2/{endpoint}/purge-queue",
        id="purgeQueue",
        summary="Remove all jobs that wait",
        parameters=(ENDPOINT,),
        answers={200: json_answer("How many were removed.", ref("Purged"))},
        problems=_LOOKED,
    ),
    Operation(
        method="GET",
        path="/v2/{endpoint}/health",
        id="getHealth",
        summary="Counts of jobs and workers",
        parameters=(ENDPOINT,),
        answers={200: json_answer("The counts.", ref("Health"))},
        problems=(403, 404),
    ),
    Operation(
        method="GET",
        path="/v2/{endpoint}/requests",
        id="listRequests",
        summary="The jobs of an endpoint without their outputs",
        parameters=(ENDPOINT,),
        answers={200: json_answer(f"At most {REQUESTS_SHOWN} jobs, the newest first.", ref("Jobs"))},
        problems=_LOOKED,
    ),
    Operation(
        method="GET",
        path="/v2/{endpoint}/metrics",
        id="getMetrics",
        summary="Which workers are ready, and counts of workers",
        parameters=(ENDPOINT,),
        answers={200: json_answer("The workers.", ref("Metrics"))},
        problems=(403, 404),
    ),
    _OPENAI,
    Operation(
        method="POST",
        path=_OPENAI.path,
        id="postOpenAI",
        summary=_OPENAI.summary,
        about=_OPENAI.about,
        parameters=_OPENAI.parameters,
        body=Body(
            schema={"type": "object", "additionalProperties": True},
            example={"model": "m", "messages": [{"role": "user", "content": "hello"}]},
        ),
        answers=_OPENAI_ANSWERS,
        problems=(*_OPENAI.problems, 408, 413),
    ),
)

FACE: Final = Face(
    name="Jobs",
    about="Runpod's job API of queue endpoints.",
    operations=_OPERATIONS,
    schemas=lambda: SCHEMAS,
)
