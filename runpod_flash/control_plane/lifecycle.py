"""The states of a job and the rules that move it: one table and pure functions around it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from runpod_flash.control_plane.records import JobRecord
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus, error_output


class JobEvent(StrEnum):
    """What can happen to a job."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    REOPENED = "reopened"


TRANSITIONS: Final[Mapping[tuple[JobStatus, JobEvent], JobStatus]] = {
    (JobStatus.IN_QUEUE, JobEvent.STARTED): JobStatus.IN_PROGRESS,
    (JobStatus.IN_QUEUE, JobEvent.FAILED): JobStatus.FAILED,
    (JobStatus.IN_QUEUE, JobEvent.TIMED_OUT): JobStatus.TIMED_OUT,
    (JobStatus.IN_QUEUE, JobEvent.CANCELLED): JobStatus.CANCELLED,
    (JobStatus.IN_PROGRESS, JobEvent.SUCCEEDED): JobStatus.COMPLETED,
    (JobStatus.IN_PROGRESS, JobEvent.FAILED): JobStatus.FAILED,
    (JobStatus.IN_PROGRESS, JobEvent.TIMED_OUT): JobStatus.TIMED_OUT,
    (JobStatus.IN_PROGRESS, JobEvent.CANCELLED): JobStatus.CANCELLED,
    (JobStatus.IN_PROGRESS, JobEvent.REQUEUED): JobStatus.IN_QUEUE,
    (JobStatus.FAILED, JobEvent.REOPENED): JobStatus.IN_QUEUE,
    (JobStatus.TIMED_OUT, JobEvent.REOPENED): JobStatus.IN_QUEUE,
}
"""Every allowed move. From a final state there is one, for whoever asks to try a failed job once more."""

_EVENT_OF_ERROR: Final[Mapping[ErrorKind, JobEvent]] = {
    ErrorKind.CANCELLED: JobEvent.CANCELLED,
    ErrorKind.TIMED_OUT: JobEvent.TIMED_OUT,
    ErrorKind.EXPIRED: JobEvent.TIMED_OUT,
}


_OF_THE_CODE: Final = (ErrorKind.USER, ErrorKind.UNPICKLABLE_RESULT)  # what Runpod's worker package tells in its form
_ENDED_WITH_IT: Final = "the control plane ended while the job ran, and retries=0 allows no second start"
_READ: Final = "items of its stream had been read, and a second start would give them once more"


class IllegalTransition(RuntimeError):
    """A move that the table does not have: a fault of the control plane itself."""


