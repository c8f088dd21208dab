"""A small platform for tests of the HTTP faces: jobs live in memory and end when the test says so."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.endpoint_logs import EndpointLogs, Follower
from runpod_flash.control_plane.platform import Accepting, JobPage, JobQuery, Sees, Watched, everything
from runpod_flash.control_plane.records import Batch, EndpointLine, JobRecord, Submission
from runpod_flash.control_plane.views import about_job, job_object
from runpod_flash.errors import ContentNotFound, JobNotFound
from worker_runtime.wire.jobs import JobStatus


@dataclass(eq=False)
class MemoryPlatform:
    """Implements `Platform` over a dictionary.

    Attributes:
        called_off: ids of the jobs that were to be cancelled many at a time.
        came_with: what came with each job beside its input.
        arrived: what the last reader of each job's stream, which is "abc", says to have.
        watched: the last client that asked to hear of each job.
        missing: ids of content that a submit is told to upload.
        book: what workers write.
        asked: the last question for a list of jobs.
        fault: raised by `health`, to see what becomes of unexpected failures.
    """

    catalog: Catalog
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    came_with: dict[str, dict[str, Any]] = field(default_factory=dict)
    watched: dict[str, str] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    arrived: dict[str, int] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    called_off: list[str] = field(default_factory=list)
    book: EndpointLogs = field(default_factory=EndpointLogs)
    asked: JobQuery | None = None
    fault: Exception | None = None
    at_once: Accepting | None = None  # what `submit_now` gives
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    stopping: bool = False

    async def submit(self, endpoint_id: str, asked: Submission, /) -> JobRecord:
        job_id, job_input, key = asked.job_id, asked.input, asked.key
        self.catalog.get(endpoint_id)
        for job in self.jobs.values():
            if key is not None and (job.endpoint, job.idempotency_key) == (endpoint_id, key):
                return job
        needs = job_input.get("needs") if isinstance(job_input, Mapping) else None
        if needs in self.missing:
            raise ContentNotFound(f"there is no value {needs}; upload it and submit again")
        self.jobs[job_id] = JobRecord(job_id, endpoint_id, job_input, time.time(), idempotency_key=key)
        self.came_with[job_id] = {"client": asked.client, "policy": asked.policy}
        return self.jobs[job_id]

    async def submit_many(self, endpoint_id: str, asked: Batch, /) -> list[JobRecord | Exception]:
        self.catalog.get(endpoint_id)
        found: list[JobRecord | Exception] = []
        for key, arguments in asked.jobs:
            if arguments.sha256 in self.missing:
                found.append(ContentNotFound(f"there is no value {arguments.sha256}; upload it and submit again"))
                continue
            call = asked.call.with_arguments(arguments)
            one = Submission(f"job-{len(self.jobs)}", call, asked.policy, asked.client, key)
            found.append(await self.submit(endpoint_id, one))
        return found

    def submit_now(self, endpoint_id: str, asked: Batch, /) -> Accepting | None:
        return self.at_once

    def call_off(self, job_ids: Sequence[str], sees: Sees = everything, /) -> list[str]:
        seen = [job_id for job_id in job_ids if self._seen(job_id, sees)]
        self.called_off.extend(seen)
        return [job_id for job_id in job_ids if job_id not in seen]

    def job(self, endpoint_id: str, job_id: str, /) -> JobRecord:
        self.catalog.get(endpoint_id)
        if job_id not in self.jobs or self.jobs[job_id].endpoint != endpoint_id:
            raise JobNotFound(f"there is no job {job_id}")
        return self.jobs[job_id]

    async def wait(self, job_id: str, timeout_s: float, /) -> JobRecord:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.changed:
                await self.changed.wait_for(lambda: self.jobs[job_id].status.final)
        return self.jobs[job_id]

    def watch(self, client: str, job_ids: Sequence[str], sees: Sees = everything, /) -> Watched:
        known = [self.jobs[job_id] for job_id in job_ids if self._seen(job_id, sees)]
        waiting = [job.id for job in known if not job.status.final]
        self.watched |= dict.fromkeys(waiting, client)
        unknown = [job_id for job_id in job_ids if not self._seen(job_id, sees)]
        return Watched([job for job in known if job.status.final], waiting, unknown)

    def _seen(self, job_id: str, sees: Sees) -> bool:
        return job_id in self.jobs and sees(self.jobs[job_id].endpoint)

    def submitted(self, keys: Sequence[str], sees: Sees = everything, /) -> Mapping[str, JobRecord]:
        found = {job.idempotency_key: job for job in self.jobs.values() if sees(job.endpoint)}
        return {key: found[key] for key in keys if key in found}

    def facts(self, job_id: str, sees: Sees = everything, /) -> Mapping[str, Any]:
        if not self._seen(job_id, sees):
            raise JobNotFound(f"there is no job {job_id}")
        job = self.jobs[job_id]
        endpoint = self.catalog.get(job.endpoint)
        return {
            "job": job_object(job, time.time()),
            **about_job(job, endpoint),
            "cause": None if job.status.final else {"kind": "queued"},
        }

    async def items(
        self, job_id: str, after: int, hold_s: float, sees: Sees = everything, /
    ) -> tuple[JobRecord, Sequence[tuple[int, Any]], bool]:
        if not self._seen(job_id, sees):
            raise JobNotFound(f"there is no job {job_id}")
        self.arrived[job_id] = after
        return self.jobs[job_id], [(number, item) for number, item in enumerate("abc", 1) if number > after], False

    async def cancel(self, endpoint_id: str, job_id: str, /) -> JobRecord:
        job = self.job(endpoint_id, job_id)
        return job if job.status.final else await self.end(job_id, JobStatus.CANCELLED)

    def queued(self, endpoint_id: str, /) -> int:
        return self.health(endpoint_id)["jobs"]["inQueue"]

    def health(self, endpoint_id: str, /) -> Mapping[str, Mapping[str, int]]:
        self.catalog.get(endpoint_id)
        if self.fault is not None:
            raise self.fault
        waiting = [job for job in self.jobs.values() if job.endpoint == endpoint_id and not job.status.final]
        return {"jobs": {"inQueue": len(waiting)}}

    def workers(self, endpoint_id: str, /) -> Sequence[Mapping[str, Any]]:
        return [
            {"id": "worker-1", "status": "RUNNING", "isStale": False, "gpuCount": 0},
            {"id": "worker-2", "status": "IDLE", "isStale": True, "gpuCount": 0},
        ]

    async def drop_instance(self, instance_id: str, sees: Sees = everything, /) -> None:
        self.dropped.append(instance_id)

    def logs(self, job_id: str, sees: Sees = everything, /) -> Sequence[Mapping[str, str]]:
        if not self._seen(job_id, sees):
            raise JobNotFound(f"there is no job {job_id}")
        return [{"stream": "stdout", "line": "hello"}]

    def lines(self, endpoint_id: str, /) -> Sequence[EndpointLine]:
        return self.book.of(endpoint_id)

    def follow(self, endpoint_id: str, job_id: str | None = None, /) -> Follower:
        return self.book.follow(endpoint_id, job_id)

    def list_jobs(self, query: JobQuery, sees: Sees = everything, /) -> JobPage:
        self.asked = query
        found = [job for job in reversed(self.jobs.values()) if self._seen(job.id, sees)]
        wanted = [job for job in found if not query.endpoints or job.endpoint in query.endpoints]
        return JobPage(wanted[: query.limit], 7 if len(wanted) > query.limit else None)

    def overview(self, sees: Sees = everything, /) -> Mapping[str, Any]:
        seen = [record.id for record in self.catalog.list() if sees(record.id)]
        jobs = [job for job in self.jobs.values() if job.endpoint in seen]
        endpoints = [{"id": endpoint, "type": self.catalog.get(endpoint).body["type"]} for endpoint in seen]
        return {"jobs": len(jobs), "endpoints": endpoints, "disk": {"used": 1}}

    async def delete_endpoint_jobs(self, endpoint_id: str, /) -> None:
        for job in [job for job in self.jobs.values() if job.endpoint == endpoint_id and not job.status.final]:
            await self.end(job.id, JobStatus.CANCELLED)

    async def end(self, job_id: str, status: JobStatus, output: Any = None) -> JobRecord:
        """Let a job end."""
        async with self.changed:
            now = time.time()
            job = replace(self.jobs[job_id], status=status, output=output, started_at=now, finished_at=now, attempts=1)
            self.jobs[job_id] = job
            self.changed.notify_all()
        return job
