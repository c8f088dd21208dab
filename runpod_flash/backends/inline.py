"""Runs calls in this process: for tests of programs that use endpoints. No daemon, no workers, no installs.

Everything is encoded and decoded as for a real worker, so what cannot travel fails here, too. Jobs run on a thread of
their own with an event loop; plain functions in a pool of threads. Dependencies are not installed, and each endpoint is
one worker: `max_concurrency` calls at a time. Nobody is told by webhooks, and all priorities are the same.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import hashlib
import threading
import traceback
import uuid
import weakref
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from runpod_flash.backends.base import Json
from runpod_flash.backends.inline_streams import InlineStream
from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.errors import BackendError, ConfigError, ContentNotFound, EndpointNotFound, JobNotFound
from runpod_flash.output import Output, of_program
from runpod_flash.settings import Settings, serving
from runpod_flash.web import WebAnswer, WebRequest
from worker_runtime import execute, instances
from worker_runtime.batching import Batches, Member
from worker_runtime.reporting import Reports, reporting
from worker_runtime.wire import paths
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.jobs import (
    Call,
    ErrorInfo,
    ErrorKind,
    JobStatus,
    Payload,
    Progress,
    error_output,
    stream_output,
    value_output,
)
from worker_runtime.wire.pieces import Pieces, joined

if TYPE_CHECKING:
    from runpod_flash.backends.clients import Address

T = TypeVar("T")

_platforms: "weakref.WeakKeyDictionary[Settings, InlinePlatform]" = weakref.WeakKeyDictionary()


def connect(settings: Settings, project: Path | str) -> "InlineBackend":
    """The backend for these settings: all event loops of a session share one platform."""
    return InlineBackend(platform_of(settings))


def platform_of(settings: Settings) -> "InlinePlatform":
    """The platform of these settings, made at the first question; tests may look into it."""
    if settings not in _platforms:
        _platforms[settings] = InlinePlatform(of_program(settings.logs))
    return _platforms[settings]


@dataclass(slots=True)
class _Endpoint:
    """An endpoint and its one worker. The semaphore belongs to the platform's loop."""

    body: dict[str, Any]
    objects: instances.Instances = field(default_factory=instances.Instances)
    slots: dict[int, asyncio.Semaphore] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    endpoint: str
    object: dict[str, Any]
    call: Call
    stream: InlineStream
    options: JobOptions = AS_USUAL
    end: "concurrent.futures.Future[None]" = field(default_factory=concurrent.futures.Future)
    task: "asyncio.Task[None] | None" = None


