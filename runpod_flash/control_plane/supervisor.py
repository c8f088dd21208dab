"""Keeps workers: builds their environment, starts them, watches their leases, ends them."""

import asyncio
import logging
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.crashes import Crashes
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.environments import Environment, Environments, InstallFailed
from runpod_flash.control_plane.fleet import Fleet, Link, Pool, Worker, WorkerState
from runpod_flash.control_plane.inventory import Grant, Infeasible, Inventory
from runpod_flash.control_plane.launchers.base import Launcher
from runpod_flash.control_plane.launches import Launches, Site, port_of, wanted_cuda, wanted_gpus
from runpod_flash.control_plane.lender import Lender, NoLoans
from runpod_flash.control_plane.pools import AS_IT_IS
from runpod_flash.control_plane.principals import OWNER, WorkerKey
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import ContentNotFound, VolumeNotFound
from worker_runtime.wire import messages
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, Progress
from worker_runtime.wire.ranges import Range
from worker_runtime.wire.specs import WorkerLaunch

logger = logging.getLogger(__name__)

NO_FREE_GPU = "every suitable GPU is in use"
NO_ROOM = "this machine has as many workers as it may have (FLASH_MACHINE_WORKERS)"
"""Why a worker cannot be started at the moment, in `Pool.blocked`."""
_START_TIMEOUT_S = 60.0
_STOP_GRACE_S = 5.0
_COMMAND_GRACE_S = 15.0  # what ends it by itself takes ten
_KILL_S = 25.0  # after it was asked to end; its own ways to end take less
_NO_VOLUME = 3  # its exit code where its network volume cannot be mounted
_CANNOT_START = 2  # its exit code where it will not even try
_UNSEEN_VOLUME = (
    "its network volume cannot be mounted at /runpod-volume on this machine: that needs namespaces, which the kernel "
    "gives to root, and to others where they may have user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0); the control plane's log has the kernel's own words"
)
_REFUSED = ": it cannot start here, and the control plane's log says why"


