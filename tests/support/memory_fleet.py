"""A dispatcher over a store, values and workers that live in memory. The test plays the workers, frame by frame.

`Scene` checks with every frame what must hold whatever happens: one attempt of a job at a time, no more calls in a
worker than it has slots, calls of an object only where it lives.
"""

import asyncio
import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Fleet, Job, Pool, Worker, WorkerState
from runpod_flash.control_plane.inventory import Grant
from runpod_flash.control_plane.outbox import Render
from runpod_flash.control_plane.pace import MOST
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, LogLine
from runpod_flash.control_plane.store import StoreError
from runpod_flash.control_plane.views import job_object
from worker_runtime.wire import frames, messages, paths
from worker_runtime.wire.jobs import Call, ErrorInfo, Instance, Payload
from worker_runtime.wire.retries import Backoff
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

ENDPOINT = EndpointRecord("e1", "/p", "palette", {"workers": {"min": 0, "max": 3}, "timeout": 0}, "hash", 1, 1.0)


@dataclass
class MemoryStore:
    """Remembers every version of each job. `turns`: turns of the loop that a commit takes; `full`: none succeeds."""

    turns: int = 2
    full: bool = False
    versions: dict[str, list[JobRecord]] = field(default_factory=dict)
    logs: dict[str, list[LogLine]] = field(default_factory=dict)

    async def save_job(self, record: JobRecord) -> None:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.full:
            raise StoreError("the disk is full")
        self.versions.setdefault(record.id, []).append(record)

    async def save_logs(self, job_id: str, lines: Sequence[LogLine]) -> None:
        if self.full:
            raise StoreError("the disk is full")
        self.logs[job_id] = list(lines)


@dataclass
class MemoryValues:
    """Values by sha256. `full`: nothing can be stored; `storing` is called in the midst of it."""

    held: dict[str, bytes] = field(default_factory=dict)
    full: bool = False
    storing: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)

    def has(self, sha256: str) -> bool:
        return sha256 in self.held

    async def read(self, sha256: str) -> bytes:
        if sha256 not in self.held:
            raise FileNotFoundError(sha256)
        return self.held[sha256]

    async def put_bytes(self, sha256: str, data: bytes) -> None:
        await self.storing()
        if self.full:
            raise StoreError("the disk is full")
        self.held[sha256] = data


@dataclass
class MemoryArtifacts:
    """Artifacts by id."""

    held: dict[str, bytes] = field(default_factory=dict)

    def read_artifact(self, artifact_id: str) -> bytes:
        if artifact_id not in self.held:
            raise FileNotFoundError(artifact_id)
        return self.held[artifact_id]


@dataclass
class Events:
    """Keeps what is published: (client, event)."""

    heard: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def publish(self, client: str, event: Mapping[str, Any]) -> None:
        self.heard.append((client, event))

    def ended(self, client: str, record: JobRecord, render: Render) -> None:
        self.publish(client, {"event": "job", "job": render(record, time.time())})

    def of(self, kind: str, client: str | None = None) -> list[Mapping[str, Any]]:
        """The events of a kind, of all clients or one."""
        return [event for who, event in self.heard if event["event"] == kind and client in (None, who)]


@dataclass
class ScriptedWorker:
    """A worker's end of its link: keeps the calls that it was sent and has not ended."""

    scene: "Scene"
    worker: Worker
    calls: dict[str, int] = field(default_factory=dict)  # job: attempt
    frames: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    asked_back: list[list[str]] = field(default_factory=list)  # not answered yet

    @property
    def begun(self) -> list[str]:
        """The calls that run: they begin in the order in which they came."""
        return list(self.calls)[: self.scene.pool.key.concurrency]

    def give_back(self) -> None:
        """Answer the oldest request for what has not begun."""
        begun = self.begun
        jobs = [(job, self.calls.pop(job)) for job in self.asked_back.pop(0) if job in self.calls and job not in begun]
        self.scene.dispatcher.given_back(self.worker, jobs)

    def send_whole(self, head: bytes, body: bytes = b"") -> None:
        self.send(frames.parse(head), body)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.frames.append({**header, "body": body})
        if header["type"] == messages.RUN:
            try:
                self.scene.check_run(self, header)
            except AssertionError as error:  # raised here, it would end in a task of the dispatcher
                self.scene.violations.append(str(error))
            self.calls[header["job"]] = header["attempt"]
        elif header["type"] == messages.TAKE_BACK:
            self.asked_back.append(header["jobs"])

    def close(self) -> None:
        self.closed = True

    def types(self) -> list[str]:
        """The kinds of frames that came."""
        return [frame["type"] for frame in self.frames]

    def done(self, job: Job | str, body: bytes = b"x", error: ErrorInfo | None = None) -> None:
        """Say that a call has ended."""
        job_id = job if isinstance(job, str) else job.record.id
        attempt = self.calls.pop(job_id)
        self.scene.dispatcher.finished(self.worker, job_id, attempt, error, body)