class InlinePlatform:
    """What a control plane would hold: endpoints, artifacts, values, jobs. Lives as long as its session's settings."""

    def __init__(self, output: Output | None = None) -> None:
        self.output = output or of_program()
        self.endpoints: dict[str, _Endpoint] = {}
        self.artifacts = execute.Artifacts()
        self.manifests: dict[str, int] = {}  # max_concurrency of each artifact held
        self.values: dict[str, bytes] = {}
        self.jobs: dict[str, _Job] = {}
        self.keys: dict[str, str] = {}
        self.pool = _ContextPool(thread_name_prefix="runpod-flash-inline")
        self.batches = Batches(self.pool)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, make: Callable[[], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        """Run a coroutine on the platform's loop."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(self._loop,), name="runpod-flash-inline", daemon=True).start()
                weakref.finalize(self, _stop, self._loop)
        return asyncio.run_coroutine_threadsafe(make(), self._loop)

    async def run(self, endpoint: _Endpoint, job: _Job) -> None:
        """Run a job to its end. Never raises."""
        call = job.call
        job.task = asyncio.current_task()
        serving.set(endpoint.body["name"])
        reports = Reports(lambda progress: self._reported(endpoint, job, progress))
        try:
            with reporting(reports.add):
                ended = await self._attempts(endpoint, job, call)
            reports.finish()
            job.object.pop("output", None)
            job.object |= ended
        except asyncio.CancelledError:
            job.object |= _failed(
                ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "it was cancelled"), JobStatus.CANCELLED
            )
        finally:
            reports.finish()
            job.stream.stop()
            job.end.set_result(None)

    def _reported(self, endpoint: _Endpoint, job: _Job, progress: Progress) -> None:
        event = {"name": endpoint.body["name"], "job": job.object["id"], **progress.to_json()}
        job.object["output"] = {"progress": progress.to_json()}
        self.output.progress(event)

    async def _attempts(self, endpoint: _Endpoint, job: _Job, call: Call) -> dict[str, Any]:
        slots = endpoint.slots.setdefault(
            self.manifests[call.artifact], asyncio.Semaphore(self.manifests[call.artifact])
        )
        while True:
            if not await _got(slots, job.options.queue_timeout_ms):
                message = (
                    f"no worker took it within its queue timeout of {(job.options.queue_timeout_ms or 0) / 1000:g} s"
                )
                return _failed(ErrorInfo(ErrorKind.EXPIRED, "JobExpired", message), JobStatus.TIMED_OUT)
            try:
                job.object |= {"status": JobStatus.IN_PROGRESS.value, "workerId": "inline"}
                ended = await self._attempt(endpoint, job, call)
            finally:
                slots.release()
            if not isinstance(ended, ErrorInfo):
                return ended
            pause = self._pause_s(call, ended, job.object.get("retries", 0))
            if pause is None or not job.stream.restart():
                return _failed(ended, JobStatus.TIMED_OUT if ended.kind is ErrorKind.TIMED_OUT else JobStatus.FAILED)
            job.object |= {"status": JobStatus.IN_QUEUE.value, "retries": job.object.get("retries", 0) + 1}
            await asyncio.sleep(pause)

    async def _attempt(self, endpoint: _Endpoint, job: _Job, call: Call) -> dict[str, Any] | ErrorInfo:
        values = {sha256: self.values[sha256] for sha256 in call.values}
        execution = execute.Execution(call, values, self.artifacts, endpoint.objects, job.stream)
        own = job.options.timeout_ms
        limit_ms = endpoint.body["timeout"] if own is None else own
        outcome = await _within(limit_ms / 1000 or None, self._run(execution))
        if outcome is None:
            what = f"execution_timeout_ms={limit_ms}" if own is None else f"its timeout of {limit_ms / 1000:g} s"
            return ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", f"it ran longer than {what}")
        if outcome.error is None and call.stream:
            return {"status": JobStatus.COMPLETED.value, "output": stream_output(job.stream.count)}
        return self._completed(joined(outcome.value)) if outcome.error is None else outcome.error

    async def _run(self, execution: execute.Execution) -> execute.Outcome:
        how = self.artifacts.batch(execution.group[0])
        if how is None:
            return await execute.run(execution, self.pool)
        outcome = await self.batches.run(*how, Member(execution, lambda: True))
        assert outcome is not None  # all begin
        return outcome

    @staticmethod
    def _pause_s(call: Call, error: ErrorInfo, used: int) -> float | None:
        """Seconds before the next attempt; None: there is none. Workers are never lost here."""
        if error.kind is not ErrorKind.USER or used >= (call.retries or 0):
            return None
        if call.backoff is None:
            return 0.0
        return call.backoff.delay_s(used + 1) if call.backoff.covers(error.kinds) else None

    def _completed(self, value: bytes) -> dict[str, Any]:
        payload = Payload.of(value)
        self.keep(payload, value)
        return {"status": JobStatus.COMPLETED.value, "output": value_output(payload)}

    def keep(self, payload: Payload, data: bytes) -> None:
        """Store what is too large for the JSON."""
        if payload.sha256 is not None:
            self.values[payload.sha256] = data


class NoVolumes:
    """Stands for the network volumes that there are not. Whatever is asked of it raises ConfigError."""

    def __getattr__(self, name: str) -> Any:
        raise ConfigError(
            "FLASH_TARGET=inline has no network volumes: functions run in this process, which has no /runpod-volume; "
            "use FLASH_TARGET=local, which needs no account either"
        )


class NoApps:
    """Stands for the apps that there are not. Whatever is asked of it raises ConfigError."""

    def __getattr__(self, name: str) -> Any:
        raise ConfigError(
            "FLASH_TARGET=inline has no apps: functions run in this process, and nothing can be deployed to it; use "
            "FLASH_TARGET=local, which needs no account either"
        )


class NoLook:
    """Stands for what cannot be seen from outside. Whatever is asked of it raises ConfigError."""

    def __getattr__(self, name: str) -> Any:
        raise ConfigError("FLASH_TARGET=inline runs functions in their own program, so nobody else sees them")


class InlineBackend:
    """See `Backend`."""

    shares_machine = True
    default_queue_delay = 0.0
    takes_uploads = True
    serves_routes = False
    takes_pickles = True
    conversation = None
    volumes = NoVolumes()
    apps = NoApps()
    look = NoLook()

    def __init__(self, platform: InlinePlatform) -> None:
        self._platform = platform

    async def address(self) -> "Address":
        raise BackendError("the inline target is this program itself and has no address")

    async def find(self, name: str) -> Json | None:
        endpoints = self._platform.endpoints.items()
        return next(({"id": key, **found.body} for key, found in endpoints if found.body["name"] == name), None)

    async def describe(self, endpoint_id: str) -> Json:
        return {"id": endpoint_id, **self._endpoint(endpoint_id).body}

    async def create(self, body: Json) -> Json:
        endpoint_id = uuid.uuid4().hex[:14]
        self._platform.endpoints[endpoint_id] = _Endpoint(dict(body))
        return {"id": endpoint_id, **body}

    async def update(self, endpoint_id: str, body: Json) -> Json:
        endpoint = self._endpoint(endpoint_id)
        endpoint.body.update(body)
        return {"id": endpoint_id, **endpoint.body}

    async def delete(self, endpoint_id: str) -> None:
        self._platform.endpoints.pop(endpoint_id, None)

    async def has_artifact(self, artifact_id: str) -> bool:
        return artifact_id in self._platform.manifests

    async def put_artifact(self, artifact_id: str, data: bytes) -> None:
        manifest = paths.read_manifest(data)
        self._platform.artifacts.add(artifact_id, manifest, paths.read_code(data))
        self._platform.manifests[artifact_id] = manifest.max_concurrency

    async def upload_artifact(self, artifact_id: str, source: Path, said: Callable[[int, int], None]) -> None:
        data = await asyncio.to_thread(source.read_bytes)
        await self.put_artifact(artifact_id, data)
        said(len(data), len(data))

    async def put_value(self, sha256: str, data: bytes) -> None:
        assert hashlib.sha256(data).hexdigest() == sha256
        self._platform.values[sha256] = data

    def place(self, pieces: Pieces) -> Payload | None:
        return None

    def unsent(self, payload: Payload) -> None: ...

    def taken(self, payload: Payload) -> None: ...

    async def fetch(self, payload: Payload) -> bytes:
        return await self.get_value(payload.sha256 or "")

    async def get_value(self, sha256: str) -> bytes:
        try:
            return self._platform.values[sha256]
        except KeyError:
            raise ContentNotFound(f"there is no value {sha256}") from None

    async def submit(self, endpoint_id: str, call_input: Json, key: str, options: JobOptions = AS_USUAL) -> str:
        endpoint, platform = self._endpoint(endpoint_id), self._platform
        if key in platform.keys:
            return platform.keys[key]
        try:
            call = Call.from_input(call_input)
        except WireError as error:
            raise ConfigError(
                f"the inline target runs decorated functions and classes alone, so it takes no plain input ({error})"
            ) from error
        missing = [sha256 for sha256 in call.values if sha256 not in platform.values]
        if missing or call.artifact not in platform.manifests:
            raise ContentNotFound(f"there is no {f'value {missing[0]}' if missing else f'artifact {call.artifact}'}")
        shown = {"id": f"{uuid.uuid4()}-inline", "status": JobStatus.IN_QUEUE.value}
        job = _Job(endpoint_id, shown, call, InlineStream(platform.keep), options)
        platform.jobs[job.object["id"]] = job
        platform.keys[key] = job.object["id"]
        platform.start(lambda: platform.run(endpoint, job))
        return str(job.object["id"])

    async def outcome(self, endpoint_id: str, job_id: str) -> Json:
        job, loop, ended = self._job(job_id), asyncio.get_running_loop(), asyncio.Event()

        def tell(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        job.end.add_done_callback(tell)
        with self._platform.output.waiting(self._name(endpoint_id), "running"):
            await ended.wait()
        return dict(job.object)

    async def chunks(self, endpoint_id: str, job_id: str) -> AsyncGenerator[Any, None]:
        job = self._job(job_id)
        async with contextlib.aclosing(job.stream.chunks(job.end)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def status(self, endpoint_id: str, job_id: str) -> Json:
        return dict(self._job(job_id).object)

    async def cancel(self, endpoint_id: str, job_id: str) -> None:
        job = self._job(job_id)

        async def cancel() -> None:
            if job.task is not None:
                job.task.cancel()

        self._platform.start(cancel)
        await self.outcome(endpoint_id, job_id)

    async def run_sync(self, endpoint_id: str, job_input: Json, key: str, options: JobOptions, wait_s: float) -> Json:
        job_id = await self.submit(endpoint_id, job_input, key, options)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.outcome(endpoint_id, job_id)
        return await self.status(endpoint_id, job_id)

    async def retry(self, endpoint_id: str, job_id: str) -> Json:
        job, endpoint = self._job(job_id), self._endpoint(endpoint_id)
        if job.object["status"] not in (JobStatus.FAILED.value, JobStatus.TIMED_OUT.value):
            raise ConfigError(f"job {job_id} is {job.object['status']}; only a job that failed or timed out is retried")
        queued = {"id": job_id, "status": JobStatus.IN_QUEUE.value}
        job.object, job.end = dict(queued), concurrent.futures.Future()
        job.stream = InlineStream(self._platform.keep)
        self._platform.start(lambda: self._platform.run(endpoint, job))
        return queued

    async def health(self, endpoint_id: str) -> Json:
        self._endpoint(endpoint_id)
        of = Counter(str(job.object["status"]) for job in self._platform.jobs.values() if job.endpoint == endpoint_id)
        jobs = {"inQueue": of["IN_QUEUE"], "inProgress": of["IN_PROGRESS"], "completed": of["COMPLETED"]}
        busy = int(bool(of["IN_PROGRESS"]))
        idle = {"idle": 1 - busy, "ready": 1 - busy, "running": busy}
        return {
            "jobs": {**jobs, "failed": of["FAILED"] + of["TIMED_OUT"], "retried": 0},
            "workers": {**idle, "initializing": 0, "throttled": 0, "unhealthy": 0},
        }

    async def purge(self, endpoint_id: str) -> int:
        self._endpoint(endpoint_id)
        jobs = [(key, job) for key, job in self._platform.jobs.items() if job.endpoint == endpoint_id]
        waiting = [key for key, job in jobs if job.object["status"] == JobStatus.IN_QUEUE.value]
        for job_id in waiting:
            await self.cancel(endpoint_id, job_id)
        return len(waiting)

    async def request(self, endpoint_id: str, asked: WebRequest) -> WebAnswer:
        self._endpoint(endpoint_id)
        raise BackendError(f"the inline target serves no HTTP, so {asked} has nobody to answer it; use another target")

    async def logs(self, endpoint_id: str, job_id: str, *, follow: bool = False) -> Sequence[str]:
        self._job(job_id)
        return []  # written straight to this process's streams

    async def find_submitted(self, keys: Sequence[str]) -> Mapping[str, Json]:
        jobs = {key: self._job(self._platform.keys[key]) for key in keys if key in self._platform.keys}
        return {
            key: {"id": job.object["id"], "endpoint": job.endpoint, "status": job.object["status"]}
            for key, job in jobs.items()
        }

    async def facts(self, job_id: str) -> Json:
        job = self._job(job_id)
        name = self._endpoint(job.endpoint).body["name"]
        started = job.object["status"] != JobStatus.IN_QUEUE.value
        return {
            "job": dict(job.object),
            "endpoint": {"id": job.endpoint, "name": name, "project": ""},
            "attempts": job.object.get("retries", 0) + started,
            "cause": None,
        }

    async def drop_instance(self, instance_id: str) -> None:
        dropped = [
            found for endpoint in self._platform.endpoints.values() for found in endpoint.objects.remove(instance_id)
        ]
        for found in dropped:
            try:
                await _close(found, self._platform.pool)
            except Exception:  # noqa: BLE001 - the user's own close(); nobody waits for it who could be told
                traceback.print_exc()

    async def aclose(self) -> None:
        """Nothing to close: the platform lives with the session."""

    def _endpoint(self, endpoint_id: str) -> _Endpoint:
        try:
            return self._platform.endpoints[endpoint_id]
        except KeyError:
            raise EndpointNotFound(f"there is no endpoint {endpoint_id}") from None

    def _name(self, endpoint_id: str) -> str:
        found = self._platform.endpoints.get(endpoint_id)  # it may have been deleted since
        return str(found.body["name"]) if found is not None else endpoint_id

    def _job(self, job_id: str) -> _Job:
        try:
            return self._platform.jobs[job_id]
        except KeyError:
            raise JobNotFound(f"there is no job {job_id}") from None


class _ContextPool(concurrent.futures.ThreadPoolExecutor):
    """Threads that see the context variables of whoever submits."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "concurrent.futures.Future[T]":
        return super().submit(contextvars.copy_context().run, fn, *args, **kwargs)


async def _got(slots: asyncio.Semaphore, limit_ms: int | None) -> bool:
    """Wait for a place, for at most so long; whether it was got."""
    try:
        async with asyncio.timeout(None if limit_ms is None else limit_ms / 1000):
            return await slots.acquire()
    except TimeoutError:
        return False


async def _within(limit_s: float | None, running: Coroutine[Any, Any, T]) -> T | None:
    """Its result; None when it takes too long, and then it is not waited for: user code may ignore a cancellation."""
    task = asyncio.create_task(running)
    try:
        await asyncio.wait([task], timeout=limit_s)
        return task.result() if task.done() else None
    finally:
        task.cancel()


async def _close(found: Any, pool: concurrent.futures.Executor) -> None:
    try:
        closing = pool.submit(instances.close, found)
    except RuntimeError:  # the program is ending, and its pools with it
        ending = instances.close(found)
    else:
        ending = await asyncio.wrap_future(closing)
    if asyncio.iscoroutine(ending):
        await ending


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(loop.stop)


def _failed(info: ErrorInfo, status: JobStatus = JobStatus.FAILED) -> dict[str, Any]:
    return {"status": status.value, "output": error_output(info), "error": f"{info.type}: {info.message}"}
