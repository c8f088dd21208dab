"""What the job API takes and gives."""

from collections.abc import Mapping
from typing import Any, Final

from runpod_flash.control_plane.api.job_body import S3_FIELDS, TIMEOUT_LEAST_MS, TTL_LEAST_MS, WEEK_MS
from runpod_flash.control_plane.api.openapi.model import Schema
from runpod_flash.control_plane.api.openapi.shapes import (
    anything,
    flag,
    identifier,
    listed,
    record,
    ref,
    text,
    whole,
)
from runpod_flash.control_plane.webhook_guard import LONGEST_URL
from worker_runtime.wire.jobs import JobStatus

_WORKER_COUNTS: Final = record(
    {name: whole() for name in ("idle", "initializing", "ready", "running", "throttled", "unhealthy")}
)
_JOB_COUNTS: Final = record({name: whole() for name in ("completed", "failed", "inProgress", "inQueue", "retried")})


def _limit(about: str, least: int) -> dict[str, Any]:
    return whole(about, least, maximum=WEEK_MS, nullable=True)


SCHEMAS: Final[Mapping[str, Schema]] = {
    "AnyJson": anything("Any JSON."),
    "JobStatus": text("Where a job is.", enum=[str(status) for status in JobStatus]),
    "NewJob": record(
        {
            "input": {
                "type": "object",
                "description": "What the handler gets. At an endpoint with an `artifact` of its own the values of its"
                " parameters by name, and there it may be empty.",
                "minProperties": 1,
                "additionalProperties": True,
            },
            "webhook": text(
                "The URL that is sent the job when it has ended. Private addresses are refused.",
                pattern="^https?://",
                maxLength=LONGEST_URL,
                nullable=True,
            ),
            "policy": {"allOf": [ref("Policy")], "nullable": True},
            "s3Config": {"allOf": [ref("S3Config")], "nullable": True},
        },
        optional=("webhook", "policy", "s3Config"),
        about="A job as it is asked for. Fields that are not named here are ignored.",
    ),
    "Policy": record(
        {
            "executionTimeout": _limit("Milliseconds that it may run; calls of our SDK: 1 or more.", TIMEOUT_LEAST_MS),
            "ttl": _limit("Milliseconds that it may live, waiting and running.", TTL_LEAST_MS),
            "lowPriority": flag("No worker is started for it.", nullable=True),
            "queueTimeout": _limit("Milliseconds that it may wait for a worker, each time. An extension.", 1),
        },
        optional=("executionTimeout", "ttl", "lowPriority", "queueTimeout"),
        about="Limits of one job, which go before those of its endpoint.",
    ),
    "S3Config": {
        **record(
            {name: text() for name in S3_FIELDS},
            optional=S3_FIELDS,
            about="Where the handler may store what it makes. The worker gets it; it is shown to nobody.",
        ),
        "additionalProperties": text(),
    },
    "JobState": record({"id": identifier(), "status": ref("JobStatus")}),
    "Job": record(
        {
            "delayTime": whole("Milliseconds that it waited."),
            "error": text("Why it failed; of an exception, JSON with its type, message and traceback."),
            "executionTime": whole("Milliseconds that it ran."),
            "id": identifier(),
            "output": anything("What the handler gave; while it runs, its latest progress."),
            "retries": whole("Further starts, after lost workers.", 1),
            "status": ref("JobStatus"),
            "workerId": text(),
        },
        optional=("delayTime", "error", "executionTime", "output", "retries", "workerId"),
    ),
    "Jobs": record({"requests": listed(ref("Job"))}),
    "JobStream": record(
        {"status": ref("JobStatus"), "stream": listed(record({"output": anything("What was yielded.")}))}
    ),
    "Purged": record({"removed": whole(), "status": text(enum=["completed"])}),
    "Health": record({"jobs": _JOB_COUNTS, "workers": _WORKER_COUNTS}),
    "OpenAIError": record(
        {
            "error": {
                "type": "object",
                "description": "`message`, `type`, `code`; what else the worker says.",
                "additionalProperties": True,
            }
        }
    ),
    "Metrics": record({"readyWorkers": listed(text()), "workers": _WORKER_COUNTS}),
}