def next_status(status: JobStatus, event: JobEvent) -> JobStatus:
    """The state after `event`. Raises IllegalTransition."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(f"a job that is {status} cannot be {event}") from None


def start(job: JobRecord, worker: str, now: float) -> JobRecord:
    """The job as the next attempt on `worker`."""
    status = next_status(job.status, JobEvent.STARTED)
    return job.changed(status=status, worker=worker, attempts=job.attempts + 1, started_at=now, retry_at=None)


def requeue(job: JobRecord, *, counts: bool, retry_at: float | None = None) -> JobRecord:
    """The job back in the queue, from `retry_at` on.

    `counts`: the attempt uses up the allowance (the control plane's death does not).
    """
    return job.changed(
        status=next_status(job.status, JobEvent.REQUEUED),
        worker=None,
        started_at=None,
        output=None,
        retries=job.retries + (1 if counts else 0),
        retry_at=retry_at,
    )


def succeed(job: JobRecord, output: Any, now: float) -> JobRecord:
    """The job with its result."""
    return job.changed(status=next_status(job.status, JobEvent.SUCCEEDED), output=output, finished_at=now)


def fail(job: JobRecord, kind: ErrorKind, output: Any, error: str, now: float) -> JobRecord:
    """The job with its failure, in the final state that fits the kind."""
    event = _EVENT_OF_ERROR.get(kind, JobEvent.FAILED)
    return job.changed(status=next_status(job.status, event), output=output, error=error, finished_at=now)


def end(job: JobRecord, error: ErrorInfo, now: float, *, plain: bool) -> JobRecord:
    """The job with a failure of ours. `plain`: its output is the endpoint's own, so that ours is told as text alone."""
    text = f"{error.type}: {error.message}" if error.kind is ErrorKind.USER else error.message
    if plain and (error.kind in _OF_THE_CODE or error.traceback):
        text = _as_published(error, job.worker)
    if plain and error.kind is ErrorKind.WORKER_LOST:  # the published words come first
        text = f"job timed out after {job.retries} retries: {text}"
    return fail(job, error.kind, None if plain else error_output(error), text, now)


def _as_published(error: ErrorInfo, worker: str | None) -> str:
    """A failure of the endpoint's code as Runpod's worker package tells it: JSON text."""
    told = {
        "error_type": f"<class '{error.type}'>",
        "error_message": error.message,
        "error_traceback": error.traceback,
        "worker_id": worker,
    }
    return json.dumps(told)


def is_plain(call: Call | None) -> bool:
    """Whether a job is told as plain JSON: that of a command (None), or a plain call."""
    return call is None or call.plain


def refuse(job: JobRecord, error: ErrorInfo, now: float, *, plain: bool = False) -> JobRecord:
    """A job that fails before it was ever queued."""
    return fail(job, error.kind, None if plain else error_output(error), error.message, now)


def reopen(job: JobRecord, now: float) -> JobRecord:
    """A failed job once more, as if it had just been submitted. Raises IllegalTransition where it has not failed."""
    return job.changed(
        status=next_status(job.status, JobEvent.REOPENED),
        created_at=now,
        started_at=None,
        finished_at=None,
        output=None,
        error=None,
        worker=None,
        retries=0,
        read=False,
        retry_at=None,
    )


def recover(job: JobRecord, call: Call | None, now: float) -> JobRecord:
    """The job after a restart of the control plane.

    An attempt that died with it is not held against the job; but `retries=0` means one start, ever, and so do items of
    its stream that somebody has read.
    """
    if job.status is not JobStatus.IN_PROGRESS:
        return job
    allowance, plain = None if call is None else call.retries, is_plain(call)
    if job.read:
        text = f"the control plane ended while the job ran; {_READ}"
        return refuse(job, ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", text), now, plain=plain)
    if allowance == 0:
        return refuse(job, ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", _ENDED_WITH_IT), now, plain=plain)
    return requeue(job, counts=False)


def cut_off_at_start(job: JobRecord, call: Call, lost: ErrorInfo | None, now: float) -> JobRecord:
    """A job that comes when its first attempt is over already: with its worker, as `lost` says, or a control plane."""
    running = start(job, "", now).changed(worker=None)
    if lost is None:
        return recover(running, call, now)
    if may_retry(lost.kind, call.retries, 0):
        return requeue(running, counts=True)
    return end(running, lost, now, plain=False)


def unstart(job: JobRecord) -> JobRecord:
    """The job back in the queue, of which it is certain that the attempt was never sent to its worker."""
    return requeue(job, counts=False)


def may_retry(kind: ErrorKind, allowance: int | None, used: int) -> bool:
    """Whether a failed attempt is followed by another.

    `allowance` is the endpoint's `retries`: None means a lost worker (killed for its memory, too) once and the
    function's exceptions never, n means both up to n times. Nothing else is ever retried: it would fail the same way.
    """
    if kind in (ErrorKind.WORKER_LOST, ErrorKind.OUT_OF_MEMORY):
        return used < (1 if allowance is None else allowance)
    if kind is ErrorKind.USER:
        return used < (allowance or 0)
    return False


def cut_off(error: ErrorInfo) -> ErrorInfo:
    """The failure of an attempt that no other follows, though its kind allows one: its stream was read in part."""
    return replace(error, message=f"{error.message}; {_READ}")


def pause_s(call: Call | None, error: ErrorInfo, used: int) -> float | None:
    """How many seconds the attempt after a failed one waits; None: there is none.

    `used` is how many have followed the first already. A lost worker is never paused for, and counts whatever
    exceptions the call names.
    """
    allowance, backoff = (None, None) if call is None else (call.retries, call.backoff)
    if not may_retry(error.kind, allowance, used):
        return None
    if backoff is None or error.kind is not ErrorKind.USER:
        return 0.0
    return backoff.delay_s(used + 1) if backoff.covers(error.kinds) else None
