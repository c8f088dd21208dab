"""The loop around `scaling`: looks at an endpoint when its load changes or a timer of it runs out."""

import asyncio
import contextlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runpod_flash.control_plane import replacing, scaling, versions
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.fleet import Fleet, Job, Pool, Worker, WorkerState
from runpod_flash.control_plane.pools import Pools
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.supervisor import Supervisor
from runpod_flash.errors import EndpointNotFound

IDLE_STRANGERS = 4
"""Idle workers that an endpoint may keep beyond `workers` for other code versions and environments of the same name."""

PACE_S = 0.005
"""Seconds between two looks at an endpoint. Thousands of jobs that come and go change little from one to the next."""

CALM_S = 0.02
"""The same where all that has come runs: nobody waits for a worker, and idle ones end after seconds."""

FULL_S = 0.05
"""The same where jobs wait and there are as many workers as there may be. What changes that is looked at by itself."""


class Autoscaler:
    """Event driven: nothing runs while nothing changes.

    Attributes:
        rests: whether an endpoint has no minimum of workers for now, and its idle ones end at once.
    """

    def __init__(self, catalog: Catalog, fleet: Fleet, supervisor: Supervisor, pools: Pools) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._supervisor = supervisor
        self._pools = pools
        self._due: dict[str, asyncio.Handle] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._paced: dict[str, asyncio.TimerHandle] = {}
        self._calm: dict[str, asyncio.TimerHandle] = {}
        self._looked: dict[str, float] = {}  # when, by the clock of the loop
        self._full: set[str] = set()  # endpoints that had all the workers they may have when they were looked at
        self._closed = False
        self.rests: Callable[[EndpointRecord], bool] = lambda endpoint: False

    def load_changed(self, endpoint: str) -> None:
        """Look at the endpoint in the next turn of the loop."""
        if endpoint not in self._due and not self._closed:
            self._due[endpoint] = asyncio.get_running_loop().call_soon(self._look, endpoint)

    def jobs_changed(self, endpoint: str) -> None:
        """The same, but `PACE_S` after the last look; where no worker can be added, `FULL_S`; where nothing waits, in
        `CALM_S`.
        """
        if self._closed or endpoint in self._due or endpoint in self._paced:
            return
        waits = any(pool.has_work for pool in self._fleet.of(endpoint))
        if not waits and endpoint in self._calm:
            return
        loop = asyncio.get_running_loop()
        if not waits:
            self._calm[endpoint] = loop.call_later(CALM_S, self._after_pause, endpoint, self._calm)
            return
        pace = FULL_S if endpoint in self._full else PACE_S
        pause = self._looked.get(endpoint, -math.inf) + pace - loop.time()
        if pause <= 0:
            self.load_changed(endpoint)
        else:
            self._paced[endpoint] = loop.call_later(pause, self._after_pause, endpoint, self._paced)

    def _after_pause(self, endpoint: str, pauses: dict[str, asyncio.TimerHandle]) -> None:
        del pauses[endpoint]
        self.load_changed(endpoint)

    def begin(self) -> None:
        """Look at every endpoint whose workers need no call of us: it may want some before anybody asks."""
        for endpoint in self._catalog.list():
            if endpoint.runs_command or endpoint.artifact is not None:
                self.endpoint_changed(endpoint, False)

    def capacity_changed(self) -> None:
        """A place has become free: look at every endpoint that waits for one."""
        waiting = sorted(
            self._fleet.pools.values(), key=lambda pool: pool.queue[0].queued_at if pool.queue else math.inf
        )
        for endpoint in dict.fromkeys(pool.key.endpoint for pool in waiting):  # who waits longest comes first
            self.load_changed(endpoint)

    def endpoint_changed(self, endpoint: EndpointRecord, rolled: bool) -> None:
        """The endpoint was updated. `rolled`: its workers are of an old generation and are replaced.

        Those that answer requests go on with that until others can: see `replacing`. For endpoints with code of their
        own that takes jobs, see `versions`.
        """
        if endpoint.runs_command:
            self._pools.of_command(endpoint)
        for pool in self._fleet.of(endpoint.id):
            pool.name, pool.gave_up = endpoint.name, ""
            if rolled and not endpoint.has_own_calls:
                for worker in list(pool.workers.values()):
                    if not (endpoint.is_load_balanced and replacing.serves(worker)):
                        self._supervisor.retire(worker)
        self.load_changed(endpoint.id)

    def endpoint_deleted(self, endpoint: str) -> None:
        """The endpoint is gone: its workers end."""
        for pool in self._fleet.of(endpoint):
            for worker in list(pool.workers.values()):
                self._supervisor.stop(worker)

    def close(self) -> None:
        """Start and stop no workers any more."""
        self._closed = True
        for handle in [*self._due.values(), *self._paced.values(), *self._calm.values(), *self._timers.values()]:
            handle.cancel()

    def _look(self, endpoint_id: str) -> None:
        self._due.pop(endpoint_id, None)
        self._looked[endpoint_id] = asyncio.get_running_loop().time()
        try:
            endpoint = self._catalog.get(endpoint_id)
        except EndpointNotFound:
            del self._looked[endpoint_id]
            self._full.discard(endpoint_id)
            for pool in self._fleet.of(endpoint_id):
                self._supervisor.abandon(pool)
                self._fleet.discard(pool)
            return
        resting = self.rests(endpoint)
        limits = _limits(endpoint.body, resting=resting)
        idle_timeout = 0.0 if resting else _idle_timeout(endpoint.body)
        pools = versions.ordered(self._fleet.of(endpoint_id), endpoint)
        for worker in versions.outdated(endpoint, pools):
            self._supervisor.retire(worker)
        for position, pool in enumerate(pools):
            if versions.is_current(pool, endpoint) or (versions.is_old(pool, endpoint) and pool.queue):
                self._grow(endpoint, pool, pools, _limits_of(pool, limits, first=_is_first(pool, position, endpoint)))
        if endpoint.is_load_balanced:
            for worker in replacing.replaced(endpoint, pools, time.monotonic()):
                self._supervisor.retire(worker)
        self._shrink(endpoint, pools, limits, idle_timeout)
        self._yield_room(pools)
        for position, pool in enumerate(pools):
            remembers = limits.minimum and not position  # why it has no workers, of which it is to have some
            if not remembers and not (pool.gave_up and replacing.old_servers(endpoint, pools)):
                self._fleet.discard(pool)
        self._look_again(endpoint, pools, limits, idle_timeout)
        self._note_full(endpoint, pools, limits.maximum)

    def _grow(self, endpoint: EndpointRecord, pool: Pool, pools: list[Pool], limits: scaling.Limits) -> None:
        live = versions.live(pool, endpoint)
        wanted, room = scaling.decide(_load(pool, live, limits), limits), limits.maximum
        if endpoint.is_load_balanced:  # those of an old generation end as soon as the new ones are there
            wanted = max(wanted, len(replacing.old_servers(endpoint, pools)))
        elif not endpoint.has_own_calls:  # whose versions stand side by side until the old one has no jobs left
            room -= sum(other.busy for other in pools if other is not pool)
        missing = min(wanted, max(room, 0)) - len(live)
        pool.paused = "the endpoint has workers=0" if limits.maximum == 0 else ""
        pool.blocked, pool.throttled = "", 0
        if missing <= 0:
            if not pool.has_work:
                self._supervisor.abandon(pool)
            self._supervisor.tell(pool)
            return
        if (pool.gave_up and not pool.queue) or not self._supervisor.feasible(pool, endpoint):
            return
        if pool.crashes.retry_at > time.monotonic():
            self._supervisor.tell(pool)
            return
        if pool.environment is None or not pool.environment.whole:
            pool.environment = None
            self._supervisor.prepare(pool)
            return
        # A minimum of workers takes no place from those who wait for one.
        if pool.has_work or not self._others_are_blocked(pool):
            self._start(pool, endpoint, missing)

    def _start(self, pool: Pool, endpoint: EndpointRecord, number: int) -> None:
        for started in range(number):
            if not self._supervisor.start(pool, endpoint):
                pool.throttled = number - started
                if pool.has_work:
                    self._supervisor.evict_for(pool, endpoint, number - started)
                break

    def _others_are_blocked(self, pool: Pool) -> bool:
        return any(other is not pool for other in self._waiting_for_room())

    def _waiting_for_room(self) -> list[Pool]:
        return [pool for pool in self._fleet.pools.values() if pool.has_work and pool.blocked]

    def _yield_room(self, pools: list[Pool]) -> None:
        """Give the places of idle workers to pools that wait for some, which nobody looks at until a worker ends."""
        if any(worker.idle for pool in pools for worker in pool.workers.values()):
            for waiting in self._waiting_for_room():
                with contextlib.suppress(EndpointNotFound):
                    self._supervisor.evict_for(waiting, self._catalog.get(waiting.key.endpoint), 1)

    def _shrink(self, endpoint: EndpointRecord, pools: list[Pool], limits: scaling.Limits, timeout: float) -> None:
        now = time.monotonic()
        for position, pool in enumerate(pools):
            live = versions.live(pool, endpoint)
            idle = sorted((worker for worker in live if worker.idle), key=lambda worker: worker.idle_since)
            keep = scaling.needed(
                _load(pool, live, limits), _limits_of(pool, limits, first=_is_first(pool, position, endpoint))
            )
            over = max(0, len(live) - int(endpoint.body["workers"]["max"]))
            count = scaling.surplus(
                [now - worker.idle_since for worker in idle], workers=len(live), minimum=keep, idle_timeout=timeout
            )
            for worker in idle[: max(count, over)]:
                self._supervisor.stop(worker)
        strangers = [worker for pool in pools[1:] for worker in pool.workers.values() if worker.idle]
        strangers.sort(key=lambda worker: worker.idle_since)
        for worker in strangers[: max(0, len(strangers) - IDLE_STRANGERS)]:
            self._supervisor.stop(worker)

    def _note_full(self, endpoint: EndpointRecord, pools: list[Pool], most: int) -> None:
        waiting = [pool for pool in pools if pool.has_work]
        if waiting and all(len(versions.live(pool, endpoint)) >= most for pool in waiting):
            self._full.add(endpoint.id)
        else:
            self._full.discard(endpoint.id)

    def _look_again(self, endpoint: EndpointRecord, pools: list[Pool], limits: scaling.Limits, timeout: float) -> None:
        """Set the timer for the next moment at which something is due without a change of load."""
        now = time.monotonic()
        times = [worker.idle_since + timeout for pool in pools for worker in pool.workers.values() if worker.idle]
        if isinstance(limits.scaler, scaling.QueueDelay) and limits.scaler.seconds > 0:
            times += [
                job.queued_at + limits.scaler.seconds
                for pool in pools
                for job in itertools.islice(pool.queue, _runnable(limits.maximum, pool.key.concurrency))
            ]
        times += [pool.crashes.retry_at for pool in pools if pool.has_work or limits.minimum]
        old = self._timers.pop(endpoint.id, None)
        if old is not None:
            old.cancel()
        future = [moment for moment in times if moment > now]
        if future:
            loop = asyncio.get_running_loop()
            self._timers[endpoint.id] = loop.call_later(min(future) - now + 0.01, self.load_changed, endpoint.id)


