"""What there is at a glance: workers, counters, why jobs wait."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from runpod_flash.control_plane import causes
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.causes import Cause, CauseKind
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Fleet, Worker, WorkerState
from runpod_flash.control_plane.platform import Sees, everything
from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.views import about_job, iso_time, job_object
from runpod_flash.scopes import stage_of
from worker_runtime.wire.jobs import ErrorKind, JobStatus


class Overview:
    """Looks, and changes nothing.

    Attributes:
        disk: what is used of the disk.
        version_of: which version of its stage an endpoint is of; None: it is of none.
        expires_at: when an endpoint goes if nobody renews or uses it, in seconds since the epoch; None: never.
    """

    def __init__(self, store: Store, catalog: Catalog, fleet: Fleet, dispatcher: Dispatcher) -> None:
        self._store = store
        self._catalog = catalog
        self._fleet = fleet
        self._dispatcher = dispatcher
        self.disk: Callable[[], Mapping[str, Any]] = dict
        self.version_of: Callable[[EndpointRecord], int | None] = lambda record: None
        self.expires_at: Callable[[EndpointRecord], float | None] = lambda record: None
        self._started = time.time()

    def facts(self, record: JobRecord) -> Mapping[str, Any]:
        """All that is known of a job: as published, its endpoint, its attempts and times, why it waits."""
        endpoint = self._catalog.get(record.endpoint)
        cause = self._cause(record)
        return {
            "job": job_object(record, time.time()),
            **about_job(record, endpoint),
            "cause": None if cause is None else cause.to_json(),
        }

    def _cause(self, record: JobRecord) -> Cause | None:
        """Why a job waits, or that it could never be served."""
        job = self._dispatcher.unfinished(record.id)
        if job is not None and record.status is JobStatus.IN_QUEUE:
            return causes.why(job.pool, job)
        if record.status is JobStatus.FAILED and _kind(record.output) == ErrorKind.INFEASIBLE:
            return Cause(CauseKind.INFEASIBLE, record.error or "", record.finished_at or record.created_at)
        return None

    def health(self, endpoint_id: str) -> dict[str, dict[str, int]]:
        """Counts of jobs and workers, with every key that the published API has."""
        self._catalog.get(endpoint_id)
        workers, queued = self._workers(endpoint_id), self.queued(endpoint_id)
        counts = self._store.counts(endpoint_id)
        idle = sum(worker.idle and worker.healthy for worker in workers)
        return {
            "jobs": {
                "completed": counts["completed"],
                "failed": counts["failed"],
                "inProgress": max(0, self._dispatcher.number_of(endpoint_id) - queued),
                "inQueue": queued,
                "retried": counts["retried"],
            },
            "workers": {
                "idle": idle,
                "initializing": sum(worker.state is WorkerState.STARTING for worker in workers),
                "ready": idle,
                "running": sum(bool(worker.running or worker.requests) for worker in workers),
                "throttled": sum(pool.throttled for pool in self._fleet.of(endpoint_id)),
                "unhealthy": sum(worker.state is WorkerState.READY and not worker.healthy for worker in workers),
            },
        }

    def queued(self, endpoint_id: str) -> int:
        """How many jobs of an endpoint wait: for a worker, for their turn in one, or for the time of a retry."""
        pools = self._fleet.of(endpoint_id)
        of_workers = sum(len(worker.queue) + len(worker.ahead) for pool in pools for worker in pool.workers.values())
        return of_workers + sum(len(pool.queue) + len(pool.pausing) for pool in pools)

    def workers(self, endpoint_id: str) -> list[dict[str, Any]]:
        """The endpoint's workers."""
        endpoint = self._catalog.get(endpoint_id)
        return [_worker_view(worker, endpoint.generation) for worker in self._workers(endpoint_id)]

    def overview(self, sees: Sees = everything) -> dict[str, Any]:
        """Everything at a glance, for `flash status`."""
        records = [record for record in self._catalog.list() if sees(record.id)]
        endpoints = [
            {
                "id": record.id,
                "name": record.name,
                "type": "LOAD_BALANCER" if record.is_load_balanced else "QUEUE",
                "project": record.project,
                "owner": record.owner,
                **self._stage(record),
                **self.health(record.id),
                "workerIds": [worker.id for worker in self._workers(record.id)],
                "waiting": self._waiting(record.id),
            }
            for record in records
        ]
        return {
            "started": self._started,
            "disk": dict(self.disk()),
            "jobs": sum(self._dispatcher.number_of(record.id) for record in records),
            "endpoints": endpoints,
        }

    def _stage(self, record: EndpointRecord) -> dict[str, Any]:
        """The app, the stage and the version to which an endpoint belongs, and when it expires."""
        stage, expires = stage_of(record.project), self.expires_at(record)
        return {
            "app": None if stage is None else stage.app,
            "stage": None if stage is None else stage.stage,
            "version": self.version_of(record),
            "expiresAt": None if expires is None else iso_time(expires),
        }

    def _waiting(self, endpoint_id: str) -> dict[str, Any] | None:
        """How many jobs wait, and why the one that waits longest does."""
        if not self.queued(endpoint_id):
            return None
        waiting = [job for job in self._dispatcher.jobs_of(endpoint_id) if job.record.status is JobStatus.IN_QUEUE]
        if not waiting:
            return None
        first = min(waiting, key=lambda job: job.queued_at)
        return {"count": len(waiting), "cause": causes.why(first.pool, first).to_json()}

    def _workers(self, endpoint_id: str) -> list[Worker]:
        return [worker for pool in self._fleet.of(endpoint_id) for worker in pool.workers.values()]


def _kind(output: Any) -> Any:
    """The kind of an error of ours; an output that a command gave may be anything."""
    for name in ("flash", "error", "kind"):
        output = output.get(name) if isinstance(output, Mapping) else None
    return output


def _status(worker: Worker) -> str:
    if worker.state is WorkerState.STARTING:
        return "INITIALIZING"
    if not worker.healthy:
        return "UNHEALTHY"
    return "RUNNING" if worker.running or worker.requests else "IDLE"


def _worker_view(worker: Worker, generation: int) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": worker.id,
        "status": _status(worker),
        "isStale": worker.generation != generation,
        "gpuCount": len(worker.grant.gpus),
        "version": worker.generation,
        "uptimeSeconds": round(time.monotonic() - worker.started_at),
    }
    return {**view, "gpuTypeId": worker.grant.gpus[0].type} if worker.grant.gpus else view
