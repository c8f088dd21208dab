"""Who gets which job. Decides in memory; the store remembers; answers are given after the commit."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from runpod_flash.control_plane import lifecycle
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.fleet import Fleet, Job, Pool, PoolKey, Worker, WorkerState
from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.errors import BackendError, ContentNotFound
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus, Payload, error_output, value_output
from worker_runtime.wire.specs import ArtifactManifest

logger = logging.getLogger(__name__)

INSTANCES_PER_WORKER = 100
_SAVE_AGAIN_S = 5.0


class JobStore(Protocol):
    """What the dispatcher needs of the store."""

    def save_job(self, record: JobRecord) -> Awaitable[None]: ...


class Values(Protocol):
    """What the dispatcher needs of the blobs."""

    def has(self, sha256: str) -> bool: ...

    async def read(self, sha256: str) -> bytes: ...

    async def put_bytes(self, sha256: str, data: bytes) -> None: ...


class Dispatcher:
    """Holds the unfinished jobs, hands them to workers and takes their outcomes.

    `on_load(endpoint_id)` is called whenever the number of queued or running jobs or free workers changes.
    """

    def __init__(
        self, store: JobStore, values: Values, artifacts: Artifacts, fleet: Fleet, announcer: Announcer
    ) -> None:
        self._store = store
        self._values = values
        self._artifacts = artifacts
        self._fleet = fleet
        self._announcer = announcer
        self._jobs: dict[str, Job] = {}
        self._bindings: dict[str, Worker] = {}
        self._orphans: dict[str, None] = {}  # instances whose worker was lost, oldest first
        self._tasks: set[asyncio.Future[Any]] = set()
        self._held = False
        self._stopped = False
        self.on_load: Callable[[str], None] = lambda endpoint: None

    # ---- jobs come in

    def unfinished(self, job_id: str) -> Job | None:
        """The job, if it is not final yet."""
        return self._jobs.get(job_id)

    def jobs_of(self, endpoint: str) -> list[Job]:
        """The unfinished jobs of an endpoint."""
        return [job for job in self._jobs.values() if job.record.endpoint == endpoint]

    @property
    def active(self) -> int:
        """How many jobs are unfinished."""
        return len(self._jobs)

    def pool_for(self, endpoint: EndpointRecord, artifact: str, environment_key: str) -> Pool:
        """The pool that serves an artifact of an endpoint, made where there is none."""
        manifest = self._artifacts.manifest(artifact)
        key = PoolKey(endpoint.id, environment_key, manifest.files_id, manifest.max_concurrency)
        pool = self._fleet.pools.get(key)
        if pool is None:
            pool = Pool(key, endpoint.name, manifest.environment, manifest, artifact)
            self._fleet.pools[key] = pool
        pool.name, pool.artifact, pool.used_at = endpoint.name, artifact, time.monotonic()
        return pool

    def manifest(self, artifact: str) -> ArtifactManifest:
        """The manifest of an artifact. Raises ContentNotFound."""
        return self._artifacts.manifest(artifact)

    def artifact_data(self, artifact: str) -> bytes:
        """The bytes of an artifact. Raises ContentNotFound."""
        return self._artifacts.data(artifact)

    def check_content(self, call: Call) -> None:
        """Raise ContentNotFound where a value that the call names is not here."""
        for sha256 in call.values:
            if not self._values.has(sha256):
                raise ContentNotFound(f"there is no value {sha256}; upload it and submit again")

    def accept(self, record: JobRecord, call: Call, pool: Pool) -> Job:
        """Queue a job that the store has committed."""
        done: asyncio.Future[JobRecord] = asyncio.get_running_loop().create_future()
        job = Job(record, call, pool, time.monotonic(), done)
        self._jobs[record.id] = job
        pool.gave_up = False
        self._join(job)
        home = self._home(job)
        (pool if home is None else home).queue.append(job)
        self._changed(pool)
        return job

    def adopt(self, job: Job, client: str) -> None:
        """Let another event stream hear of a job: that of the client which submitted it once more."""
        if job.client != client:
            job.pool.leave(job.client)
            job.record = replace(job.record, client=client)
            self._join(job)
            self._announcer.refresh(job.pool)

    def _join(self, job: Job) -> None:
        if job.pool.join(job.client):
            assert job.client is not None
            self._announcer.welcome(job.pool, job.client)

    # ---- jobs go out

    def pump(self, pool: Pool) -> None:
        """Hand queued jobs to free workers until one of both runs out."""
        for home in list(pool.workers.values()):
            while home.queue and home.free_slots > 0 and not self._held:
                self._assign(home.queue.popleft(), home)
        while pool.queue and not self._held:
            job = pool.queue[0]
            worker = self._choose(pool, job) if job.record.status is JobStatus.IN_QUEUE else None
            if worker is None and job.record.status is JobStatus.IN_QUEUE:
                break
            pool.queue.popleft()
            if worker is not None and worker.free_slots > 0:
                self._assign(job, worker)
            elif worker is not None:
                worker.queue.append(job)
        self._announcer.refresh(pool)

    def _choose(self, pool: Pool, job: Job) -> Worker | None:
        """The worker for a queued job: where its instance lives, else the freest one; None while all are busy."""
        if job.instance is None:
            return max(
                (worker for worker in pool.workers.values() if worker.free_slots > 0), key=_freedom, default=None
            )
        bound = self._home(job)
        if bound is not None:
            return bound
        homes = [
            worker for worker in pool.workers.values() if worker.free_slots > 0 or worker.state is WorkerState.STARTING
        ]
        home = min(
            homes, key=lambda worker: (len(worker.instances), worker.state is WorkerState.STARTING), default=None
        )
        if home is None or home.state is WorkerState.STARTING:
            return None  # objects stay where they are built, so an empty worker that is about to be ready is waited for
        if len(home.instances) >= INSTANCES_PER_WORKER:
            self._fail(job, ErrorInfo(ErrorKind.INFEASIBLE, "TooManyInstances", _TOO_MANY_INSTANCES))
            return None
        self._bind(job, job.instance, home)
        return home

    def _home(self, job: Job) -> Worker | None:
        """The worker on which the job's instance lives, if that can take it."""
        bound = self._bindings.get(job.instance) if job.instance is not None else None
        return bound if bound is not None and bound.state is WorkerState.READY and bound.pool is job.pool else None

    def _bind(self, job: Job, instance: str, worker: Worker) -> None:
        old = self._bindings.get(instance)
        if old is not None:
            old.instances.discard(instance)
        self._bindings[instance] = worker
        worker.instances.add(instance)
        if instance in self._orphans or old is not None:
            self._orphans.pop(instance, None)
            if job.client is not None:
                self._announcer.notice_to(job.client, job.pool, f"rebuilt {instance} {worker.id}", _rebuilt(instance))

    def _assign(self, job: Job, worker: Worker) -> None:
        if job.record.status is not JobStatus.IN_QUEUE:
            return
        job.record = lifecycle.start(job.record, worker.id, time.time())
        job.sent = False
        worker.running[job.record.id] = job
        self._spawn(self._send(job, worker, job.record))

    async def _send(self, job: Job, worker: Worker, started: JobRecord) -> None:
        """Commit the start, then send the call: never more starts than the store knows of."""
        attempt = started.attempts
        if not await self._saved(started) and job.call.retries == 0:
            self._give_up(job, worker, attempt, "its start cannot be recorded, and without that it may not start")
            return
        try:
            values = [(sha256, await self._values.read(sha256)) for sha256 in job.call.values]
            artifact = b"" if job.call.artifact in worker.artifacts else self._artifacts.data(job.call.artifact)
        except (OSError, ContentNotFound) as error:
            self._give_up(job, worker, attempt, f"the call's data cannot be read: {error}")
            return
        if not _is_current(job, worker, attempt) or worker.link is None:
            return  # cancelled, or the worker was lost, while this waited
        if artifact:
            worker.artifacts.add(job.call.artifact)
            worker.link.send({"type": messages.ARTIFACT, "id": job.call.artifact}, artifact)
        header = {"type": messages.RUN, "job": job.record.id, "attempt": attempt, "call": job.call.to_input()}
        sizes = [[sha256, len(data)] for sha256, data in values]
        body = values[0][1] if len(values) == 1 else b"".join(data for _, data in values)
        worker.link.send({**header, "values": sizes, "timeout_ms": job.record.timeout_ms}, body)
        job.sent = True

    def _give_up(self, job: Job, worker: Worker, attempt: int, reason: str) -> None:
        if _is_current(job, worker, attempt):
            self._release(worker, job)
            self._fail(job, ErrorInfo(ErrorKind.PLATFORM, "PlatformError", reason))
            self._changed(job.pool)

    # ---- outcomes come in

    def worker_ready(self, worker: Worker) -> None:
        """A worker can take jobs."""
        worker.state = WorkerState.READY
        worker.pool.failed_starts = 0
        worker.idle_since = time.monotonic()
        self._changed(worker.pool)

    def finished(self, worker: Worker, job_id: str, attempt: int, error: ErrorInfo | None, body: bytes) -> None:
        """An attempt has ended. A late word about an older attempt is ignored."""
        job = worker.running.get(job_id)
        if job is None or job.record.attempts != attempt:
            return
        self._release(worker, job)
        if not job.record.status.final:  # else it was cancelled, and this is only the end of it
            if error is not None:
                self._failed_attempt(job, error)
            else:
                self._succeeded(job, body)
        self._changed(worker.pool)

    def worker_lost(self, worker: Worker, reason: str, stderr: list[str]) -> None:
        """A worker has gone: its attempts end, its instances are rebuilt elsewhere when they are called again."""
        worker.state = WorkerState.GONE
        worker.pool.workers.pop(worker.id, None)
        for instance in worker.instances:
            if self._bindings.get(instance) is worker:
                del self._bindings[instance]
                self._orphans[instance] = None
        while len(self._orphans) > 10_000:
            self._orphans.pop(next(iter(self._orphans)))
        running, waiting = list(worker.running.values()), list(worker.queue)
        worker.running.clear()
        worker.queue.clear()
        worker.pool.queue.extendleft(reversed(waiting))
        message = "\n".join([f"the worker was lost: {reason}", *stderr[-20:]])
        for job in reversed(running):
            if not job.record.status.final and not self._stopped:
                self._failed_attempt(job, ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", message))
        self._changed(worker.pool)

    def fail_pool(self, pool: Pool, error: ErrorInfo) -> None:
        """No worker can be had for this pool: its queued jobs fail, and nothing is tried before the next one comes."""
        pool.gave_up = True
        queued = list(pool.queue)
        pool.queue.clear()
        for job in queued:
            self._fail(job, error)
        self._changed(pool)

    def _succeeded(self, job: Job, body: bytes) -> None:
        payload = Payload.of(body)
        if payload.sha256 is None:
            self._finish(job, lifecycle.succeed(job.record, value_output(payload), time.time()))
        else:
            self._spawn(self._keep_value(job, payload.sha256, body))

    async def _keep_value(self, job: Job, sha256: str, body: bytes) -> None:
        try:
            await self._values.put_bytes(sha256, body)
        except (OSError, BackendError) as error:
            self._fail(
                job, ErrorInfo(ErrorKind.PLATFORM, type(error).__name__, f"the result cannot be stored: {error}")
            )
            return
        if not job.record.status.final:
            output = value_output(Payload(sha256=sha256, size=len(body)))
            self._finish(job, lifecycle.succeed(job.record, output, time.time()))

    def _failed_attempt(self, job: Job, error: ErrorInfo) -> None:
        if lifecycle.may_retry(error.kind, job.call.retries, job.record.retries):
            job.record = lifecycle.requeue(job.record, counts=True)
            self._spawn(self._saved(job.record))
            job.pool.queue.appendleft(job)
        else:
            self._fail(job, error)

    def _fail(self, job: Job, error: ErrorInfo) -> None:
        if not job.record.status.final:
            text = f"{error.type}: {error.message}" if error.kind is ErrorKind.USER else error.message
            self._finish(job, lifecycle.fail(job.record, error.kind, error_output(error), text, time.time()))

    # ---- the end of a job

    def cancel(self, job: Job) -> None:
        """End a job now. What runs of it is stopped by its worker and cannot answer any more."""
        worker = next((one for one in job.pool.workers.values() if job.record.id in one.running), None)
        if job.record.status is JobStatus.IN_QUEUE:
            for queue in (job.pool.queue, *(one.queue for one in job.pool.workers.values())):
                with contextlib.suppress(ValueError):  # it waits in one of them only
                    queue.remove(job)
        self._fail(job, ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "the job was cancelled"))
        if worker is not None and worker.link is not None and job.sent:
            worker.link.send({"type": messages.CANCEL, "job": job.record.id, "attempt": job.record.attempts})
        elif worker is not None:
            self._release(worker, job)
        self._changed(job.pool)

    def drop_instance(self, instance: str) -> None:
        """Close an instance where it lives. Nothing happens where it is unknown."""
        worker = self._bindings.pop(instance, None)
        self._orphans.pop(instance, None)
        if worker is not None:
            worker.instances.discard(instance)
            if worker.link is not None:
                worker.link.send({"type": messages.DROP, "instance": instance})

    async def drained(self, deadline_s: float) -> bool:
        """Wait until nothing runs. False: something still does at the deadline."""
        end = time.monotonic() + deadline_s
        while any(job.record.status is JobStatus.IN_PROGRESS for job in self._jobs.values()):
            left = end - time.monotonic()
            if left <= 0:
                return False
            futures = [job.done for job in self._jobs.values() if job.record.status is JobStatus.IN_PROGRESS]
            await asyncio.wait(futures, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return True

    def hold(self) -> None:
        """Hand out nothing any more; what runs can still end."""
        self._held = True

    def stop(self) -> None:
        """The workers end now: jobs that are lost with them stay in the store for the next start."""
        self._held = self._stopped = True

    async def settle(self) -> None:
        """Wait for what is being committed."""
        while self._tasks:  # wait, not gather: from Python 3.12 on that gives no turn to tasks that have just ended
            await asyncio.wait(self._tasks)

    def _finish(self, job: Job, record: JobRecord) -> None:
        job.record = record
        self._spawn(self._commit_final(job))

    async def _commit_final(self, job: Job) -> None:
        committed = await self._saved(job.record)
        job.pool.leave(job.client)
        if committed:
            self._jobs.pop(job.record.id, None)
        else:  # the record stays in memory, answers are given from there
            asyncio.get_running_loop().call_later(_SAVE_AGAIN_S, lambda: self._spawn(self._save_again(job)))
        if not job.done.done():
            job.done.set_result(job.record)
        self._announcer.final(job)
        self.on_load(job.record.endpoint)

    async def _save_again(self, job: Job) -> None:
        if await self._saved(job.record):
            self._jobs.pop(job.record.id, None)
        else:
            asyncio.get_running_loop().call_later(_SAVE_AGAIN_S, lambda: self._spawn(self._save_again(job)))

    async def _saved(self, record: JobRecord) -> bool:
        try:
            await self._store.save_job(record)
        except BackendError as error:
            logger.error("job %s cannot be written: %s", record.id, error)
            return False
        return True

    def _release(self, worker: Worker, job: Job) -> None:
        worker.running.pop(job.record.id, None)
        worker.idle_since = time.monotonic()

    def _changed(self, pool: Pool) -> None:
        self.pump(pool)
        self.on_load(pool.key.endpoint)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_current(job: Job, worker: Worker, attempt: int) -> bool:
    """Whether the worker still has this attempt."""
    return worker.running.get(job.record.id) is job and job.record.attempts == attempt


def _freedom(worker: Worker) -> int:
    return worker.free_slots


def _rebuilt(instance: str) -> str:
    return f"the worker of object {instance} was lost; the object is built anew from its constructor arguments"


_TOO_MANY_INSTANCES = (
    f"every worker holds {INSTANCES_PER_WORKER} objects of remote classes; drop some (delete them) or raise workers="
)
