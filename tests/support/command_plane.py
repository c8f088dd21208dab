"""A small control plane whose workers run commands: the test is the command, and speaks as its HTTP requests would.

The application over it is the real one, so that clients and workers may speak HTTP, too.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx
from starlette.applications import Starlette
from starlette.requests import HTTPConnection

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.access import client_of as client_of_stream
from runpod_flash.control_plane.api.app import Services, build_app
from runpod_flash.control_plane.api_keys import ApiKeys
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.balanced_workers import BalancedWorkers
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.command_workers import CommandWorkers
from runpod_flash.control_plane.deploys import Deploys
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.expiring import Expiring
from runpod_flash.control_plane.expiry import ExpiryTerms
from runpod_flash.control_plane.fleet import Job, Worker
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, Policy, Submission
from runpod_flash.control_plane.sealing import Seal
from runpod_flash.control_plane.served_code import ServedCode
from runpod_flash.control_plane.views import job_object
from runpod_flash.control_plane.volume_files import VolumeFiles
from runpod_flash.control_plane.volumes import Volumes
from runpod_flash.control_plane.webhooks import Webhooks
from tests.support.plane_app import KEY, client_of
from tests.support.small_plane import ScriptedProcess, SmallPlane, small_plane

COMMAND: dict[str, Any] = {"command": "python handler.py"}
QUICK = Limits(take_hold_s=5.0, stream_hold_s=1.0, webhook_private=True)
"""Held requests end within the patience of a test."""


@dataclass
class CommandPlane:
    """The parts, and the verbs of clients and workers."""

    plane: SmallPlane
    commands: CommandWorkers
    seal: Seal
    webhooks: Webhooks
    app: Starlette
    hub: EventHub
    keys: ApiKeys
    client: httpx.AsyncClient

    async def endpoint(self, **changes: Any) -> str:
        """Make an endpoint with a command; returns its id."""
        return await self.plane.endpoint(**{**COMMAND, **changes})

    async def submit(self, endpoint: str, job_input: Any = None, **policy: Any) -> JobRecord:
        """Submit a job as the published API does, without an event stream."""
        self.plane.numbers += 1
        number = self.plane.numbers
        asked = Submission(f"c{number}", job_input or {"n": number}, Policy(**policy))
        return await self.plane.platform.submit(endpoint, asked)

    async def worker(self, number: int = 0) -> Worker:
        """The worker that was started as this one, its command under way. It has asked for nothing yet."""
        await self.plane.until(lambda: len(self.plane.launcher.processes) > number)
        self.plane.connect(ready=False)
        found = self.commands.find(self.process(number).launch.worker)
        assert found is not None
        return found

    def process(self, number: int = 0) -> ScriptedProcess:
        """The process that was started as this one."""
        process: ScriptedProcess = self.plane.launcher.processes[number]
        return process

    async def take(self, worker: Worker, number: int = 1, *, busy: bool = False) -> list[str]:
        """The ids of the jobs that the worker gets."""
        return [job["id"] for job in await self.commands.desk.take(worker, number, busy=busy)]

    async def taken(self, endpoint: str, **policy: Any) -> tuple[JobRecord, Worker]:
        """A job that the first worker has."""
        record = await self.submit(endpoint, **policy)
        worker = await self.worker()
        assert await self.take(worker) == [record.id]
        return record, worker

    def ping(self, worker: Worker, *jobs: str, times: int = 1) -> None:
        """The worker says what it has, as new packages do."""
        for _ in range(times):
            self.commands.desk.pinged(worker, jobs, names_jobs=True)

    async def done(self, worker: Worker, job: str, body: Any = None) -> None:
        """The worker answers a job."""
        await self.commands.answers.done(worker, job, {"output": "done"} if body is None else body)

    async def coming(self, endpoint: str) -> Job:
        """The endpoint's only job, as soon as it is there; who submits it has not heard of it yet."""
        while not self.plane.dispatcher.jobs_of(endpoint):
            await asyncio.sleep(0)
        (job,) = self.plane.dispatcher.jobs_of(endpoint)
        return job

    def job(self, record: JobRecord) -> JobRecord:
        """The job as it is now."""
        return self.plane.platform.job(record.endpoint, record.id)

    def http(self, worker: Worker) -> httpx.AsyncClient:
        """An HTTP client with the worker's key, as its package sends it. The caller closes it."""
        client = client_of(self.app, "")
        client.headers["Authorization"] = worker.key
        return client