class Supervisor:
    """Starts and ends workers. It decides nothing about their number.

    Attributes:
        api_url: where the code of workers finds this control plane, known when it listens.
        on_capacity: called when a worker has ended and its place, its GPUs included, is free.
        on_connected: called with each worker whose command, or server, has been started.
        on_leaving: called with each worker of a command, or with a server, that is to end.
        on_gone: called with each worker that has ended.
        on_item: called with each item of a stream: worker, job, attempt, item.
        loans: which workers are lent to clients.
        on_loaded: called with the launch of workers to come, when it is known what their function imports.
    """

    def __init__(
        self,
        site: Site,
        fleet: Fleet,
        dispatcher: Dispatcher,
        environments: Environments,
        inventory: Inventory,
        launcher: Launcher,
        announcer: Announcer,
    ) -> None:
        self._site = site
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._environments = environments
        self._inventory = inventory
        self._launcher = launcher
        self._launches = Launches(site)
        self._announcer = announcer
        self._by_id: dict[str, Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self.api_url = ""
        self.on_capacity: Callable[[], None] = lambda: None
        self.on_connected: Callable[[Worker], None] = lambda worker: None
        self.on_leaving: Callable[[Worker], None] = lambda worker: None
        self.on_gone: Callable[[Worker], None] = lambda worker: None
        self.on_loaded: Callable[[WorkerLaunch], None] = lambda launch: None
        self.loans: Lender = NoLoans()
        self.on_item: Callable[[Worker, str, int, Item], None] = lambda worker, job, attempt, item: None

    @property
    def work(self) -> Path:
        """Where the folders of workers are."""
        return self._site.work

    # ---- environments

    def prepare(self, pool: Pool) -> None:
        """Build the pool's environment, unless that is under way; then the load is looked at again."""
        if pool.building is None:
            pool.building_since, pool.building_detail = time.time(), ""
            pool.building = self._spawn(self._build(pool))
        self._announcer.refresh(pool)

    async def _build(self, pool: Pool) -> None:
        def detail(text: str) -> None:
            pool.building_detail = text
            self._announcer.refresh(pool)

        failure: ErrorInfo | None = None
        try:
            pool.environment = await self._environment(pool, detail)
        except InstallFailed as error:
            failure = ErrorInfo(ErrorKind.INSTALL, "InstallError", str(error))
        except Exception as error:  # a border: jobs that wait for this must hear of it
            logger.exception("building the environment of %s failed", pool.name)
            words = f"building the environment failed: {type(error).__name__}: {error}"
            failure = ErrorInfo(ErrorKind.PLATFORM, "PlatformError", words)
        finally:  # cancelled too: a job may have come since
            pool.building = None
            if failure is not None:
                self._announcer.failed(pool, failure.message)
                self._dispatcher.fail_pool(pool, failure)
            self._announcer.refresh(pool)
            self._dispatcher.on_load(pool.key.endpoint)

    async def _environment(self, pool: Pool, detail: Callable[[str], None]) -> Environment:
        if pool.code is None:  # a command has what the machine has, a container what its image has
            if pool.image is not None and self._site.engine is not None:
                await self._site.engine.prepare(pool.image, detail)
            return AS_IT_IS
        environment = await self._environments.get(pool.code.environment, on_stage=detail)
        if not environment.whole:
            raise InstallFailed(f"the environment {environment.key} was removed while it was built; call again")
        return environment

    def tell(self, pool: Pool) -> None:
        """Tell the pool's clients what has changed in what they wait for."""
        self._announcer.refresh(pool)

    def abandon(self, pool: Pool) -> None:
        """End the build that nobody waits for any more."""
        if pool.building is not None:
            pool.building.cancel()

    # ---- starting

    def start(self, pool: Pool, endpoint: EndpointRecord) -> bool:
        """Start one worker for a pool whose environment is ready.

        False: there is no room at the moment, and `pool.blocked` says why.
        """
        assert pool.environment is not None
        types, count = wanted_gpus(endpoint)
        full = 0 < self._site.most_workers <= len(self._by_id)
        grant = None if full else self._inventory.acquire(types, count) if count else Grant()
        if grant is None:
            pool.blocked = NO_ROOM if full else NO_FREE_GPU
            self._announcer.refresh(pool)
            return False
        pool.blocked = ""
        self._say(pool, endpoint, grant)
        identity = f"w-{secrets.token_hex(6)}"
        now = time.monotonic()
        folder = self._site.work / identity
        worker = Worker(
            id=identity,
            token=secrets.token_hex(16),
            key=secrets.token_urlsafe(32),
            owner=endpoint.owner,
            project=endpoint.project,
            pool=pool,
            generation=endpoint.generation,
            folder=folder,
            grant=grant,
            started_at=now,
            idle_since=now,
            last_beat=now,
            port=port_of(endpoint) if endpoint.is_load_balanced else 0,
        )
        pool.workers[identity] = self._by_id[identity] = worker
        self._spawn(self._run(worker, pool.environment, endpoint))
        self._announcer.refresh(pool)
        return True

    def feasible(self, pool: Pool, endpoint: EndpointRecord) -> bool:
        """Whether this machine can ever have such a worker; where it cannot, the pool's jobs fail."""
        refusal = self.refusal(endpoint)
        if refusal is not None:
            self._dispatcher.fail_pool(pool, refusal)
        return refusal is None

    def refusal(self, endpoint: EndpointRecord) -> ErrorInfo | None:
        """Why this machine can never have a worker for the endpoint, with what there is; None where it can."""
        try:
            self._inventory.check(*wanted_gpus(endpoint))
            self._inventory.check_cuda(*wanted_cuda(endpoint))
            self._check_image(endpoint)
        except Infeasible as error:
            return ErrorInfo(ErrorKind.INFEASIBLE, "Infeasible", str(error))
        return None

    def _check_image(self, endpoint: EndpointRecord) -> None:
        """Raise Infeasible where the endpoint has an image, and nothing here may run it."""
        engine, image = self._site.engine, endpoint.image
        if image is None:
            return
        if engine is None or (missing := engine.missing(image)) is not None:
            raise Infeasible(f"image {image} cannot run: {'this platform runs none' if engine is None else missing}")
        if endpoint.owner != OWNER and not engine.for_everybody:
            raise Infeasible(
                f"image {image} of user {endpoint.owner} is not run: whoever runs this server must agree to that, with "
                "FLASH_ALLOW_IMAGES=1"
            )

    def _say(self, pool: Pool, endpoint: EndpointRecord, grant: Grant) -> None:
        if grant.notice:
            self._announcer.notice(pool, f"gpu {endpoint.id}", f"{endpoint.name}: {grant.notice}")
        if grant.gpus and (wrong := self._inventory.check_cuda(*wanted_cuda(endpoint))):
            self._announcer.notice(pool, f"cuda {endpoint.id}", f"{endpoint.name}: {wrong}")
        assert pool.environment is not None
        for number, line in enumerate(pool.environment.notices):
            self._announcer.notice(pool, f"environment {pool.key.environment} {number}", f"{endpoint.name}: {line}")

    async def _run(self, worker: Worker, environment: Environment, endpoint: EndpointRecord) -> None:
        """The life of one worker, from its start until its folder is gone."""
        reason = "it could not be started"
        try:
            launch = worker.launch = self._launches.of(worker, environment, endpoint, self.api_url)
            worker.process = await self._launcher.start(launch)
            if self._closing:  # it was not there yet when the others were told
                self._terminate(worker)
            code = await self._until_ended(worker)
            reason = f"its process ended with {code}" + (_REFUSED if code == _CANNOT_START else "")
            if code == _NO_VOLUME:
                self._dispatcher.fail_pool(worker.pool, ErrorInfo(ErrorKind.INFEASIBLE, "Infeasible", _UNSEEN_VOLUME))
        except VolumeNotFound as error:
            reason = f"it could not be started: {error}"
            self._dispatcher.fail_pool(worker.pool, ErrorInfo(ErrorKind.INFEASIBLE, "Infeasible", str(error)))
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            reason = f"it could not be started: {error}"
        finally:
            if worker.process is not None:
                worker.process.kill()
                await worker.process.wait()
            if endpoint.image is not None and self._site.engine is not None:
                await self._site.engine.remove(worker.id)
            self._forget(worker, reason)
            await asyncio.to_thread(shutil.rmtree, worker.folder, True)

    async def _until_ended(self, worker: Worker) -> int:
        assert worker.process is not None
        ended = asyncio.ensure_future(worker.process.wait())
        patience = self._site.init_s if worker.is_server else _START_TIMEOUT_S
        try:
            await asyncio.wait([ended], timeout=patience)
            if not ended.done() and worker.state is WorkerState.STARTING:
                raise TimeoutError(f"it was not ready after {patience:.0f} s")
            return await ended
        finally:
            ended.cancel()

    # ---- what workers say (links.WorkerEvents)

    def together(self) -> AbstractContextManager[None]:
        return self._dispatcher.together()

    def expected(self, worker_id: str) -> Worker | None:
        worker = self._by_id.get(worker_id)
        return worker if worker is not None and worker.link is None else None

    def connected(self, worker: Worker, link: Link) -> None:
        worker.link, worker.last_beat = link, time.monotonic()
        if worker.state is not WorkerState.STARTING:  # nobody wants it any more
            self._terminate(worker)
            return
        pool = worker.pool
        if pool.code is None:
            link.send({"type": messages.WELCOME})
            self.on_connected(worker)
            return
        artifact = pool.code.artifact
        try:
            data = self._dispatcher.pools.artifact_data(artifact)
        except (ContentNotFound, OSError) as error:
            words = f"the code cannot be read any more ({error}); call again, and it is sent again"
            self._dispatcher.fail_pool(pool, ErrorInfo(ErrorKind.PLATFORM, "PlatformError", words))
            self.stop(worker)
            return
        link.send({"type": messages.WELCOME})
        link.send({"type": messages.ARTIFACT, "id": artifact}, data)
        worker.uses(artifact)
        if worker.port:
            self.on_connected(worker)

    def ready(self, worker: Worker, python: str) -> None:
        worker.python, worker.last_beat = python, time.monotonic()
        if worker.state is WorkerState.STARTING:
            self._dispatcher.worker_ready(worker)

    def beat(self, worker: Worker) -> None:
        worker.last_beat = time.monotonic()
        self._end_if_given_up(worker)

    def log(self, worker: Worker, job: str | None, stream: str, lines: list[str]) -> None:
        self._announcer.log(worker, job, stream, lines)

    def item(self, worker: Worker, job: str, attempt: int, item: Item) -> None:
        self.on_item(worker, job, attempt, item)

    def progressed(self, worker: Worker, job: str, attempt: int, progress: dict[str, Any]) -> None:
        self._dispatcher.reported(worker, job, attempt, Progress.from_json(progress))

    def holds(self, worker: Worker, ranges: list[str]) -> None:
        self._dispatcher.memory.holds(worker.id, ranges)

    def finished(
        self, worker: Worker, job: str, attempt: int, error: dict[str, Any] | None, body: Body | Range
    ) -> None:
        if isinstance(body, Range) and job in worker.running and self._dispatcher.memory.has_left(worker.id):
            self.end_now(worker, "its process has ended, and what it had written with it")
            return
        info = None
        try:
            info = ErrorInfo.from_json(error) if error is not None else None
        except WireError as fault:
            info = ErrorInfo(
                ErrorKind.PLATFORM, "WireError", f"the worker reported an error that cannot be read: {fault}"
            )
        self._dispatcher.finished(worker, job, attempt, info, body)
        self.look_at(worker)
        self._end_if_given_up(worker)

    def of_loan(self, worker: Worker, header: dict[str, Any], body: Body) -> None:
        self.loans.heard(worker, header, body)
        if worker.loan is None:
            self.look_at(worker)

    def gave_back(self, worker: Worker, jobs: list[tuple[str, int]]) -> None:
        self._dispatcher.given_back(worker, jobs)
        self.look_at(worker)

    def unbegun(self, worker: Worker, jobs: list[str]) -> None:
        self._dispatcher.never_began(worker, jobs)

    def loaded(self, worker: Worker, modules: list[Any]) -> None:
        news = self._launches.loaded.note(worker.pool, modules)
        if news and worker.launch is not None:
            self.on_loaded(replace(worker.launch, preload=self._launches.loaded.of(worker.pool)))

    def hopeless(self, worker: Worker, reason: str, stderr: list[str]) -> None:
        if worker.state is WorkerState.STARTING:
            worker.state = WorkerState.DRAINING  # its end is none that is to be tried again
            words = "\n".join([reason, *stderr[-20:]])
            self._announcer.ended(worker, reason)
            self._dispatcher.fail_pool(worker.pool, ErrorInfo(ErrorKind.LOAD, "LoadError", words))

    def gone(self, worker: Worker, reason: str, stderr: list[str]) -> None:
        self._terminate(worker)
        self._lost(worker, reason, stderr)

    # ---- ending

    def stop(self, worker: Worker) -> None:
        """End a worker: it closes its instances, then its process and all it started end.

        One that is lent ends when the client's call has ended that it runs, if it tells of that.
        """
        worker.state = WorkerState.DRAINING
        if worker.loan is not None:
            self.loans.end(worker, self._terminate)
            return
        if worker.is_server:
            self.on_leaving(worker)
        if worker.link is not None and (worker.artifacts or worker.is_server):
            worker.link.send({"type": messages.DRAIN})
            grace = _COMMAND_GRACE_S if worker.is_server else _STOP_GRACE_S
            asyncio.get_running_loop().call_later(grace, self._terminate, worker)
        else:  # it runs nothing yet
            self._terminate(worker)

    def retire(self, worker: Worker) -> None:
        """Give a worker no more jobs; it ends when nothing runs in it. What waits for its instances is queued again."""
        if worker.state is WorkerState.READY and (worker.running or worker.requests):
            self.loans.end(worker)
            worker.state = WorkerState.DRAINING
            worker.pool.queue.extendleft(reversed(worker.queue))
            worker.queue.clear()
            self._dispatcher.recall(worker)
        elif worker.state in (WorkerState.READY, WorkerState.STARTING):
            self.stop(worker)

    def look_at(self, worker: Worker) -> None:
        """Something has ended in a worker: where it was the last thing that a retired one had to do, that ends, too."""
        busy = worker.running or worker.ahead or worker.queue or worker.requests or worker.loan is not None
        if worker.state is WorkerState.DRAINING and not busy:
            self.stop(worker)

    def end_now(self, worker: Worker, reason: str) -> None:
        """End a worker that does not do what it is told, or cannot; what else runs in it is lost with it."""
        logger.info("worker %s is ended: %s", worker.id, reason)
        worker.state = WorkerState.DRAINING
        if worker.process is not None:
            worker.process.kill()

    def worker(self, worker_id: str) -> Worker | None:
        """The worker of this id, if it lives."""
        return self._by_id.get(worker_id)

    def evict_for(self, pool: Pool, endpoint: EndpointRecord, number: int) -> None:
        """End the idle workers of others that hold what so many workers of this pool need, the longest idle first."""
        if pool.blocked == NO_ROOM:
            self._evict(pool, list(self._by_id.values()), number, lambda worker: 1)
            return
        types, count = wanted_gpus(endpoint)
        kinds, missing = self._inventory.missing(types, count)
        missing += (number - 1) * count
        held = [worker for worker in self._by_id.values() if any(gpu.type in kinds for gpu in worker.grant.gpus)]
        self._evict(pool, held, missing, lambda worker: len(worker.grant.gpus))

    def _evict(self, pool: Pool, held: list[Worker], missing: int, size: Callable[[Worker], int]) -> None:
        """End idle workers among these until so much is free, or about to be."""
        ending = (WorkerState.DRAINING, WorkerState.GONE)
        missing -= sum(size(worker) for worker in held if worker.state in ending and not worker.running)
        idle = [worker for worker in held if worker.idle and worker.pool is not pool]
        for worker in sorted(idle, key=lambda worker: worker.idle_since):
            if missing > 0:
                missing -= size(worker)
                self.stop(worker)

    def check_leases(self) -> None:
        """Count workers that have been silent for a lease as lost."""
        for worker in list(self._fleet.workers()):
            if worker.link is not None and time.monotonic() - worker.last_beat > self._site.lease_s:
                if worker.process is not None:
                    worker.process.kill()
                logger.warning("worker %s is given up: it was silent for %g s", worker.id, self._site.lease_s)
                self._lost(worker, f"it was silent for {self._site.lease_s:g} s", [])

    def worker_keys(self) -> list[WorkerKey]:
        """The keys of the workers that live now."""
        return [WorkerKey(worker.key, worker.id, worker.owner, worker.project) for worker in self._by_id.values()]

    async def close(self) -> None:
        """End all workers and wait for their end."""
        self._closing = True
        for pool in self._fleet.pools.values():
            self.abandon(pool)
        for worker in list(self._by_id.values()):
            self._terminate(worker)
        _, pending = await asyncio.wait(self._tasks, timeout=_STOP_GRACE_S) if self._tasks else (set(), set())
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _end_if_given_up(self, worker: Worker) -> None:
        """One that could not be reached when its lease was over, and is back."""
        if worker.state is WorkerState.GONE and worker.process is not None:
            worker.process.kill()

    def _terminate(self, worker: Worker) -> None:
        if worker.process is not None:
            worker.process.terminate()
            asyncio.get_running_loop().call_later(_KILL_S, worker.process.kill)

    def _lost(self, worker: Worker, reason: str, stderr: list[str]) -> None:
        if worker.state is WorkerState.GONE:
            return
        pool, state = worker.pool, worker.state
        self._dispatcher.worker_lost(worker, reason, stderr)
        self.on_gone(worker)
        if state is WorkerState.DRAINING or self._closing:
            return
        self._announcer.ended(worker, reason)
        words = "\n".join([reason, *stderr[-20:]])
        pool.crashes = pool.crashes.after_end(was_ready=state is WorkerState.READY, reason=words, now=time.monotonic())
        if pool.crashes.hopeless:
            verdict, pool.crashes = pool.crashes.verdict(), Crashes()
            self._dispatcher.fail_pool(pool, ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", verdict))

    def _forget(self, worker: Worker, reason: str) -> None:
        self._by_id.pop(worker.id, None)
        self._inventory.release(worker.grant)
        self._lost(worker, reason, [])
        if worker.link is not None:
            worker.link.close()
        self.on_capacity()

    def _spawn(self, work: Any) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
