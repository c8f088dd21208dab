"""The core of a control plane without its HTTP: everything is real but what starts workers and builds environments.

With `ScriptedLauncher` the test plays the workers, with a real launcher they are processes.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_flash.control_plane import bundle, inventory
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.autoscaler import Autoscaler
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.environments import Environment, InstallFailed
from runpod_flash.control_plane.fleet import Fleet, Job, Worker, WorkerState
from runpod_flash.control_plane.launchers.base import Launcher
from runpod_flash.control_plane.launches import Site
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.platform_core import PlatformCore
from runpod_flash.control_plane.records import JobRecord, Policy, Submission
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.streams import Streams
from runpod_flash.control_plane.supervisor import Supervisor
from runpod_flash.control_plane.views import job_object
from runpod_flash.control_plane.volumes import Volumes
from tests.support.memory_fleet import Events, MemoryArtifacts, MemoryValues, artifact
from worker_runtime.wire import frames, messages
from worker_runtime.wire.jobs import Call, ErrorInfo, Instance, Payload
from worker_runtime.wire.specs import EnvironmentRequest, WorkerLaunch

BODY: dict[str, Any] = {
    "name": "palette",
    "type": "QUEUE",
    "image": "runpod/flash",
    "workers": {"min": 0, "max": 3, "idleTimeout": 60},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0},
    "env": {},
    "timeout": 0,
}


@dataclass
class StandInEnvironments:
    """Every request gets this process's interpreter, or the failure; `gate` holds builds back."""

    failure: Exception | None = None
    environment: Environment = field(default_factory=lambda: Environment("environment", sys.executable))
    gate: asyncio.Event | None = None
    builds: int = 0
    abandoned: int = 0

    async def key(self, request: EnvironmentRequest) -> str:
        if isinstance(self.failure, InstallFailed) and request.python == "0":
            raise self.failure
        return "environment"

    def key_at_once(self, request: EnvironmentRequest) -> str | None:
        if isinstance(self.failure, InstallFailed) and request.python == "0":
            raise self.failure
        return "environment"

    def ready(self, key: str) -> Environment | None:
        return None

    async def get(self, request: EnvironmentRequest, *, on_stage: Callable[[str], None] | None = None) -> Environment:
        self.builds += 1
        if on_stage is not None:
            on_stage("3 packages")
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return self.environment


@dataclass
class ScriptedProcess:
    """A worker's process, and the worker's end of the link, in the test's hands."""

    launch: WorkerLaunch
    pid: int
    deaf: bool  # to SIGTERM
    code: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    frames: list[dict[str, Any]] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)  # job: attempt
    closed: bool = False

    async def wait(self) -> int:
        return await asyncio.shield(self.code)

    def terminate(self) -> None:
        if not self.deaf:
            self.end(0)

    def kill(self) -> None:
        self.end(-9)

    def end(self, code: int) -> None:
        """The process ends."""
        if not self.code.done():
            self.code.set_result(code)

    def send_whole(self, head: bytes, body: bytes = b"") -> None:
        self.send(frames.parse(head), body)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.frames.append(header)
        if header["type"] == messages.RUN:
            self.calls[header["job"]] = header["attempt"]
        elif header["type"] == messages.DRAIN and not self.calls:
            self.end(0)

    def close(self) -> None:
        self.closed = True


@dataclass
class ScriptedLauncher:
    """Starts processes that exist in the test only. `broken`: none starts; `dead`: each ends at once."""

    broken: bool = False
    dead: bool = False
    deaf: bool = False
    processes: list[ScriptedProcess] = field(default_factory=list)

    async def start(self, launch: WorkerLaunch) -> ScriptedProcess:
        if self.broken:
            raise FileNotFoundError(2, "No such file or directory", launch.python)
        process = ScriptedProcess(launch, len(self.processes) + 1, self.deaf)
        self.processes.append(process)
        if self.dead:
            process.end(5)
        return process

    @property
    def alive(self) -> list[ScriptedProcess]:
        """The processes that have not ended."""
        return [process for process in self.processes if not process.code.done()]


