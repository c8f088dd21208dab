"""Which worker gets which job: the queues, what a worker has ahead, and the way of an attempt until it is sent.

queue ── a worker is free ─────────────▶ running ── done
  ▲  └── none is, and calls are short ─▶ ahead ────▶ running, when what was before it has ended
  └──── taken back: what it waits behind takes longer than such calls do, or its worker is to end
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from runpod_flash.control_plane import lifecycle
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.couriers import Courier, LinkCourier
from runpod_flash.control_plane.deadlines import Deadlines
from runpod_flash.control_plane.fleet import Job, Pool, Worker, WorkerState
from runpod_flash.control_plane.homes import INSTANCES_PER_WORKER, Homes
from runpod_flash.control_plane.lender import Lender, NoLoans
from runpod_flash.control_plane.recorder import Recorder
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.turn import Step, Turn
from runpod_flash.errors import BackendError
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind

TELL_S: Final = 0.05
"""So often, in seconds, clients are told what changes in a queue."""

_LOOK_S: Final = (0.01, 0.05)  # between two looks at those who have jobs ahead: at least, at most


class Assigning:
    """Hands jobs out.

    Attributes:
        taking: the way to workers whose commands ask for their jobs.
        homes: where the objects of remote classes live.
        held: nothing is handed out.
        fail: ends a job with an error.
        again: queues a job once more, with this record.
        changed: called with a pool where jobs or slots have become free.
        loans: which workers are lent to clients.
        on_load: called, at the end of a turn or in a moment, with the id of each endpoint whose jobs or free slots have
            changed.
    """

    def __init__(
        self, links: LinkCourier, recorder: Recorder, deadlines: Deadlines, announcer: Announcer, turn: Turn
    ) -> None:
        self._links, self._turn = links, turn
        self.taking: Courier = links
        self._recorder = recorder
        self._deadlines = deadlines
        self._announcer = announcer
        self.homes = Homes(self._rebuilt)
        self.held = False
        self._looking: asyncio.TimerHandle | None = None
        self._holding: dict[Pool, None] = {}  # pools with jobs that are ahead
        self._late: dict[Pool, None] = {}  # pools whose clients are told in a moment
        self._untold: dict[Pool, None] = {}  # pools where something has changed in this turn
        self.fail: Callable[[Job, ErrorInfo], None] = lambda job, error: None
        self.again: Callable[[Job, JobRecord], None] = lambda job, record: None
        self.changed: Callable[[Pool], None] = lambda pool: None
        self.loans: Lender = NoLoans()
        self.on_load: Callable[[str], None] = lambda endpoint: None

    # ---- jobs go out

    def queue(self, job: Job) -> None:
        """Put a job at the end of its queue: the pool's, or that of the worker where its object lives."""
        home = self.homes.of(job)
        if home is None:
            job.pool.queue.append(job)
        else:
            self._queue_at(job, home)

    @staticmethod
    def unqueue(job: Job) -> None:
        """Take a job out of where it waits."""
        for queue in (job.pool.queue, *(one.queue for one in job.pool.homes)):
            with contextlib.suppress(ValueError):  # it waits in one of them only
                queue.remove(job)
        job.pool.pausing.discard(job)

    def came(self, job: Job) -> None:
        """Queue a job that has come, and hand it out where nobody waits before it."""
        self.queue(job)
        pool = job.pool
        if len(pool.queue) > 1 and pool.queue[-1] is job and not pool.lent:
            self.look_at(pool)  # whom those before it wait for, it waits for, too
        else:
            self.pump(pool)

    def pump(self, pool: Pool) -> None:
        """Hand queued jobs to workers until one of both runs out."""
        for home in list(pool.homes):
            while home.queue and not self.resting and self._has_place(home, home.queue[0]):
                self._assign(home.queue.popleft(), home)
            if not home.queue:
                del pool.homes[home]
        while pool.queue and not self.resting:
            job = pool.queue[0]
            worker = None if job.decided else self._choose(pool, job)
            if worker is None and not job.decided:
                break
            pool.queue.popleft()
            if worker is not None and (job.instance is None or self._has_place(worker, job)):
                self._assign(job, worker)
            elif worker is not None:
                self._queue_at(job, worker)
        if pool.lent and (pool.queue or pool.homes):
            self.loans.wanted(pool)
        if not pool.queue and pool.holding and pool.pace.is_worth_moving:
            self._move(pool)
        self.look_at(pool)

    @property
    def resting(self) -> bool:
        """Whether nothing is handed out at the moment."""
        return self.held or self._recorder.stalled

    def courier(self, pool: Pool) -> Courier:
        """The way to the pool's workers."""
        return self.taking if pool.code is None else self._links

    def _queue_at(self, job: Job, home: Worker) -> None:
        home.queue.append(job)
        home.pool.homes[home] = None

    def _choose(self, pool: Pool, job: Job) -> Worker | None:
        """The worker for a queued job: where its instance lives, else the freest one; None while all are busy."""
        if job.instance is not None:
            return self._home(pool, job, job.instance)
        if job.record.attempts:  # a worker that still has to stop an earlier attempt could not tell the two apart
            worker = pool.freedom.freest(lambda one: job.record.id not in one.running)
        else:
            worker = pool.freedom.freest()
            if worker is not None and worker.recalled:
                worker = pool.freedom.freest(lambda one: not one.recalled)
        return worker if worker is not None and self._has_place(worker, job) else None

    def _has_place(self, worker: Worker, job: Job) -> bool:
        return worker.free_slots > 0 or self._may_be_ahead(worker, job)

    @staticmethod
    def _may_be_ahead(worker: Worker, job: Job) -> bool:
        """Whether a job may wait in the worker for its turn. Only one that has never been sent: see decision 0023."""
        pool = worker.pool
        if len(worker.ahead) >= pool.pace.depth or not job.patient or job.record.attempts:
            return False
        if worker.recalled or worker.loan is not None:
            return False
        return pool.key.concurrency == 1 and worker.state is WorkerState.READY and _is_sure(worker)

    def _home(self, pool: Pool, job: Job, instance: str) -> Worker | None:
        bound = self.homes.of(job)
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
            self.fail(job, ErrorInfo(ErrorKind.INFEASIBLE, "TooManyInstances", _TOO_MANY_INSTANCES))
            return None
        self.homes.bind(job, instance, home)
        return home

    def _rebuilt(self, job: Job, instance: str, worker: Worker) -> None:
        if job.client is not None:
            text = f"the worker of object {instance} was lost; the object is built anew from its constructor arguments"
            self._announcer.notice_to(job.client, job.pool, f"rebuilt {instance} {worker.id}", text)

    def _assign(self, job: Job, worker: Worker) -> None:
        if job.decided:
            return
        started = lifecycle.start(job.record, worker.id, time.time())
        job.sent, job.attempt, job.worker = False, started.attempts, worker
        if worker.free_slots > 0:
            worker.running[job.record.id] = job
            self._begins(job, worker, started)
        else:
            job.ahead = started
            worker.ahead[job.record.id] = job
            worker.pool.holding[worker] = None
            self._holding[worker.pool] = None
            self._look_within(worker.begun_at + worker.pool.pace.patience_s - time.monotonic())
        worker.pool.freedom.changed(worker)
        self.courier(job.pool).promise(worker)
        self._recorder.start(job, started, lambda written: self._started(job, worker, started.attempts, written))

    def _begins(self, job: Job, worker: Worker, record: JobRecord) -> None:
        job.record, worker.begun_at = record, time.monotonic()
        self._deadlines.started(job)

    def _started(self, job: Job, worker: Worker, attempt: int, written: bool) -> None:
        """The start is on disk, or could not be written. Never more starts than the store knows of."""
        courier = self.courier(job.pool)
        if not written:
            self._not_sent(job, worker, attempt)
            courier.withdraw(worker)
        elif courier.must_read(job):
            self._recorder.spawn(self._read_and_send(job, worker, attempt))
        else:
            self._send(job, worker, attempt, ())

    async def _read_and_send(self, job: Job, worker: Worker, attempt: int) -> None:
        courier = self.courier(job.pool)
        try:
            goods = await courier.read(job)
        except (OSError, BackendError) as error:
            self._give_up(job, worker, attempt, f"the call's data cannot be read: {error}")
            courier.withdraw(worker)
        else:
            self._send(job, worker, attempt, goods)

    def _send(self, job: Job, worker: Worker, attempt: int, goods: Sequence[tuple[str, bytes]]) -> None:
        courier = self.courier(job.pool)
        try:
            if is_current(job, worker, attempt):  # else cancelled, or the worker was lost, while this waited
                job.sent = courier.hand_over(job, worker, goods)
                worker.begun_at = time.monotonic() if job.ahead is None else worker.begun_at
                if not job.sent and worker.state is not WorkerState.GONE:
                    self._not_sent(job, worker, attempt)
        except (OSError, BackendError) as error:
            self._give_up(job, worker, attempt, f"the call's data cannot be read: {error}")
        finally:
            if not job.sent:
                courier.withdraw(worker)

    def _not_sent(self, job: Job, worker: Worker, attempt: int) -> None:
        """The start could not be written or not be sent, so it did not happen; the job waits for another."""
        if is_current(job, worker, attempt):
            record = never_begun(job)
            self.release(worker, job)
            self.again(job, record)
            self.changed(job.pool)

    def _give_up(self, job: Job, worker: Worker, attempt: int, reason: str) -> None:
        if is_current(job, worker, attempt):
            self.release(worker, job)
            self.fail(job, ErrorInfo(ErrorKind.PLATFORM, "PlatformError", reason))
            self.changed(job.pool)

    # ---- jobs end, or come back

    def free(self, worker: Worker) -> None:
        """A worker can take jobs, or more of them."""
        worker.pool.freedom.changed(worker)

    def release(self, worker: Worker, job: Job) -> None:
        """A worker has a job no more; the next one that it has begins."""
        worker.ahead.pop(job.record.id, None)
        if job.sent and job.call is not None and job.call.values:
            self._links.memory.returned(worker.id, job.call)
        was_running = worker.running.pop(job.record.id, None) is not None
        job.worker = job.ahead = None
        worker.idle_since = time.monotonic()
        if was_running and worker.pool.key.concurrency == 1 and worker.pool.code is not None:
            self._next(worker)
        worker.pool.freedom.changed(worker)

    def _next(self, worker: Worker) -> None:
        """What has run in a worker of one slot has ended: of those that were ahead the first one runs."""
        job_id = next(iter(worker.ahead), None)
        if job_id is not None:
            job = worker.ahead.pop(job_id)
            worker.running[job_id] = job
            assert job.ahead is not None
            record, job.ahead = job.ahead, None
            if not job.decided:
                self._begins(job, worker, record.changed(started_at=time.time()))

    def given_back(self, worker: Worker, jobs: Iterable[tuple[str, int]]) -> None:
        """A worker has not begun these attempts, and will not: they wait for another. It has answered."""
        worker.recalled = False
        for job_id, attempt in jobs:
            job = find(worker, job_id)
            if job is None or job.attempt != attempt:
                continue
            record, queued_at = never_begun(job), job.queued_at
            self.release(worker, job)
            if not job.decided:
                self.again(job, record)
                job.queued_at = queued_at  # it has waited all the time
        self.changed(worker.pool)

    def recall(self, worker: Worker, most: int | None = None) -> None:
        """Ask a worker for what it has not begun; for so many jobs, the last ones, None: for all."""
        jobs = [job for job in worker.ahead.values() if job.sent]
        if not jobs or worker.recalled or worker.link is None:
            return
        wanted = jobs if most is None else jobs[-most:]
        worker.recalled = True
        worker.link.send({"type": messages.TAKE_BACK, "jobs": [job.record.id for job in wanted]})

    def recall_all(self, pool: Pool) -> None:
        """Nothing is handed out any more: what has not begun waits for the next start."""
        for worker in list(pool.holding):
            self.recall(worker)

    def _move(self, pool: Pool) -> None:
        """Bring a call that waits behind another to a worker that has become free."""
        free = pool.freedom.freest()
        if free is None or free.free_slots <= 0:
            return
        free_to_go = [one for one in pool.holding if any(job.instance is None for job in one.ahead.values())]
        fullest = max(free_to_go, key=lambda one: len(one.ahead), default=None)
        if fullest is not None:
            self.recall(fullest, 1)

    def _look_within(self, seconds: float) -> None:
        if self._looking is None:
            least, most = _LOOK_S
            self._looking = self._turn.loop.call_later(min(max(seconds, least), most), self._look)

    def _look(self) -> None:
        """Take back what waits behind a call that turns out to be long; look again when the first could be that."""
        self._looking = None
        now, left = time.monotonic(), math.inf
        for pool in list(self._holding):
            patience_s = pool.pace.patience_s
            for worker in list(pool.holding):
                due = worker.begun_at + patience_s - now
                if not worker.ahead:
                    del pool.holding[worker]
                elif due < 0:
                    self.recall(worker)
                else:
                    left = min(left, due)
            if not pool.holding:
                del self._holding[pool]
        if self._holding:
            self._look_within(left)

    def look_at(self, pool: Pool) -> None:
        """Something has changed in the pool: whoever is concerned is told at the end of this turn, or in a moment where
        that was done a moment ago.
        """
        if pool in self._untold:
            return
        if pool.is_calm and not pool.told:  # there is nothing to tell, but for who looks after idle workers
            if pool in self._late:
                return
            self._tell_later(pool)
        if not self._untold:
            self._turn.at_end(Step.STAGES, self._tell_all)
        self._untold[pool] = None

    def _tell_all(self) -> None:
        pools, self._untold = self._untold, {}
        now = time.monotonic()
        for pool in pools:
            if pool.has_work and now < pool.told_at + TELL_S:
                self._tell_later(pool)
                continue
            if pool.has_work:
                pool.told_at = now
            self._announcer.refresh(pool)
        self._tell_load(pools)

    def _tell_load(self, pools: Iterable[Pool]) -> None:
        for endpoint in dict.fromkeys([pool.key.endpoint for pool in pools]):
            self.on_load(endpoint)

    def _tell_later(self, pool: Pool) -> None:
        """Nobody reads more often what thousands of jobs wait for."""
        if not self._late:
            self._turn.loop.call_later(TELL_S, self._tell_late)
        self._late[pool] = None

    def _tell_late(self) -> None:
        pools, self._late = self._late, {}
        now = time.monotonic()
        for pool in pools:
            pool.told_at = now
            self._announcer.refresh(pool)
        self._tell_load(pools)


def find(worker: Worker, job_id: str) -> Job | None:
    """The job that a worker runs, or has ahead."""
    return worker.running.get(job_id) or worker.ahead.get(job_id)


def is_current(job: Job, worker: Worker, attempt: int) -> bool:
    """Whether the worker still has this attempt."""
    return find(worker, job.record.id) is job and job.attempt == attempt


def never_begun(job: Job) -> JobRecord:
    """The record of a job whose attempt is certain not to have begun; its number is used up all the same."""
    return job.record if job.decided else lifecycle.unstart(job.ahead or job.record)


def _is_sure(worker: Worker) -> bool:
    """Whether what it runs will be sent before what is assigned now: nothing must be read for it first."""
    return all(job.sent or (job.call is not None and not job.call.values) for job in worker.running.values())


_TOO_MANY_INSTANCES = (
    f"every worker holds {INSTANCES_PER_WORKER} objects of remote classes; drop some (delete them) or raise workers="
)
