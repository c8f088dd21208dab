"""Workers that answer HTTP requests: between the gateway, which knows requests, and those who start and end workers."""

import asyncio
import time
from collections.abc import Callable, Iterator

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.balancing.gateway import Authorize, Gateway
from runpod_flash.control_plane.balancing.health import Health, HealthChecks, health_url
from runpod_flash.control_plane.balancing.late_client import LateClient
from runpod_flash.control_plane.balancing.picking import Upstream
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Fleet, Pool, Worker, WorkerState
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.served_code import ServedCode
from runpod_flash.control_plane.supervisor import Supervisor
from runpod_flash.errors import ConfigError, EndpointNotFound
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind


class BalancedWorkers:
    """Implements what the gateway needs of workers, and tells those who start and end them how much there is to do.

    Attributes:
        gateway: takes the requests.
        on_load: called with an endpoint's id whenever the number of its requests changes.
    """

    def __init__(
        self,
        catalog: Catalog,
        fleet: Fleet,
        dispatcher: Dispatcher,
        supervisor: Supervisor,
        announcer: Announcer,
        served: ServedCode,
        limits: Limits,
        authorize: Authorize,
    ) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._dispatcher = dispatcher
        self._supervisor = supervisor
        self._served = served
        self._announcer = announcer
        self._limits = limits
        self._client = LateClient()
        self._checks = HealthChecks(limits, self._client, self._health_changed)
        self.gateway = Gateway(self, limits, self._client, authorize)
        self.gateway.loads.on_change = self._load_changed
        self.on_load: Callable[[str], None] = lambda endpoint: None
        served.on_known = self._served_known

    # ---- what the gateway asks

    def of(self, endpoint_id: str) -> Iterator[Upstream]:
        """The endpoint's workers."""
        for pool in self._fleet.of(endpoint_id):
            for worker in pool.workers.values():
                ready = worker.state is WorkerState.READY
                draining = worker.state in (WorkerState.DRAINING, WorkerState.GONE)
                healthy, keeps = ready and worker.healthy, pool.code is not None
                yield Upstream(worker.id, worker.port, healthy, draining, worker.generation, keeps)

    def hopeless(self, endpoint_id: str) -> str | None:
        """Why no worker of the endpoint will ever come."""
        try:
            endpoint = self._catalog.get(endpoint_id)
        except EndpointNotFound:
            return "no workers available"
        if int(endpoint.body["workers"]["max"]) == 0:
            return "no workers available"
        refusal = self._supervisor.refusal(endpoint)
        if refusal is not None:
            return refusal.message
        no_place = self._served.refusal(endpoint_id)
        return no_place or next((pool.gave_up for pool in self._fleet.of(endpoint_id) if pool.gave_up), None)

    def are_waited_for(self, endpoint_id: str) -> None:
        """A request has come that no worker takes now: what was given up is tried again."""
        try:
            endpoint = self._catalog.get(endpoint_id)
        except EndpointNotFound:
            return
        if self._served.refusal(endpoint_id) is not None:
            self._served.look(endpoint)
        for pool in self._fleet.of(endpoint_id):
            pool.gave_up = ""
        self.on_load(endpoint_id)

    @property
    def quiet_since(self) -> float | None:
        """Since when there is no request (monotonic seconds); None while there is one."""
        loads = self.gateway.loads
        return None if loads.any else loads.changed_at

    def serves(self, endpoint_id: str) -> bool:
        """Whether there is a load-balanced endpoint of this id."""
        try:
            return self._catalog.get(endpoint_id).is_load_balanced
        except EndpointNotFound:
            return False

    # ---- what the supervisor says

    def connected(self, worker: Worker) -> None:
        """The worker's command, or server, has been started."""
        try:
            endpoint = self._catalog.get(worker.pool.key.endpoint)
            env = {} if endpoint.artifact is not None else endpoint.body.get("env") or {}
            url = health_url({**env, "PORT_HEALTH": str(worker.port)}, worker.port)
        except EndpointNotFound:
            return  # its workers are ended
        except ConfigError as error:
            self._dispatcher.fail_pool(worker.pool, ErrorInfo(ErrorKind.INFEASIBLE, "Infeasible", str(error)))
            self._supervisor.stop(worker)
            return
        self._checks.watch(worker.id, url)

    def look(self, endpoint_id: str) -> None:
        """Something has changed at an endpoint, perhaps that no worker of it will come."""
        try:
            concerned = self._catalog.get(endpoint_id).is_load_balanced
        except EndpointNotFound:
            concerned = True  # who waits there waits in vain
        if concerned:
            self.gateway.changed(endpoint_id)

    def leaving(self, worker: Worker) -> None:
        """The worker gets no more requests."""
        self._checks.forget(worker.id)
        self.gateway.changed(worker.pool.key.endpoint)

    async def close(self) -> None:
        """End what runs: requests, health checks, the way to workers."""
        self.gateway.close()
        await self._checks.close()
        await self._client.close()

    # ---- inside

    def _health_changed(self, worker_id: str, health: Health) -> None:
        worker = self._supervisor.worker(worker_id)
        if worker is None:
            return
        worker.healthy = health is Health.HEALTHY
        if health is Health.HEALTHY and worker.state is WorkerState.STARTING:
            self._dispatcher.worker_ready(worker)
        elif health is Health.GIVEN_UP:
            _kill(worker)
        elif health is Health.UNHEALTHY:
            asyncio.get_running_loop().call_later(self._limits.unhealthy_s, self._replace, worker)
        self.gateway.changed(worker.pool.key.endpoint)

    def _replace(self, worker: Worker) -> None:
        if worker.state is WorkerState.READY and self._checks.health(worker.id) is Health.UNHEALTHY:
            _kill(worker)

    def _load_changed(self, endpoint_id: str) -> None:
        """Bring the counts of requests to the endpoint's pools and workers, which the autoscaler looks at."""
        waiting = self.gateway.loads.of(endpoint_id).waiting
        current = self._pool(endpoint_id)
        if current is not None:
            current.waiting_requests = waiting
            self._announcer.heard_by(current, self.gateway.loads.clients(endpoint_id))
        uses = self.gateway.loads.uses(endpoint_id)
        for pool in self._fleet.of(endpoint_id):
            if pool is not current:  # of what was served before
                pool.waiting_requests = 0
            for worker in pool.workers.values():
                self._count(worker, uses[worker.id].in_flight if worker.id in uses else 0)
        self.on_load(endpoint_id)

    def _count(self, worker: Worker, requests: int) -> None:
        before, worker.requests = worker.requests, requests
        if before and not requests:
            worker.idle_since = time.monotonic()
            self._supervisor.look_at(worker)

    def _pool(self, endpoint_id: str) -> Pool | None:
        """The pool that gets the endpoint's requests; None where there is none, or none yet."""
        try:
            endpoint = self._catalog.get(endpoint_id)
        except EndpointNotFound:
            return next(iter(self._fleet.of(endpoint_id)), None)
        if endpoint.artifact is None:
            return self._dispatcher.pools.of_command(endpoint)
        return self._served.pool(endpoint)

    def _served_known(self, endpoint_id: str) -> None:
        """It is known now which pool runs the endpoint's own code, or that none does."""
        if self.serves(endpoint_id):
            self._load_changed(endpoint_id)
            self.gateway.changed(endpoint_id)
        else:  # it takes jobs, or has been deleted
            self.on_load(endpoint_id)


def _kill(worker: Worker) -> None:
    """End a worker as if it had ended by itself: that counts as a crash, and starting others is spaced out."""
    if worker.process is not None:
        worker.process.kill()