def _load(pool: Pool, live: list[Worker], limits: scaling.Limits) -> scaling.Load:
    low = low_running = 0
    if pool.has_low_priority:
        low = _of_low_priority([*pool.queue, *(job for worker in pool.holding for job in worker.ahead.values())])
        low_running = _of_low_priority(job for worker in live for job in worker.running.values())
    return scaling.Load(
        queued=len(pool.queue) + pool.ahead - low + pool.waiting_requests,
        running=sum(len(worker.running) + worker.requests for worker in live) - low_running,
        workers=len(live),
        starting=sum(worker.state is WorkerState.STARTING for worker in live),
        overdue=_overdue(pool, limits),
        low_priority=low,
        low_priority_running=low_running,
    )


def _of_low_priority(jobs: Iterable[Job]) -> int:
    return sum(job.record.low_priority for job in jobs)


def _overdue(pool: Pool, limits: scaling.Limits) -> int:
    """How many jobs have waited too long; more than the maximum can run are not counted."""
    if not isinstance(limits.scaler, scaling.QueueDelay):
        return 0
    latest = time.monotonic() - limits.scaler.seconds
    normal = (job for job in pool.queue if not job.record.low_priority)
    return sum(job.queued_at < latest for job in itertools.islice(normal, _runnable(limits.maximum, limits.slots)))


