"""The deadlines of jobs: how long one may live, wait for a worker, and run. On the clock that never jumps.

A step of the machine's clock moves nothing here; only over a restart of the control plane is the time that has passed
taken from the clock, and never less than nothing.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from runpod_flash.control_plane.fleet import Job
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind

_TTL: Final = "ttl"
_QUEUE: Final = "queue"
_RUN: Final = "run"
_PAUSE: Final = "pause"

Expire = Callable[[Job, ErrorInfo], None]
"""Ends a job with this error."""


class Deadlines:
    """Sets and clears the timers of jobs."""

    def __init__(self, expire: Expire) -> None:
        self._expire = expire

    def accepted(self, job: Job) -> None:
        """The job has come, or has come back after a restart."""
        record = job.record
        if record.ttl_ms > 0:
            passed = max(0.0, time.time() - record.created_at)
            text = f"its ttl of {record.ttl_ms / 1000:g} s ended before it did"
            self._set(job, _TTL, record.ttl_ms / 1000 - passed, _expired(text))
        self.queued(job)

    def queued(self, job: Job) -> None:
        """The job waits for a worker."""
        self._clear(job, _RUN)
        self._clear(job, _PAUSE)
        limit = job.record.queue_timeout_ms / 1000
        if limit > 0:
            self._set(job, _QUEUE, limit, _expired(f"no worker took it within its queue timeout of {limit:g} s"))

    def paused(self, job: Job, seconds: float, go_on: Callable[[Job], None]) -> None:
        """The job is not in the queue for so many seconds; then `go_on` is called."""
        self._clear(job, _RUN)
        self._clear(job, _QUEUE)
        self._clear(job, _PAUSE)
        job.timers[_PAUSE] = asyncio.get_running_loop().call_later(max(0.0, seconds), go_on, job)

    def started(self, job: Job) -> None:
        """The job waits no more. Workers of our own end by themselves what runs too long, commands do not."""
        self._clear(job, _QUEUE)
        limit = job.record.timeout_ms / 1000
        if limit > 0 and job.call is None:
            text = f"it ran longer than {limit:g} s and was stopped"
            self._set(job, _RUN, limit, ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", text))

    def ended(self, job: Job) -> None:
        """The job's end is decided."""
        for name in (_TTL, _QUEUE, _RUN, _PAUSE):
            self._clear(job, name)

    def _set(self, job: Job, name: str, seconds: float, error: ErrorInfo) -> None:
        self._clear(job, name)
        job.timers[name] = asyncio.get_running_loop().call_later(max(0.0, seconds), self._expire, job, error)

    @staticmethod
    def _clear(job: Job, name: str) -> None:
        timer = job.timers.pop(name, None)
        if timer is not None:
            timer.cancel()


def _expired(text: str) -> ErrorInfo:
    return ErrorInfo(ErrorKind.EXPIRED, "JobExpired", text)
