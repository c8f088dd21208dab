"""Tells clients what their calls wait for, what they write and how they end."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from runpod_flash.control_plane import causes
from runpod_flash.control_plane.causes import CauseKind
from runpod_flash.control_plane.endpoint_logs import EndpointLogs
from runpod_flash.control_plane.fleet import Job, Pool, Worker
from runpod_flash.control_plane.outbox import Render
from runpod_flash.control_plane.records import JobRecord, LogLine
from worker_runtime.wire.jobs import Progress

_STAGES = {CauseKind.BUILDING: "building", CauseKind.STARTING: "starting"}
_RUNNING = ("running",)


class Publisher(Protocol):
    """Where events go."""

    def publish(self, client: str, event: Mapping[str, Any]) -> None:
        """Give an event to the client's stream, if it has one."""

    def ended(self, client: str, record: JobRecord, render: Render) -> None:
        """Tell the client's stream, if it has one, the end of a job, which looks as `render` says."""


class Announcer:
    """Turns what happens into events.

    Attributes:
        on_output: called with each job that has written lines.
        logs: what workers write, by endpoint.
    """

    def __init__(self, publisher: Publisher, render: Render) -> None:
        self._publisher = publisher
        self._render = render
        self.on_output: Callable[[Job], None] = lambda job: None
        self.logs = EndpointLogs()

    def refresh(self, pool: Pool) -> None:
        """Tell each client with unfinished jobs in the pool its stage, where that has changed."""
        runs = pool.building is None and not pool.has_work
        if not pool.clients or (runs and not pool.told):
            return
        mark, stage = _stage(pool)
        for client in pool.clients:
            told = pool.told.get(client)
            if told == mark or (told is None and runs):
                continue
            pool.told[client] = mark
            event = {"event": "stage", "endpoint": pool.key.endpoint, "name": pool.name, **stage}
            self._publisher.publish(client, event)

    def heard_by(self, pool: Pool, clients: Mapping[str, int]) -> None:
        """The clients whose requests the pool has: they hear what its workers do."""
        came = clients.keys() - pool.clients.keys()
        for client in pool.clients.keys() - clients.keys():
            pool.told.pop(client, None)
        pool.clients = dict(clients)
        for client in came:
            self.welcome(pool, client)

    def final(self, job: Job) -> None:
        """Tell the job's client its outcome."""
        self.logs.job_ended(job.record.endpoint, job.record.id)
        if job.client is not None:
            self._publisher.ended(job.client, job.record, self._render)

    def refused(self, record: JobRecord, client: str | None) -> None:
        """Tell a client that its job has failed before it was queued."""
        if client is not None:
            self._publisher.ended(client, record, self._render)

    def log(self, worker: Worker, job_id: str | None, stream: str, lines: Sequence[str]) -> None:
        """Keep and pass on lines of output; those of no certain job go to every client that has one in the worker.

        Those of a worker that answers requests go to every client that has a request at the endpoint.
        """
        jobs = [worker.running[job_id]] if job_id in worker.running else list(worker.running.values())
        attempts = {job.record.id: job.record.attempts for job in jobs}
        written = self.logs.add(worker.pool.key.endpoint, worker.id, attempts, stream, lines)
        for job in jobs:
            job.logs.extend(
                LogLine(
                    attempt=job.record.attempts,
                    stream=stream,
                    line=each["line"],
                    time=each["time"],
                    worker=each["worker"],
                )
                for each in written
            )
            self.on_output(job)
        event = {"event": "log", "job": job_id, "endpoint": worker.pool.key.endpoint, "name": worker.pool.name}
        clients = worker.pool.clients if worker.port else {job.client for job in jobs if job.client is not None}
        for client in clients:
            self._publisher.publish(client, {**event, "stream": stream, "lines": list(lines)})

    def ended(self, worker: Worker, reason: str) -> None:
        """Keep, with what the endpoint's workers wrote, why one of them ended that was not told to."""
        self.logs.say(worker.pool.key.endpoint, worker.id, f"worker {worker.id} ended: {reason}")

    def failed(self, pool: Pool, why: str) -> None:
        """Keep, with what the endpoint's workers wrote, why there can be none."""
        self.logs.say(pool.key.endpoint, "", why)

    def progress(self, worker: Worker, job: Job, progress: Progress) -> None:
        """Tell the job's client how far it is."""
        if job.client is not None:
            event = {"event": "progress", "job": job.record.id, "name": worker.pool.name, **progress.to_json()}
            self._publisher.publish(job.client, event)

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


def _stage(pool: Pool) -> tuple[tuple[object, ...], dict[str, Any]]:
    """What the jobs of a pool wait for; stages with the same mark are told once."""
    if pool.building is None and not pool.has_work:
        return _RUNNING, {"stage": "running", "detail": "", "cause": "", "since": time.time()}
    cause = causes.why(pool, pool.queue[0]) if pool.queue else causes.of_pool(pool)
    name = _STAGES.get(cause.kind, "queued")
    if name == "building":
        return (name, pool.building_detail), _told(name, cause, detail=pool.building_detail)
    text = cause.text if name == "starting" else f"{len(pool.queue) + pool.waiting_requests} waiting; {cause.text}"
    return (name, cause.text), _told(name, cause, text=text)


def _told(name: str, cause: causes.Cause, *, text: str = "", detail: str = "") -> dict[str, Any]:
    return {"stage": name, "detail": detail, "cause": text, "since": cause.since, "kind": str(cause.kind)}