def _runnable(workers: int, slots: int) -> int:
    """How many jobs so many workers run at a time, as a number that can be counted to."""
    return min(workers * slots, sys.maxsize)


def _is_first(pool: Pool, position: int, endpoint: EndpointRecord) -> bool:
    return position == 0 and not versions.is_old(pool, endpoint)


def _limits_of(pool: Pool, limits: scaling.Limits, *, first: bool) -> scaling.Limits:
    """The endpoint's limits for one of its pools: the minimum is for the one that was used last."""
    minimum = limits.minimum if first else 0
    return scaling.Limits(minimum, limits.maximum, limits.scaler, pool.key.concurrency)


def _limits(body: Mapping[str, Any], *, resting: bool = False) -> scaling.Limits:
    workers, wish = body["workers"], body["scaling"]
    scaler: scaling.QueueDelay | scaling.RequestCount
    if wish["type"] == "REQUEST_COUNT":
        scaler = scaling.RequestCount(int(wish["requestCount"]))
    else:
        scaler = scaling.QueueDelay(float(wish["queueDelay"]))
    return scaling.Limits(0 if resting else int(workers["min"]), int(workers["max"]), scaler)


def _idle_timeout(body: Mapping[str, Any]) -> float:
    return float(body["workers"].get("idleTimeout") or 10)
