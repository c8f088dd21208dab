"""The platform as the HTTP faces see it: endpoints' jobs, workers and overviews, over dispatcher, store and fleet."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runpod_flash.control_plane import causes, lifecycle
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.causes import Cause, CauseKind
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.environments import Environments, InstallFailed
from runpod_flash.control_plane.fleet import Fleet, Job, Worker, WorkerState
from runpod_flash.control_plane.platform import Sees, Watched, everything
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, LogLine, Policy
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.terms import Terms
from runpod_flash.control_plane.views import job_object
from runpod_flash.errors import ContentNotFound, EndpointNotFound, JobNotFound
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus
from worker_runtime.wire.specs import EnvironmentRequest


class PlatformCore:
    """Implements what `api` needs of the platform.

    Attributes:
        refusal: why no worker can ever serve an endpoint, None where one can.
        vet: raises InstallFailed where the endpoint's owner may not have such an environment.
        admit: raises StoreFull where nothing new can be accepted; else says what is short on the disk, if anything.
        disk: what is used of the disk, for the overview.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        fleet: Fleet,
        dispatcher: Dispatcher,
        environments: Environments,
        announcer: Announcer,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._environments = environments
        self._announcer = announcer
        self._terms = terms
        self.refusal: Callable[[EndpointRecord], ErrorInfo | None] = lambda endpoint: None
        self.vet: Callable[[EndpointRecord, EnvironmentRequest], None] = lambda endpoint, request: None
        self.admit: Callable[[], str] = str
        self.disk: Callable[[], Mapping[str, Any]] = dict
        self._by_key: dict[tuple[str, str], asyncio.Future[JobRecord]] = {}  # submits under way
        self._started = time.time()
        self._stopping = asyncio.Event()

    def release_waiting(self) -> None:
        """Let `wait` return what there is: the control plane ends."""
        self._stopping.set()

    async def submit(
        self,
        endpoint_id: str,
        call_input: Mapping[str, Any],
        *,
        job_id: str,
        client: str | None,
        key: str | None,
        policy: Policy,
    ) -> JobRecord:
        """Accept a job; it is on disk when this returns. The same idempotency key gives the same job.

        Raises:
            EndpointNotFound, ContentNotFound: unknown endpoint, artifact or value; nothing was accepted.
            StoreFull: the disk is full, or its bound reached; nothing was accepted.
            WireError, VersionMismatch: `call_input` is no call of this protocol.

        While the control plane stops, jobs are still taken: they run after its next start, which whoever waits causes.
        """
        endpoint = self._catalog.get(endpoint_id)
        if key is None:
            return await self._accept(endpoint, call_input, job_id, client, key, policy)
        pending = self._by_key.get((endpoint_id, key))
        if pending is None:
            pending = asyncio.ensure_future(self._accept_once(endpoint, call_input, job_id, client, key, policy))
            self._by_key[endpoint_id, key] = pending
            pending.add_done_callback(lambda _: self._by_key.pop((endpoint_id, key), None))
        return await asyncio.shield(pending)

    async def _accept_once(
        self,
        endpoint: EndpointRecord,
        call_input: Mapping[str, Any],
        job_id: str,
        client: str | None,
        key: str,
        policy: Policy,
    ) -> JobRecord:
        known = self._store.job_by_key(endpoint.id, key)
        if known is not None:
            return self._again(endpoint.id, known, client)
        return await self._accept(endpoint, call_input, job_id, client, key, policy)

    def _again(self, endpoint_id: str, job_id: str, client: str | None) -> JobRecord:
        """The job of a repeated submit. The one who repeats it is the one who waits for it."""
        job = self._dispatcher.unfinished(job_id)
        if job is not None and not job.record.status.final and client is not None:
            self._dispatcher.adopt(job, client)
        record = self.job(endpoint_id, job_id)
        if record.status.final:
            self._announcer.refused(record, client)
        return record

    async def _accept(
        self,
        endpoint: EndpointRecord,
        call_input: Mapping[str, Any],
        job_id: str,
        client: str | None,
        key: str | None,
        policy: Policy,
    ) -> JobRecord:
        short = self.admit()
        call = Call.from_input(call_input)
        self._dispatcher.check_content(call)
        limits = self._terms.limits(policy, own=client is not None)
        timeout_ms = int(endpoint.body.get("timeout") or 0) if policy.timeout_ms is None else policy.timeout_ms
        record = JobRecord(
            job_id, endpoint.id, call_input, time.time(), idempotency_key=key, client=client, timeout_ms=timeout_ms,
            **limits,
        )  # fmt: skip
        await self._queue(record, call)
        job = self._dispatcher.unfinished(record.id)
        if short and client is not None and job is not None:
            self._announcer.notice_to(client, job.pool, "disk", short)
        return record

    async def replay(self) -> int:
        """Queue what an earlier run of the control plane left unfinished, and return how many jobs that were."""
        records = self._store.unfinished_jobs()
        for record in records:
            await self._requeue(record)
        return len(records)

    async def _requeue(self, record: JobRecord) -> None:
        try:
            call = Call.from_input(record.input)
            recovered = lifecycle.recover(record, call.retries, time.time())
            if recovered.status.final:
                await self._store.save_job(recovered)
                return
            self._dispatcher.check_content(call)
            await self._queue(recovered, call, known=recovered is record)
        except (WireError, ContentNotFound, EndpointNotFound) as error:
            lost = ErrorInfo(ErrorKind.PLATFORM, type(error).__name__, f"the job cannot go on after a restart: {error}")
            await self._store.save_job(lifecycle.refuse(record, lost, time.time()))

    async def _queue(self, record: JobRecord, call: Call, *, known: bool = False) -> None:
        """Bring a job to its pool; before that it is written, unless the store knows it as it is."""
        endpoint = self._catalog.get(record.endpoint)
        manifest = self._dispatcher.manifest(call.artifact)
        refusal = self.refusal(endpoint)
        try:
            self.vet(endpoint, manifest.environment)
            environment_key = await self._environments.key(manifest.environment)
        except InstallFailed as error:
            refusal = refusal or ErrorInfo(ErrorKind.INSTALL, "InstallError", str(error))
        if refusal is not None:
            failed = lifecycle.refuse(record, refusal, time.time())
            await self._store.save_job(failed)
            self._announcer.refused(failed, record.client)
            return
        if not known:
            await self._store.save_job(record)
        try:
            endpoint = self._catalog.get(record.endpoint)  # it may have been deleted or changed meanwhile
        except EndpointNotFound as error:
            gone = ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", str(error))
            await self._store.save_job(lifecycle.refuse(record, gone, time.time()))
            raise
        pool = self._dispatcher.pool_for(endpoint, call.artifact, environment_key)
        if pool.environment is None:
            pool.environment = self._environments.ready(environment_key)
        self._dispatcher.accept(record, call, pool, self._store.logs(record.id) if record.attempts else ())

    def _known(self, job_id: str) -> JobRecord | None:
        """The job as it stands; None where it is unknown, or its time to be kept is over."""
        job = self._dispatcher.unfinished(job_id)
        record = job.record if job is not None else self._store.job(job_id)
        if record is None or (record.finished_at is not None and record.finished_at + record.keep_s < time.time()):
            return None
        return record

    def job(self, endpoint_id: str, job_id: str) -> JobRecord:
        """The job as it stands. Raises EndpointNotFound, JobNotFound."""
        self._catalog.get(endpoint_id)
        record = self._known(job_id)
        if record is None or record.endpoint != endpoint_id:
            raise JobNotFound(f"endpoint {endpoint_id} has no job {job_id}; results are kept for a limited time")
        return record

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """Wait until the job is final, at most `timeout_s` seconds, and return it as it then stands.

        Returns earlier when the control plane stops. Raises JobNotFound.
        """
        job = self._dispatcher.unfinished(job_id)
        if job is not None:
            stopping = asyncio.ensure_future(self._stopping.wait())
            try:
                both: list[asyncio.Future[Any]] = [job.done, stopping]
                await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
            return job.record
        record = self._known(job_id)
        if record is None:
            raise JobNotFound(f"there is no job {job_id}")
        return record

    async def cancel(self, endpoint_id: str, job_id: str) -> JobRecord:
        """Cancel a job; one that is final stays as it is. Raises EndpointNotFound, JobNotFound."""
        self.job(endpoint_id, job_id)
        job = self._dispatcher.unfinished(job_id)
        if job is not None and not job.record.status.final:
            self._dispatcher.cancel(job)
            return await asyncio.shield(job.done)
        return self.job(endpoint_id, job_id)

    def watch(self, client: str, job_ids: Sequence[str], sees: Sees = everything) -> Watched:
        """Let an event stream hear of the ends of these jobs; those that are final already are returned."""
        final, waiting, unknown = list[JobRecord](), list[str](), list[str]()
        for job_id in job_ids:
            record, job = self._known(job_id), self._dispatcher.unfinished(job_id)
            if record is None or not sees(record.endpoint):
                unknown.append(job_id)
            elif job is None:
                final.append(record)
            else:
                self._dispatcher.adopt(job, client)
                waiting.append(job_id)
        return Watched(final, waiting, unknown)

    def submitted(self, keys: Sequence[str], sees: Sees = everything) -> Mapping[str, JobRecord]:
        """The jobs that were made with these idempotency keys, by key."""
        return self._store.jobs_by_keys(keys, sees)

    def facts(self, job_id: str, sees: Sees = everything) -> Mapping[str, Any]:
        """All that is known of a job: as published, its endpoint, its attempts, why it waits. Raises JobNotFound."""
        record = self._known(job_id)
        if record is None or not sees(record.endpoint):
            raise JobNotFound(f"there is no job {job_id}; results are kept for a limited time")
        endpoint = self._catalog.get(record.endpoint)
        cause = self._cause(record)
        return {
            "job": job_object(record, time.time()),
            "endpoint": {"id": endpoint.id, "name": endpoint.name, "project": endpoint.project},
            "attempts": record.attempts,
            "cause": None if cause is None else cause.to_json(),
        }

    def _cause(self, record: JobRecord) -> Cause | None:
        """Why a job waits, or that it could never be served."""
        job = self._dispatcher.unfinished(record.id)
        if job is not None and record.status is JobStatus.IN_QUEUE:
            return causes.why(job.pool, job)
        found = record.output.get("flash", {}).get("error", {}) if isinstance(record.output, dict) else {}
        if found.get("kind") == ErrorKind.INFEASIBLE:
            return Cause(CauseKind.INFEASIBLE, record.error or "", record.finished_at or record.created_at)
        return None

    async def drop_instance(self, instance: str, sees: Sees = everything) -> None:
        """Close an object of a remote class."""
        self._dispatcher.drop_instance(instance, sees)

    async def delete_endpoint_jobs(self, endpoint_id: str) -> None:
        """Cancel every unfinished job of an endpoint."""
        for job in self._dispatcher.jobs_of(endpoint_id):
            self._dispatcher.cancel(job)

    def logs(self, job_id: str, sees: Sees = everything) -> list[LogLine]:
        """The last lines that the job wrote, of all its attempts, oldest first; kept as long as the job.

        Raises:
            JobNotFound: it is unknown.
        """
        job = self._dispatcher.unfinished(job_id)
        endpoint = job.record.endpoint if job is not None else self._store.endpoint_of(job_id)
        if endpoint is None or not sees(endpoint):
            raise JobNotFound(f"there is no job {job_id}; results are kept for a limited time")
        return job.logs.lines() if job is not None else self._store.logs(job_id)

    def health(self, endpoint_id: str) -> dict[str, dict[str, int]]:
        """Counts of jobs and workers, with every key that the published API has."""
        self._catalog.get(endpoint_id)
        jobs, workers = self._dispatcher.jobs_of(endpoint_id), self._workers(endpoint_id)
        counts = self._store.counts(endpoint_id)
        idle = sum(worker.idle for worker in workers)
        return {
            "jobs": {
                "completed": counts["completed"],
                "failed": counts["failed"],
                "inProgress": _count(jobs, JobStatus.IN_PROGRESS),
                "inQueue": _count(jobs, JobStatus.IN_QUEUE),
                "retried": counts["retried"],
            },
            "workers": {
                "idle": idle,
                "initializing": sum(worker.state is WorkerState.STARTING for worker in workers),
                "ready": idle,
                "running": sum(bool(worker.running) for worker in workers),
                "throttled": sum(bool(pool.blocked) for pool in self._fleet.of(endpoint_id)),
                "unhealthy": 0,
            },
        }

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
                "project": record.project,
                "owner": record.owner,
                **self.health(record.id),
                "workerIds": [worker.id for worker in self._workers(record.id)],
                "waiting": self._waiting(record.id),
            }
            for record in records
        ]
        return {
            "started": self._started,
            "disk": dict(self.disk()),
            "jobs": sum(len(self._dispatcher.jobs_of(record.id)) for record in records),
            "endpoints": endpoints,
        }

    def _waiting(self, endpoint_id: str) -> dict[str, Any] | None:
        """How many jobs wait, and why the one that waits longest does."""
        waiting = [job for job in self._dispatcher.jobs_of(endpoint_id) if job.record.status is JobStatus.IN_QUEUE]
        if not waiting:
            return None
        first = min(waiting, key=lambda job: job.queued_at)
        return {"count": len(waiting), "cause": causes.why(first.pool, first).to_json()}

    @property
    def idle(self) -> bool:
        """Whether no job is unfinished."""
        return self._dispatcher.active == 0

    def _workers(self, endpoint_id: str) -> list[Worker]:
        return [worker for pool in self._fleet.of(endpoint_id) for worker in pool.workers.values()]


def _count(jobs: list[Job], status: JobStatus) -> int:
    return sum(job.record.status is status for job in jobs)


def _worker_view(worker: Worker, generation: int) -> dict[str, Any]:
    view: dict[str, Any] = {
        "id": worker.id,
        "status": "INITIALIZING" if worker.state is WorkerState.STARTING else "RUNNING" if worker.running else "IDLE",
        "isStale": worker.generation != generation,
        "gpuCount": len(worker.grant.gpus),
        "version": worker.generation,
        "uptimeSeconds": round(time.monotonic() - worker.started_at),
    }
    return {**view, "gpuTypeId": worker.grant.gpus[0].type} if worker.grant.gpus else view
