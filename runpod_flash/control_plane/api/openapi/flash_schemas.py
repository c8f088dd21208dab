"""What is given below `/flash/v1`."""

from collections.abc import Mapping
from typing import Final

from runpod_flash.control_plane.api.openapi.model import Schema
from runpod_flash.control_plane.api.openapi.shapes import flag, identifier, listed, number, record, ref, text, whole
from runpod_flash.control_plane.causes import CauseKind

_COUNTS: Final = {"type": "object", "additionalProperties": whole()}
_LINE: Final = record(
    {
        "time": number("Seconds since the epoch; it grows from line to line."),
        "worker": text("The id of the worker."),
        "attempt": whole("Of the job."),
        "stream": text(enum=["stdout", "stderr"]),
        "line": text(),
    },
    optional=("time", "worker", "attempt"),
)

ABOUT_JOB: Final[Mapping[str, Schema]] = {
    "endpoint": record(
        {
            "id": text(),
            "name": text(),
            "project": text(),
            "app": text("The app to which it belongs.", nullable=True),
            "stage": text("And the stage.", nullable=True),
        }
    ),
    "attempts": whole("The number of its last attempt. One that was taken back before it began counts, too."),
    "createdAt": text(format="date-time"),
    "startedAt": text("Of its last attempt.", format="date-time", nullable=True),
    "finishedAt": text(format="date-time", nullable=True),
}
"""What is said of a job beside the published object."""

SCHEMAS: Final[Mapping[str, Schema]] = {
    "WatchedJobs": record(
        {
            "jobs": listed(ref("Job"), "Those that have ended."),
            "waiting": listed(identifier(), "Those whose end the stream is told."),
            "unknown": listed(identifier()),
            "rest": listed(identifier(), "Those to ask for again."),
            "lines": listed(_LINE, "Of the first, if asked for; the stream has those that it writes from now on."),
        },
        optional=("lines",),
    ),
    "FoundJobs": record(
        {
            "jobs": {
                "type": "object",
                "description": "By idempotency key.",
                "additionalProperties": record({"id": identifier(), "endpoint": text(), "status": ref("JobStatus")}),
            }
        }
    ),
    "Cause": record(
        {
            "kind": text(enum=[str(kind) for kind in CauseKind]),
            "text": text(),
            "since": number("Seconds since the epoch."),
            "behind": whole("How many jobs are before it."),
        },
        about="What a job waits for, or why it could never run.",
    ),
    "JobFacts": record(
        {
            "job": ref("Job"),
            **ABOUT_JOB,
            "cause": {"allOf": [ref("Cause")], "nullable": True},
        }
    ),
    "JobLogs": record({"lines": listed(_LINE)}),
    "StreamItems": record(
        {
            "items": listed(
                {"type": "array", "description": "The item's number and its chunk.", "items": {}, "minItems": 2},
            ),
            "ended": {"type": "boolean", "description": "Whether the job has ended, and these are the last."},
        }
    ),
    "Capabilities": record(
        {
            "protocol": whole("The version of our own protocol."),
            "version": text("The version of the package."),
            "content": text("The hash of the package's files."),
            "pid": whole(),
            "port": whole(),
            "gpus": listed(record({"type": text(), "memory_gb": number()})),
            "pickles": flag("Whether workers load pickles of the one who asks."),
            "calls": flag("Whether calls can be submitted many at a time, in frames."),
        }
    ),
    "Overview": record(
        {
            "started": number("Seconds since the epoch."),
            "disk": {"type": "object", "description": "For the owner only.", "additionalProperties": True},
            "jobs": whole("Unfinished ones."),
            "user": text("Who asks; empty: whoever runs the control plane."),
            "endpoints": listed(
                record(
                    {
                        "id": text(),
                        "name": text(),
                        "type": text(enum=["QUEUE", "LOAD_BALANCER"]),
                        "url": text("Where its requests go."),
                        "project": text(),
                        "owner": text("The user whose it is; empty: whoever runs the control plane."),
                        "app": text("The app to which it belongs.", nullable=True),
                        "stage": text("And the stage.", nullable=True),
                        "version": whole("The active version of the stage.", nullable=True),
                        "expiresAt": text("When it goes if nobody renews or uses it.", nullable=True),
                        "jobs": _COUNTS,
                        "workers": _COUNTS,
                        "workerIds": listed(text()),
                        "waiting": {
                            **record({"count": whole(), "cause": ref("Cause")}),
                            "nullable": True,
                        },
                    }
                )
            ),
        },
        optional=("disk",),
    ),
}
