"""The deadlines of jobs: how long one may live, wait for a worker, and run. On the clock that never jumps.

A step of the machine's clock moves nothing here; only over a restart of the control plane is the time that has passed
taken from the clock, and never less than nothing.
"""

import functools
import time
from collections.abc import Callable
from typing import Final

from runpod_flash.control_plane.alarms import Alarms
from runpod_flash.control_plane.fleet import Job
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus

_TTL: Final = "ttl"
_QUEUE: Final = "queue"
_RUN: Final = "run"
_PAUSE: Final = "pause"

Expire = Callable[[Job, ErrorInfo], None]
"""Ends a job with this error."""


class Deadlines:
    """Sets and clears the alarms of jobs."""

    def __init__(self, expire: Expire) -> None:
        self._expire = expire
        self._alarms = Alarms()

    def accepted(self, job: Job) -> None:
        """The job has come, or has come back after a restart; it may run already, or have ended."""
        record = job.record
        if job.decided:
            return
        if record.ttl_ms > 0:
            passed = max(0.0, time.time() - record.created_at)
            self._set(job, _TTL, record.ttl_ms / 1000 - passed, _lived_too_long)
        if record.status is JobStatus.IN_QUEUE:
            self.queued(job)

    def queued(self, job: Job) -> None:
        """The job waits for a worker."""
        self._clear(job, _RUN)
        self._clear(job, _PAUSE)
        limit = job.record.queue_timeout_ms / 1000
        if limit > 0:
            self._set(job, _QUEUE, limit, _waited_too_long)

    def paused(self, job: Job, seconds: float, go_on: Callable[[Job], None]) -> None:
        """The job is not in the queue for so many seconds; then `go_on` is called."""
        self._clear(job, _RUN)
        self._clear(job, _QUEUE)
        self._clear(job, _PAUSE)
        job.timers[_PAUSE] = self._alarms.after(seconds, functools.partial(go_on, job))

    def started(self, job: Job) -> None:
        """The job waits no more. Workers of our own end by themselves what runs too long, commands do not."""
        self._clear(job, _QUEUE)
        limit = job.record.timeout_ms / 1000
        if limit > 0 and job.call is None:
            self._set(job, _RUN, limit, _ran_too_long)

    def ended(self, job: Job) -> None:
        """The job's end is decided."""
        if job.timers:
            for alarm in job.timers.values():
                alarm.cancel()
            job.timers.clear()

    def _set(self, job: Job, name: str, seconds: float, why: Callable[[Job], ErrorInfo]) -> None:
        self._clear(job, name)
        job.timers[name] = self._alarms.after(seconds, functools.partial(self._over, job, why))

    def _over(self, job: Job, why: Callable[[Job], ErrorInfo]) -> None:
        self._expire(job, why(job))

    @staticmethod
    def _clear(job: Job, name: str) -> None:
        if job.timers:
            alarm = job.timers.pop(name, None)
            if alarm is not None:
                alarm.cancel()


def _lived_too_long(job: Job) -> ErrorInfo:
    return _expired(f"its ttl of {job.record.ttl_ms / 1000:g} s ended before it did")


def _waited_too_long(job: Job) -> ErrorInfo:
    return _expired(f"no worker took it within its queue timeout of {job.record.queue_timeout_ms / 1000:g} s")


def _ran_too_long(job: Job) -> ErrorInfo:
    text = f"it ran longer than {job.record.timeout_ms / 1000:g} s and was stopped"
    return ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", text)


def _expired(text: str) -> ErrorInfo:
    return ErrorInfo(ErrorKind.EXPIRED, "JobExpired", text)