@contextlib.asynccontextmanager
async def command_plane(
    folder: Path, *, limits: Limits = QUICK, grace_s: float = 5.0, **site: Any
) -> AsyncIterator[CommandPlane]:
    """Such a plane; at its end everything is ended and closed."""
    async with small_plane(folder, **site) as plane:
        access, seal = Access(plane.catalog), Seal(folder / "seal")
        announcer = Announcer(plane.events, job_object)

        def authorize(connection: HTTPConnection, endpoint_id: str) -> str | None:
            access.endpoint(connection, Need.RUN, endpoint_id)
            return client_of_stream(connection)

        served = ServedCode(plane.dispatcher.pools, plane.environments)  # type: ignore[arg-type]
        balanced = BalancedWorkers(
            plane.catalog, plane.fleet, plane.dispatcher, plane.supervisor, announcer,
            served, limits, authorize,
        )  # fmt: skip
        commands = CommandWorkers(
            plane.dispatcher, plane.supervisor, plane.platform.chunks, announcer, limits, grace_s, seal.open, balanced
        )
        webhooks = Webhooks(plane.store, limits, job_object)
        _connect(plane, commands, seal, webhooks, served)
        keys, blobs, hub = ApiKeys(folder / "api_keys.json", plane.catalog), Blobs(folder / "blobs"), EventHub()
        deploys = Deploys(Apps(plane.store, plane.catalog), plane.catalog)
        services = Services(
            plane.platform, plane.catalog, blobs, hub, KEY, {"protocol": 1, "gpus": []}, keys,
            VolumeFiles(Volumes(folder / "volumes")), deploys,
            Expiring(deploys.apps, plane.catalog, plane.store, ExpiryTerms()),
            plane.supervisor.worker_keys, limits=limits, workers=commands,
            check_webhook=webhooks.check,
        )  # fmt: skip
        app = build_app(services)
        async with client_of(app, KEY) as client:
            try:
                yield CommandPlane(plane, commands, seal, webhooks, app, hub, keys, client)
            finally:
                plane.dispatcher.stop()
                await served.close()
                await balanced.close()


def _connect(plane: SmallPlane, commands: CommandWorkers, seal: Seal, webhooks: Webhooks, served: ServedCode) -> None:
    """As the composition root does."""

    def ended(job_id: str) -> None:
        plane.platform.chunks.changed(job_id)
        webhooks.wake(job_id)

    def load_changed(endpoint_id: str) -> None:
        plane.autoscaler.load_changed(endpoint_id)
        commands.balanced.look(endpoint_id)

    def changed(endpoint: EndpointRecord, rolled: bool) -> None:
        if endpoint.artifact is not None:
            served.look(endpoint)
        plane.autoscaler.endpoint_changed(endpoint, rolled)

    def deleted(endpoint_id: str) -> None:
        served.forget(endpoint_id)
        plane.autoscaler.endpoint_deleted(endpoint_id)
        load_changed(endpoint_id)

    plane.catalog.on_change, plane.catalog.on_delete = changed, deleted
    plane.platform.intake.seal, plane.platform.intake.queueing.on_end = seal.seal, ended
    plane.dispatcher.on_end = lambda job: ended(job.record.id)
    plane.dispatcher.on_load = load_changed
    commands.balanced.on_load = plane.autoscaler.load_changed


def held(limits: Limits = QUICK, **changes: Any) -> Limits:
    """Limits with other values."""
    return replace(limits, **changes)


async def all_of(tasks: Iterable["asyncio.Future[Any]"]) -> list[Any]:
    """What they give, within the patience of a test."""
    return list(await asyncio.wait_for(asyncio.gather(*tasks), 5))


Test: TypeAlias = Callable[[CommandPlane], Coroutine[Any, Any, None]]


def played(test: Test, **options: Any) -> Callable[[Path], None]:
    """Run an async test with a command plane of its own, which is made with these options."""

    async def with_plane(folder: Path) -> None:
        async with command_plane(folder, **options) as plane, asyncio.timeout(20):
            await test(plane)

    def run(tmp_path: Path) -> None:
        asyncio.run(with_plane(tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def played_with(**options: Any) -> Callable[[Test], Callable[[Path], None]]:
    """The same, for a plane that is not as usual."""
    return lambda test: played(test, **options)


@contextlib.contextmanager
def unwritable_database(plane: CommandPlane) -> Iterator[None]:
    """Nothing can be written to the database meanwhile, as where the disk is full."""
    connection = plane.plane.store._connection
    plane.plane.store._flush()
    connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA query_only = OFF")
