"""Jobs for workers that ask for them: Runpod's worker protocol, without its HTTP.

A worker holds a request open until there is a job (a take), another one until a job shall stop, and says again and
again which jobs it has. So a job that gets lost on its way is noticed, one that ignores its cancellation is ended with
its worker, and nobody is asked to run what nobody waits for.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from runpod_flash.control_plane.couriers import Goods
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Job, Worker, WorkerState
from runpod_flash.control_plane.limits import Limits

logger = logging.getLogger(__name__)

_RELEASED_AFTER: Final = 2  # pings that do not name a job whose end is decided; the first may have been under way


@dataclass(slots=True, eq=False)
class _Take:
    """An open request for so many jobs; `done` resolves when it is to be answered."""

    number: int
    done: "asyncio.Future[None]"
    jobs: list[tuple[Job, Goods]] = field(default_factory=list)
    overdue: bool = False  # it is held open for what is on its way already, and for nothing else

    def close(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


@dataclass(slots=True, eq=False)
class _Station:
    """What is between the control plane and one worker."""

    take: _Take | None = None
    promised: int = 0  # jobs on their way to the open take
    stopping: dict[str, None] = field(default_factory=dict)  # ids of jobs that shall stop, not told yet
    told: set[str] = field(default_factory=set)  # ids of jobs that the last answer said shall stop
    heard: set[str] = field(default_factory=set)  # ids of jobs of which the worker has read that they shall stop
    overdue: set[str] = field(default_factory=set)  # those of them whose grace is over: the next pings tell
    called: asyncio.Event = field(default_factory=asyncio.Event)  # there is something in `stopping`
    leaving: asyncio.Event = field(default_factory=asyncio.Event)  # the worker is to end: nothing is held open
    silence: dict[str, int] = field(default_factory=dict)  # pings in a row that did not name a job


class TakeDesk:
    """Hands jobs to those who ask. Implements `Courier`.

    Attributes:
        end_worker: ends a worker at once; called with it and the reason.
        look_at: called when a worker has let go of a job without an answer.
        unseal: gives back what only a worker may read.
    """

    def __init__(self, dispatcher: Dispatcher, limits: Limits, cancel_grace_s: float) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._cancel_grace_s = cancel_grace_s
        self._stations: dict[str, _Station] = {}
        self.end_worker: Callable[[Worker, str], None] = lambda worker, reason: None
        self.look_at: Callable[[Worker], None] = lambda worker: None
        self.unseal: Callable[[str], Mapping[str, Any]] = lambda text: {}

    # ---- what workers ask and say

    async def take(self, worker: Worker, number: int, *, busy: bool) -> list[dict[str, Any]]:
        """Up to `number` jobs as the worker gets them, none where none came while this was held open.

        `busy`: the worker has jobs. Cancelling this (the worker has gone away) puts back what it would have got.
        """
        station = self._station(worker)
        if station.take is not None:  # the worker has given that one up and asks again
            self._end(worker, station, station.take)
        if not busy:
            self._release_decided(worker)
        if worker.state not in (WorkerState.STARTING, WorkerState.READY):
            await _within(station.leaving.wait(), self._limits.take_hold_s)
            return []
        take = self._open(worker, station, number)
        try:
            if not await _within(asyncio.shield(take.done), self._limits.take_hold_s) and station.promised:
                take.overdue = True
                self._reckon(worker, station)
                await take.done  # a job is on its way already; what it waits for is a commit
        except asyncio.CancelledError:
            self._end(worker, station, take)
            self._put_back(worker, take)
            raise
        if station.take is not take:  # the worker has asked again, so that nobody hears this answer
            self._put_back(worker, take)
            return []
        self._end(worker, station, take)
        return [_shown(job, goods) for job, goods in take.jobs]

    async def stops(self, worker: Worker) -> list[str]:
        """The ids of jobs that the worker shall stop; none where there were none while this was held open."""
        station = self._station(worker)
        self._heard(station)
        await _within(station.called.wait(), self._limits.take_hold_s)
        stopping = list(station.stopping)
        station.told.update(stopping)
        station.stopping.clear()
        if not station.leaving.is_set():
            station.called.clear()
        return stopping

    def pinged(self, worker: Worker, jobs: Collection[str], *, names_jobs: bool) -> None:
        """The worker says which jobs it has, if it `names_jobs` at all: the oldest packages do not."""
        station = self._station(worker)
        silence = station.silence
        if not (names_jobs or jobs):
            return
        for job_id, job in list(worker.running.items()):
            if not job.sent:
                continue
            silence[job_id] = 0 if job_id in jobs else silence.get(job_id, 0) + 1
            if job.decided and silence[job_id] >= _RELEASED_AFTER:
                self._dispatcher.released(worker, job)
            elif job.decided and job_id in station.overdue and silence[job_id] == 0:
                self._give_up(worker, job)
                return
            elif job.decided and job_id in station.heard and silence[job_id] == 0:
                self._tell(station, job_id)  # the package drops what it is told before it has begun with a job
                continue
            elif not job.decided and silence[job_id] >= self._limits.silent_pings:
                self._dispatcher.dropped(worker, job, "its worker took it and does not know it any more")
            else:
                continue
            self.look_at(worker)
        for job_id in [each for each in silence if each not in worker.running]:
            del silence[job_id]
        station.heard.intersection_update(worker.running)
        station.overdue.intersection_update(worker.running)

    # ---- what the dispatcher wants (couriers.Courier)

    def promise(self, worker: Worker) -> None:
        station = self._station(worker)
        station.promised += 1
        self._reckon(worker, station)

    def withdraw(self, worker: Worker) -> None:
        station = self._station(worker)
        station.promised -= 1
        self._answer_if_complete(station)
        self._reckon(worker, station)
        if worker.offers:
            self._dispatcher.pump(worker.pool)

    def must_read(self, job: Job) -> bool:
        return job.record.sealed is not None

    async def read(self, job: Job) -> Goods:
        """What the worker alone may know of it. Raises StoreError."""
        if job.record.sealed is None:
            return ()
        return [("s3Config", json.dumps(dict(self.unseal(job.record.sealed))).encode())]

    def hand_over(self, job: Job, worker: Worker, goods: Goods) -> bool:
        station = self._station(worker)
        if station.take is None or station.take.done.done():
            return False
        station.promised -= 1
        station.silence.pop(job.record.id, None)
        station.stopping.pop(job.record.id, None)  # that was about an earlier attempt
        for ids in (station.told, station.heard, station.overdue):
            ids.discard(job.record.id)
        station.take.jobs.append((job, goods))
        self._answer_if_complete(station)
        self._reckon(worker, station)
        return True

    def call_off(self, job: Job, worker: Worker) -> None:
        self._tell(self._station(worker), job.record.id)
        asyncio.get_running_loop().call_later(self._cancel_grace_s, self._grace_over, job, worker)

    # ---- what the supervisor wants

    def let_go(self, worker: Worker) -> None:
        """The worker is to end: answer what it holds open."""
        station = self._station(worker)
        station.leaving.set()
        station.called.set()
        if station.take is not None and not station.promised:
            station.take.close()

    def forget(self, worker: Worker) -> None:
        """The worker has gone."""
        self.let_go(worker)
        self._stations.pop(worker.id, None)

    # ---- inside

    def _station(self, worker: Worker) -> _Station:
        station = self._stations.get(worker.id)
        if station is None:
            station = _Station()
            if worker.state is WorkerState.GONE:  # what is under way with it ends, and is not kept
                station.leaving.set()
                station.called.set()
            else:
                self._stations[worker.id] = station
        return station

    def _open(self, worker: Worker, station: _Station, number: int) -> _Take:
        take = station.take = _Take(number, asyncio.get_running_loop().create_future())
        self._reckon(worker, station)
        if worker.state is WorkerState.STARTING:
            self._dispatcher.worker_ready(worker)
        else:
            self._dispatcher.pump(worker.pool)
        return take

    def _answer_if_complete(self, station: _Station) -> None:
        take = station.take
        if take is None:
            return
        waits = not (take.jobs or take.overdue or station.leaving.is_set())
        if len(take.jobs) >= take.number or (station.promised <= 0 and not waits):
            take.close()

    def _reckon(self, worker: Worker, station: _Station) -> None:
        """How many more jobs the open take may get."""
        take = station.take
        is_open = take is not None and not (take.done.done() or take.overdue)
        worker.offers = max(0, take.number - len(take.jobs) - station.promised) if take is not None and is_open else 0
        self._dispatcher.free(worker)

    def _end(self, worker: Worker, station: _Station, take: _Take) -> None:
        """The request is answered, or there is nobody any more to answer."""
        take.close()
        if station.take is take:
            station.take, worker.offers = None, 0
            self._dispatcher.free(worker)

    def _put_back(self, worker: Worker, take: _Take) -> None:
        for job, _ in reversed(take.jobs):  # each goes to the front
            self._dispatcher.not_taken(worker, job)

    def _release_decided(self, worker: Worker) -> None:
        for job in [job for job in worker.running.values() if job.sent and job.decided]:
            self._dispatcher.released(worker, job)
            self.look_at(worker)

    def _grace_over(self, job: Job, worker: Worker) -> None:
        if worker.running.get(job.record.id) is not job or worker.state is WorkerState.GONE:
            return
        station = self._station(worker)
        if job.record.id in station.heard and station.silence.get(job.record.id) != 0:
            station.overdue.add(job.record.id)  # it may have let go of the job, and have others: its pings will tell
        else:
            self._give_up(worker, job)

    def _give_up(self, worker: Worker, job: Job) -> None:
        self.end_worker(worker, f"job {job.record.id} did not stop within {self._cancel_grace_s:g} s")

    @staticmethod
    def _tell(station: _Station, job_id: str) -> None:
        station.stopping[job_id] = None
        station.called.set()

    def _heard(self, station: _Station) -> None:
        """The worker asks again, so it has read the last answer: it does not block."""
        for job_id in station.told:
            station.silence.pop(job_id, None)
        station.heard |= station.told
        station.told.clear()


def _shown(job: Job, goods: Goods) -> dict[str, Any]:
    """The job as the worker gets it."""
    shown: dict[str, Any] = {"id": job.record.id, "input": job.record.input_json}
    if job.record.webhook is not None:
        shown["webhook"] = job.record.webhook
    return {**shown, **{name: json.loads(data) for name, data in goods}}


async def _within(waiting: Any, seconds: float) -> bool:
    """Whether something came within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True