class Scene:
    """A dispatcher with one endpoint, and the test's hands on everything around it. Make it inside an event loop."""

    def __init__(self, concurrency: int = 1) -> None:
        self.store, self.values, self.events = MemoryStore(), MemoryValues(), Events()
        self.fleet = Fleet()
        self.announcer = Announcer(self.events, job_object)
        source = MemoryArtifacts()
        self.artifact = artifact(source, concurrency)
        self.dispatcher = Dispatcher(self.store, self.values, Artifacts(source), self.fleet, self.announcer)
        self.pool: Pool = self.dispatcher.pools.shipped(ENDPOINT, self.artifact, "environment")
        self.workers: list[ScriptedWorker] = []
        self.jobs: list[Job] = []
        self.runs: list[tuple[str, int, str]] = []  # job, attempt, worker: in the order of the frames
        self.violations: list[str] = []  # of the rules of handing out
        self.dropped: set[str] = set()
        self._homes: dict[str, Worker] = {}
        self._numbers = itertools.count(1)

    # ---- what the test does

    async def submit(
        self,
        *,
        instance: str | None = None,
        retries: int | None = None,
        backoff: Backoff | None = None,
        client: str | None = "c",
        large: bytes | None = None,
        **limits: float,
    ) -> Job:
        """Queue a job as the platform does: first to the store, then to the dispatcher."""
        arguments = Payload(inline=b"a", size=1)
        if large is not None:
            arguments = Payload(sha256=hashlib.sha256(large).hexdigest(), size=len(large))
            self.values.held[str(arguments.sha256)] = large
        home = Instance(instance, Payload(inline=b"c", size=1)) if instance is not None else None
        call = Call(self.artifact, arguments, "m" if instance else None, home, retries, backoff)
        record = JobRecord(
            f"j{next(self._numbers)}", ENDPOINT.id, call.to_input(), time.time(), client=client, **limits
        )  # type: ignore[arg-type]
        await self.store.save_job(record)
        job = self.dispatcher.accept(record, call, self.pool)
        self.jobs.append(job)
        return job

    def start(self, *, ready: bool = True) -> ScriptedWorker:
        """A new worker of the pool."""
        name = f"w{next(self._numbers)}"
        now = time.monotonic()
        worker = Worker(name, "token", "key", self.pool, 1, Path(name), Grant(), now, idle_since=now, last_beat=now)
        scripted = ScriptedWorker(self, worker)
        worker.link = scripted
        worker.uses(self.artifact)
        self.pool.workers[name] = worker
        self.workers.append(scripted)
        if ready:
            self.dispatcher.worker_ready(worker)
        return scripted

    def lose(self, scripted: ScriptedWorker) -> None:
        """The worker's link breaks."""
        self.workers.remove(scripted)
        self.dispatcher.worker_lost(scripted.worker, "its link broke", ["last words"])

    async def turns(self, number: int = 12) -> None:
        """Let everything go on for some turns of the loop."""
        for _ in range(number):
            await asyncio.sleep(0)

    # ---- what must always hold

    def check_run(self, scripted: ScriptedWorker, header: dict[str, Any]) -> None:
        """The rules of handing out a call, at the moment it is sent."""
        job_id, worker = header["job"], scripted.worker
        busy_elsewhere = [other.worker.id for other in self.workers if job_id in other.calls]
        assert busy_elsewhere == [], f"{job_id} runs in {busy_elsewhere} and was sent to {worker.id}"
        if len(scripted.calls) >= self.pool.key.concurrency:
            assert self.pool.key.concurrency == 1, f"{worker.id} has no slot for {job_id}"
            assert header["attempt"] == 1, f"{job_id} was taken back before, and waits in {worker.id}"
            assert header["call"].get("retries") != 0, f"{job_id} may start once, and waits in {worker.id}"
            assert len(scripted.calls) <= MOST, f"{len(scripted.calls)} calls are in {worker.id}"
        assert worker.state in (WorkerState.READY, WorkerState.DRAINING), f"{worker.id} is {worker.state}"
        past = [attempt for job, attempt, _ in self.runs if job == job_id]
        assert header["attempt"] > max(past, default=0), f"{job_id} is sent as attempt {header['attempt']} after {past}"
        known = self.store.versions[job_id][-1].attempts
        assert known == header["attempt"] or self.store.full, f"the store knows {known} starts of {job_id}"
        self.runs.append((job_id, header["attempt"], worker.id))
        instance = header["call"].get("instance")
        if instance is not None:
            home = self._homes.get(instance)
            if home is not None and home.state is WorkerState.READY and instance not in self.dropped:
                assert home is worker, f"{instance} lives in {home.id} and was called in {worker.id}"
            self._homes[instance] = worker

    def check_ends(self) -> None:
        """Each job has ended, once, as the store and its client know it."""
        assert self.violations == []
        told = Counter(event["job"]["id"] for event in self.events.of("job"))
        for job in self.jobs:
            assert job.record.status.final, job
            assert job.done.result() == job.record
            assert told[job.record.id] == 1
            versions = self.store.versions[job.record.id]
            assert [version.status.final for version in versions].count(True) == 1
            assert versions[-1] == job.record
            sent = [attempt for job_id, attempt, _ in self.runs if job_id == job.record.id]
            assert len(sent) <= job.record.attempts
        assert self.dispatcher.active == 0
        assert self.pool.clients == {}


def artifact(source: MemoryArtifacts, concurrency: int = 1, files: Mapping[str, bytes] | None = None) -> str:
    """Put a small artifact into `source`; returns its id."""
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in (files or {}).items()}
    request = EnvironmentRequest("3.11")
    manifest = ArtifactManifest("function", "f", "code", request, None, hashes, max_concurrency=concurrency)
    source.held[manifest.id] = paths.pack(manifest, b"code", dict(files or {}))
    return manifest.id