@dataclass
class SmallPlane:
    """The parts, and the few verbs that tests need."""

    store: Store
    catalog: Catalog
    fleet: Fleet
    dispatcher: Dispatcher
    supervisor: Supervisor
    autoscaler: Autoscaler
    platform: PlatformCore
    environments: StandInEnvironments
    launcher: Any
    events: Events
    values: MemoryValues
    artifacts: MemoryArtifacts
    artifact: str
    streams: Streams
    volumes: Volumes | None
    numbers: int = 0

    async def endpoint(self, **changes: Any) -> str:
        """Make an endpoint; returns its id."""
        body = {**BODY, "name": f"palette-{len(self.catalog.list())}", **changes}
        return (await self.catalog.create("/p", body)).id

    def call(
        self,
        artifact_id: str | None = None,
        *,
        instance: str | None = None,
        retries: int | None = None,
        stream: bool = False,
    ) -> Call:
        """A call of the artifact."""
        home = Instance(instance, Payload(inline=b"c", size=1)) if instance is not None else None
        return Call(
            artifact_id or self.artifact, Payload(inline=b"a", size=1), instance=home, retries=retries, stream=stream
        )

    async def submit(
        self,
        endpoint: str,
        call: Call | None = None,
        *,
        client: str | None = "c",
        key: str | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen
    ) -> JobRecord:
        """Submit a job as the HTTP face does."""
        self.numbers += 1
        job_input = (call or self.call()).to_input()
        job_id = f"j{self.numbers}"
        return await self.platform.submit(endpoint, Submission(job_id, job_input, policy, client, key))

    def job(self, record: JobRecord) -> Job:
        """The unfinished job."""
        found = self.dispatcher.unfinished(record.id)
        assert found is not None
        return found

    def workers(self, state: WorkerState | None = None) -> list[Worker]:
        """The workers of all endpoints."""
        return [worker for worker in self.fleet.workers() if state in (None, worker.state)]

    def connect(self, *, ready: bool = True) -> None:
        """All processes that have not done so connect, and are ready."""
        for process in self.launcher.alive:
            worker = self.supervisor.expected(process.launch.worker)
            if worker is not None:
                self.supervisor.connected(worker, process)
                if ready:
                    self.supervisor.ready(worker, "3.11.0")

    def finish(self, body: bytes = b"x", error: ErrorInfo | None = None) -> int:
        """Everything that runs ends; returns how many calls that were."""
        count = 0
        for process in self.launcher.processes:
            for job, attempt in list(process.calls.items()):
                del process.calls[job]
                worker = next((one for one in self.workers() if one.id == process.launch.worker), None)
                if worker is not None:
                    info = None if error is None else error.to_json()
                    self.supervisor.finished(worker, job, attempt, info, body)
                    count += 1
        return count

    async def until(self, condition: Callable[[], object], deadline_s: float = 5.0) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(deadline_s):
            while not condition():
                await asyncio.sleep(0.002)

    async def turns(self, number: int = 30) -> None:
        """Let everything go on for some turns of the loop."""
        for _ in range(number):
            await asyncio.sleep(0)

    async def serve(self, endpoint: str, number: int = 1) -> None:
        """Submit, connect and finish until that many jobs have ended."""
        records = [await self.submit(endpoint) for _ in range(number)]

        def all_ended() -> bool:
            self.connect()
            self.finish()
            return all(self.platform.job(endpoint, record.id).status.final for record in records)

        await self.until(all_ended)


@contextlib.asynccontextmanager
async def small_plane(
    folder: Path,
    *,
    gpus: str = "",
    launcher: Launcher | None = None,
    address: str = "unix:/nowhere",
    limits: Limits = Limits(),  # noqa: B008 - frozen
    **site: Any,
) -> AsyncIterator[SmallPlane]:
    """Put the parts together; at the end the workers are ended and the store is closed."""
    store = Store.open(folder / "flash.db")
    events, values, artifacts = Events(), MemoryValues(), MemoryArtifacts()
    catalog, fleet, environments = Catalog(store), Fleet(), StandInEnvironments()
    announcer = Announcer(events, job_object)
    dispatcher = Dispatcher(store, values, Artifacts(artifacts), fleet, announcer)
    launcher = launcher or ScriptedLauncher()
    settings: dict[str, Any] = {
        "bundle": folder / "bundle" if isinstance(launcher, ScriptedLauncher) else bundle.ensure(folder / "bundle"),
        "hidden": (),
        "base_env": {"PATH": "/usr/bin:/bin"},
        "lease_s": 10.0,
        "cancel_grace_s": 1.0,
        "cpus": (0, 1, 2, 3),
        "volumes": Volumes(folder / "volumes"),
        **site,
    }
    where = Site(link_address=address, work=folder / "work", **settings)
    devices = inventory.Inventory(inventory.fake(gpus))
    supervisor = Supervisor(where, fleet, dispatcher, environments, devices, launcher, announcer)  # type: ignore[arg-type]
    autoscaler = Autoscaler(catalog, fleet, supervisor, dispatcher.pools)
    platform = PlatformCore(store, catalog, fleet, dispatcher, environments, announcer)  # type: ignore[arg-type]
    platform.intake.queueing.refusal = supervisor.refusal
    streams = Streams(platform.chunks, dispatcher.results, dispatcher.recorder, limits)
    dispatcher.stream_through(streams)
    platform.will_read = streams.read
    supervisor.on_item, dispatcher.on_end = streams.item, lambda job: platform.chunks.changed(job.record.id)
    dispatcher.on_load = autoscaler.load_changed
    supervisor.on_capacity = autoscaler.capacity_changed
    catalog.on_change, catalog.on_delete = autoscaler.endpoint_changed, autoscaler.endpoint_deleted
    plane = SmallPlane(
        store, catalog, fleet, dispatcher, supervisor, autoscaler, platform, environments, launcher, events, values,
        artifacts, artifact(artifacts), streams, where.volumes,
    )  # fmt: skip
    try:
        yield plane
    finally:
        autoscaler.close()
        dispatcher.stop()
        await supervisor.close()
        await dispatcher.settle()
        store.close()


def changed(body: Mapping[str, Any], **changes: Any) -> Mapping[str, Any]:
    """A body with other values."""
    return {**body, **changes}
