"""Tells clients what their calls wait for, what they write and how they end."""

import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from runpod_flash.control_plane.fleet import Job, Pool, Worker, WorkerState
from runpod_flash.control_plane.records import JobRecord

_REMEMBERED = 500


class Publisher(Protocol):
    """Where events go."""

    def publish(self, client: str, event: Mapping[str, Any]) -> None:
        """Give an event to the client's stream, if it has one."""


class Render(Protocol):
    """How a job looks from outside."""

    def __call__(self, record: JobRecord, now: float) -> Mapping[str, Any]: ...


class Announcer:
    """Turns what happens into events, and keeps the output of the last finished jobs."""

    def __init__(self, publisher: Publisher, render: Render) -> None:
        self._publisher = publisher
        self._render = render
        self._finished: OrderedDict[str, list[dict[str, str]]] = OrderedDict()

    def refresh(self, pool: Pool) -> None:
        """Tell each client with unfinished jobs in the pool its stage, where that has changed."""
        if not pool.clients:
            return
        stage = _stage(pool)
        for client in pool.clients:
            told = pool.told.get(client)
            if told == stage.mark or (told is None and stage.name == "running"):
                continue
            pool.told[client] = stage.mark
            event = {"event": "stage", "endpoint": pool.key.endpoint, "name": pool.name, "stage": stage.name}
            self._publisher.publish(
                client, {**event, "detail": stage.detail, "cause": stage.cause, "since": stage.since}
            )

    def final(self, job: Job) -> None:
        """Tell the job's client its outcome."""
        self._finished[job.record.id] = list(job.logs)
        while len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)
        if job.client is not None:
            self._publisher.publish(job.client, {"event": "job", "job": self._render(job.record, time.time())})

    def refused(self, record: JobRecord, client: str | None) -> None:
        """Tell a client that its job has failed before it was queued."""
        if client is not None:
            self._publisher.publish(client, {"event": "job", "job": self._render(record, time.time())})

    def log(self, worker: Worker, job_id: str | None, stream: str, lines: Sequence[str]) -> None:
        """Keep and pass on lines of output; those of no certain job go to every client that has one in the worker."""
        jobs = [worker.running[job_id]] if job_id in worker.running else list(worker.running.values())
        for job in jobs:
            job.logs.extend({"stream": stream, "line": line} for line in lines)
        event = {"event": "log", "job": job_id, "endpoint": worker.pool.key.endpoint, "name": worker.pool.name}
        for client in {job.client for job in jobs if job.client is not None}:
            self._publisher.publish(client, {**event, "stream": stream, "lines": list(lines)})

    def notice(self, pool: Pool, key: str, message: str) -> None:
        """Tell every client of the pool, those that come later too, a line that is said once."""
        if pool.notices.get(key) == message:
            return
        pool.notices[key] = message
        for client in pool.clients:
            self.notice_to(client, pool, key, message)

    def welcome(self, pool: Pool, client: str) -> None:
        """Tell a client that has come to the pool what all others there have been told."""
        for key, message in pool.notices.items():
            self.notice_to(client, pool, key, message)

    def notice_to(self, client: str, pool: Pool, key: str, message: str) -> None:
        """Tell one client a line that is said once per key."""
        self._publisher.publish(client, {"event": "notice", "key": key, "name": pool.name, "message": message})

    def logs(self, job_id: str) -> list[dict[str, str]]:
        """The output of a finished job, as far as it is remembered."""
        return self._finished.get(job_id, [])


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the jobs of a pool wait for. Stages with the same `mark` are told once; `since` is the epoch's seconds."""

    name: str
    mark: tuple[object, ...]
    detail: str = ""
    cause: str = ""
    since: float = field(default_factory=time.time)


def _stage(pool: Pool) -> _Stage:
    if pool.building is not None:
        detail = pool.building_detail
        return _Stage("building", ("building", detail), detail, "", pool.building_since)
    if not pool.queue:
        return _Stage("running", ("running",))
    states = Counter(worker.state for worker in pool.workers.values())
    busy, starting = states[WorkerState.READY] + states[WorkerState.DRAINING], states[WorkerState.STARTING]
    if not states[WorkerState.READY] and (starting or not pool.blocked):
        return _Stage("starting", ("starting",), "", "a worker starts")
    words = [f"{busy} worker{'' if busy == 1 else 's'} busy"] if busy else []
    words += [f"{starting} starting"] if starting else []
    words += [pool.blocked] if pool.blocked and not starting else []
    cause = f"{len(pool.queue)} waiting; {', '.join(words)}"
    return _Stage("queued", ("queued", busy, starting, pool.blocked), "", cause)
