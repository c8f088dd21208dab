"""Who gets which job. Decides in memory; `recorder` makes it last; answers are given after the commit."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from runpod_flash.control_plane import lifecycle
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.assigning import Assigning, find, is_current, never_begun
from runpod_flash.control_plane.couriers import Courier, LinkCourier
from runpod_flash.control_plane.crashes import Crashes
from runpod_flash.control_plane.deadlines import Deadlines
from runpod_flash.control_plane.fleet import Fleet, Job, Pool, Worker, WorkerState
from runpod_flash.control_plane.job_logs import LogTail
from runpod_flash.control_plane.lender import Lender
from runpod_flash.control_plane.pools import Pools
from runpod_flash.control_plane.recorder import JobStore, Recorder
from runpod_flash.control_plane.records import JobRecord, LogLine
from runpod_flash.control_plane.results import Results, Told, Values, as_kept, outcome_of
from runpod_flash.control_plane.shared_values import Memory
from runpod_flash.control_plane.streams import Streams
from runpod_flash.control_plane.turn import Turn
from runpod_flash.control_plane.unfinished import Unfinished
from worker_runtime.wire.frames import Body
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus, Payload, Progress
from worker_runtime.wire.ranges import Range

logger = logging.getLogger(__name__)

_LOOK_S: Final = 0.5  # while draining: a job that was queued again is not waited for


class Dispatcher:
    """Holds the unfinished jobs, hands them to workers and takes their outcomes.

    Attributes:
        on_load: called with an endpoint's id at the end of each turn of the loop in which the number of its queued or
            running jobs or free workers may have changed; where nothing waits, now and then.
        on_end: called with each job whose end is on disk.
        on_again: called with each job of which an attempt has ended and another will follow.
        recorder: what makes decisions last.
        results: where results that are too large for the JSON go.
        pools: which pool serves a job.
    """

    def __init__(
        self,
        store: JobStore,
        values: Values,
        artifacts: Artifacts,
        fleet: Fleet,
        announcer: Announcer,
        turn: Turn | None = None,
    ) -> None:
        self._turn = turn or Turn()
        self._links = LinkCourier(values, artifacts)
        self._streams: Streams | None = None
        self._fleet = fleet
        self.pools = Pools(fleet, artifacts, values)
        self._announcer = announcer
        self.recorder = Recorder(store, announcer)
        self.recorder.on_final, self.recorder.on_room, self.recorder.on_stall = self._ended, self._go_on, self._stall
        announcer.on_output = self.recorder.wrote
        self.results = Results(values)
        self._deadlines = Deadlines(self.end)
        self._assigning = Assigning(self._links, self.recorder, self._deadlines, announcer, self._turn)
        self._assigning.fail, self._assigning.again, self._assigning.changed = (
            self._fail, self._queue_again, self.pump,
        )  # fmt: skip
        self._assigning.on_load = lambda endpoint: self.on_load(endpoint)
        self._jobs = Unfinished()
        self._numbers = itertools.count()
        self._stopped = False
        self._freed: dict[Pool, None] | None = None  # where ends have come, while others of them are about to be heard
        self.on_load: Callable[[str], None] = lambda endpoint: None
        self.on_again: Callable[[Job], None] = lambda job: None
        self.on_end: Callable[[Job], None] = lambda job: None

    def lend_through(self, loans: Lender) -> None:
        """Say who lends workers."""
        self._assigning.loans = loans

    def share(self, memory: Memory) -> None:
        """Say what memory is shared with workers."""
        self._links.memory = memory

    @property
    def memory(self) -> Memory:
        """What memory is shared with workers."""
        return self._links.memory

    def stream_through(self, streams: Streams) -> None:
        """Say where the items of generators go."""
        self._streams = streams
        self._links.on_stream, self._links.window, streams.end = streams.begin, streams.window_of, self.end

    def take_through(self, taking: Courier) -> None:
        """Say how workers whose commands ask for their jobs get them."""
        self._assigning.taking = taking

    # ---- jobs come in

    def unfinished(self, job_id: str) -> Job | None:
        """The job, if it is not final yet."""
        return self._jobs.get(job_id)

    def jobs_of(self, endpoint: str) -> list[Job]:
        """The unfinished jobs of an endpoint."""
        return list(self._jobs.of(endpoint))

    def number_of(self, endpoint: str) -> int:
        """How many there are of an endpoint."""
        return len(self._jobs.of(endpoint))

    @property
    def active(self) -> int:
        """How many jobs are unfinished."""
        return len(self._jobs)

    def accept(self, record: JobRecord, call: Call | None, pool: Pool, logs: Iterable[LogLine] = ()) -> Job:
        """Queue a job that the store has, or will have with the next commit. `logs`: what it wrote before a restart."""
        done: asyncio.Future[JobRecord] = self._turn.loop.create_future()
        job = Job(record, call, pool, time.monotonic(), done, next(self._numbers), LogTail(logs))
        self._jobs.add(job)
        pool.has_low_priority = pool.has_low_priority or record.low_priority
        self._join(job)
        if record.retry_at is not None and call is not None and call.backoff is not None:
            self._deadlines.accepted(job)
            self._pause(job, min(record.retry_at - time.time(), call.backoff.max_delay_s))
            return job
        pool.gave_up = ""
        self._assigning.came(job)
        self._deadlines.accepted(job)  # most have begun by now, and wait for nothing
        return job

    def take_running(self, record: JobRecord, call: Call, worker: Worker) -> Job:
        """A job that a worker runs already, since its client gave it that directly. It will be written."""
        pool, done = worker.pool, self._turn.loop.create_future()
        job = Job(record, call, pool, time.monotonic(), done, next(self._numbers))
        job.sent, job.attempt, job.worker = True, record.attempts, worker
        worker.running[record.id], worker.begun_at = job, time.monotonic()
        self._jobs.add(job)
        self._deadlines.accepted(job)
        self._deadlines.started(job)
        self._join(job)
        self.pump(pool)
        return job

    def withdraw(self, job: Job) -> None:
        """The store could not take the job: it is as if it had never come."""
        job.done.cancel()
        job.outcome = job.record
        self._deadlines.ended(job)
        self._assigning.unqueue(job)
        if job.worker is not None:
            self._release(job.worker, job)
        self._forget(job)
        self.pump(job.pool)

    def adopt(self, job: Job, client: str) -> None:
        """Let another event stream hear of a job: that of the client which submitted it once more."""
        if job.client != client:
            job.pool.leave(job.client)
            job.record = job.record.changed(client=client)
            job.outcome = None if job.outcome is None else job.outcome.changed(client=client)
            job.ahead = None if job.ahead is None else job.ahead.changed(client=client)
            self._join(job)
            self._announcer.refresh(job.pool)

    def _join(self, job: Job) -> None:
        if job.pool.join(job.client):
            assert job.client is not None
            self._announcer.welcome(job.pool, job.client)

    # ---- jobs go out

    def pump(self, pool: Pool) -> None:
        """Hand queued jobs to workers until one of both runs out."""
        self._assigning.pump(pool)

    def free(self, worker: Worker) -> None:
        """A worker asks for more jobs, or for fewer, than before."""
        self._assigning.free(worker)

    def recall(self, worker: Worker) -> None:
        """A worker begins nothing any more: what it has ahead waits for another."""
        self._assigning.recall(worker)

    def _stall(self) -> None:
        for pool in self._fleet.pools.values():
            pool.stalled = "the disk is full, so that no start can be written down"

    def _go_on(self) -> None:
        for pool in list(self._fleet.pools.values()):
            pool.stalled = ""
            self.pump(pool)

    # ---- outcomes come in

    def worker_ready(self, worker: Worker) -> None:
        """A worker can take jobs."""
        worker.state = WorkerState.READY
        worker.pool.crashes = worker.pool.crashes.after_ready()
        worker.idle_since = time.monotonic()
        self._assigning.free(worker)
        self.pump(worker.pool)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Several attempts end inside: jobs are handed out once, when all that is known."""
        self._freed = {}
        try:
            yield
        finally:
            freed, self._freed = self._freed, None
            for pool in freed:
                self.pump(pool)

    def finished(self, worker: Worker, job_id: str, attempt: int, error: ErrorInfo | None, body: Body | Range) -> None:
        """An attempt has ended. A late word about an older attempt is ignored."""
        job = find(worker, job_id)
        if job is None or job.attempt != attempt:
            logger.info("job %.80r: a late result is refused (attempt %d of worker %s)", job_id, attempt, worker.id)
            self._discard(worker, body)
            return
        if job.ahead is not None:  # it was called off before it began, or the worker keeps no order
            job.record = job.record if job.decided else job.ahead
        self._release(worker, job)
        if error is None or error.kind not in (ErrorKind.WORKER_LOST, ErrorKind.OUT_OF_MEMORY):
            worker.pool.crashes = Crashes()
        if not job.decided:  # else it was cancelled, and this is only the end of it
            if error is not None:
                self._failed_attempt(job, error)
            else:
                self._succeeded(job, worker, as_kept(body))
        else:
            self._discard(worker, body)
        if self._freed is None:
            self.pump(worker.pool)
        else:
            self._freed[worker.pool] = None

    def _discard(self, worker: Worker, value: Body | Range) -> None:
        if isinstance(value, Range):
            self._links.memory.discard(worker.id, value)

    def answered(self, worker: Worker, job_id: str, output: Any, error: str | None) -> None:
        """A command has said how a job ended: with an error or without, as JSON. A second or late word is ignored."""
        job = worker.running.get(job_id)
        if job is None:
            logger.info("job %.80r: a late result is refused (worker %s)", job_id, worker.id)
            return
        self._release(worker, job)
        worker.pool.crashes = Crashes()
        if not job.decided and error is not None:
            self._finish(job, lifecycle.fail(job.record, ErrorKind.USER, output, error, time.time()))
        elif not job.decided:
            self._finish(job, lifecycle.succeed(job.record, output, time.time()))
        self.pump(worker.pool)

    def given_back(self, worker: Worker, jobs: Iterable[tuple[str, int]]) -> None:
        """A worker has not begun these attempts, of those that it was asked for, and will not."""
        self._assigning.given_back(worker, jobs)

    def never_began(self, worker: Worker, jobs: Iterable[str]) -> None:
        """A worker is about to be lost, and has not begun these jobs."""
        for job in (find(worker, job_id) for job_id in jobs):
            if job is not None:
                job.sent = False

    def progressed(self, worker: Worker, job_id: str, output: Any) -> None:
        """A command has said how far a job is; it is shown until the job ends."""
        job = worker.running.get(job_id)
        if job is not None and not job.decided:
            job.record = job.record.changed(output=output)

    def reported(self, worker: Worker, job_id: str, attempt: int, progress: Progress) -> None:
        """A call has said how far it is; it is shown until the job ends, and its client is told."""
        job = worker.running.get(job_id)
        if job is not None and job.record.attempts == attempt and not job.decided:
            job.record = job.record.changed(output={"progress": progress.to_json()})
            self._announcer.progress(worker, job, progress)

    def released(self, worker: Worker, job: Job) -> None:
        """A command holds a job no more, whose end was decided elsewhere."""
        if worker.running.get(job.record.id) is job:
            self._release(worker, job)
            self.pump(worker.pool)

    def not_taken(self, worker: Worker, job: Job) -> None:
        """A command had asked for a job and was not there any more to get it: the attempt has not begun."""
        job.sent = False
        if job.decided:  # cancelled meanwhile
            self.released(worker, job)
        elif is_current(job, worker, job.attempt):
            record = never_begun(job)
            self._release(worker, job)
            self._queue_again(job, record)
            self.pump(job.pool)

    def dropped(self, worker: Worker, job: Job, reason: str) -> None:
        """A command has got a job and does not know it any more: the attempt is over."""
        if worker.running.get(job.record.id) is job:
            self._release(worker, job)
            if not job.decided:
                self._failed_attempt(job, ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", reason))
            self.pump(worker.pool)

    def worker_lost(self, worker: Worker, reason: str, stderr: list[str]) -> None:
        """A worker has gone: its attempts end, its instances are rebuilt elsewhere when they are called again."""
        worker.state = WorkerState.GONE
        worker.pool.workers.pop(worker.id, None)
        worker.pool.homes.pop(worker, None)
        worker.pool.holding.pop(worker, None)
        self._assigning.homes.lose(worker)
        running, ahead, waiting = list(worker.running.values()), list(worker.ahead.values()), list(worker.queue)
        for held in (worker.running, worker.ahead, worker.queue):
            held.clear()
        worker.pool.queue.extendleft(reversed(waiting))
        for job in reversed(ahead):  # of those that it had the first one may have begun, and no other
            if not job.decided and not self._stopped:
                self._queue_again(job, never_begun(job))
            job.ahead = job.worker = None
        message = "\n".join([f"the worker was lost: {reason}", *stderr[-20:]])
        self._assigning.loans.lost(worker, message)
        for job in reversed(running):
            job.worker = None
            if not job.decided and not self._stopped:
                self._failed_attempt(job, ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", message))
        self.pump(worker.pool)

    def fail_pool(self, pool: Pool, error: ErrorInfo) -> None:
        """No worker can be had for this pool: its queued jobs fail, and nothing is tried before the next one comes."""
        pool.gave_up = error.message
        queued = list(pool.queue)
        pool.queue.clear()
        for job in queued:
            self._fail(job, error)
        self.pump(pool)

    def _succeeded(self, job: Job, worker: Worker, body: bytes | Range) -> None:
        assert job.call is not None
        items = self._streams.count(job.record.id) if self._streams is not None and job.call.may_stream else 0
        outcome = outcome_of(job.call, body, items, read=job.record.read)
        if isinstance(outcome, Range):
            found = self._links.memory.received(worker.id, outcome)
            outcome = _NOT_THERE if found is None else Told(found)
        elif isinstance(body, Range):
            self._discard(worker, body)
        if isinstance(outcome, ErrorInfo):
            self._after_items(job, lambda: self._fail(job, outcome))
        elif isinstance(outcome, Told):
            output = outcome.output
            self._after_items(job, lambda: self._finish(job, lifecycle.succeed(job.record, output, time.time())))
        elif outcome.sha256 is not None and not isinstance(body, Range):
            self.recorder.spawn(self._keep_value(job, outcome.sha256, body))

    async def _keep_value(self, job: Job, sha256: str, body: bytes) -> None:
        refusal = await self.results.keep(sha256, body)
        if refusal is not None:
            self._fail(job, refusal)
        elif not job.decided:
            output = Payload(sha256=sha256, size=len(body))
            self._finish(job, lifecycle.succeed(job.record, output, time.time()))

    def _failed_attempt(self, job: Job, error: ErrorInfo) -> None:
        if error.kind is ErrorKind.WORKER_LOST and not job.sent:  # it is certain that this start never happened
            self._queue_again(job, lifecycle.unstart(job.record))
            return
        pause = lifecycle.pause_s(job.call, error, job.record.retries)
        if pause is None or job.record.read:
            told = error if pause is None else lifecycle.cut_off(error)
            self._after_items(job, lambda: self._fail(job, told))
            return
        retry_at = time.time() + pause if pause > 0 else None
        self._queue_again(job, lifecycle.requeue(job.record, counts=True, retry_at=retry_at), pause)
        if self._streams is not None and job.call is not None and job.call.may_stream:
            self._streams.restart(job.record.id)
        self.on_again(job)

    def _after_items(self, job: Job, end: Callable[[], None]) -> None:
        if self._streams is None or (job.call is not None and not job.call.may_stream):
            end()
        else:
            self._streams.after_items(job, end)

    def _queue_again(self, job: Job, record: JobRecord, pause: float = 0.0) -> None:
        job.record = record
        self.recorder.requeued(job)
        if pause > 0:
            self._pause(job, pause)
        else:
            self._enqueue(job)

    def _pause(self, job: Job, seconds: float) -> None:
        """Keep a job out of the queue until its next attempt is due. It holds no worker meanwhile."""
        job.queued_at = time.monotonic()
        job.pool.pausing.add(job)
        self._deadlines.paused(job, seconds, self._due)

    def _due(self, job: Job) -> None:
        if not job.decided:
            job.pool.pausing.discard(job)
            job.pool.gave_up = ""
            self._enqueue(job)
            self.pump(job.pool)

    def _enqueue(self, job: Job) -> None:
        """Put a job that comes back where it stood in the queue."""
        job.queued_at = time.monotonic()
        queue = job.pool.queue
        place = next((place for place, other in enumerate(queue) if other.number > job.number), len(queue))
        queue.insert(place, job)
        self._deadlines.queued(job)

    def _fail(self, job: Job, error: ErrorInfo) -> None:
        if not job.decided:
            self._finish(job, lifecycle.end(job.record, error, time.time(), plain=lifecycle.is_plain(job.call)))

    # ---- the end of a job

    def cancel(self, job: Job) -> None:
        """End a job now, because somebody wants that."""
        self.end(job, ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "the job was cancelled"))

    def end(self, job: Job, error: ErrorInfo) -> None:
        """End a job now. What runs of it is stopped by its worker and cannot answer any more."""
        if job.decided:
            return
        worker = job.worker
        if job.ahead is not None and job.sent:  # it may begin just now
            job.record = job.record.changed(attempts=job.attempt)
        elif worker is None and job.record.status is JobStatus.IN_QUEUE:
            self._assigning.unqueue(job)
        self._fail(job, error)
        if worker is not None and job.sent:
            self._assigning.courier(job.pool).call_off(job, worker)
        elif worker is not None:
            self._release(worker, job)
        self.pump(job.pool)

    def drop_instance(self, instance: str, sees: Callable[[str], bool]) -> None:
        """Close an instance where it lives. Nothing happens where it is unknown, or of an endpoint that is not seen."""
        self._assigning.homes.drop(instance, sees)

    async def drained(self, deadline_s: float) -> bool:
        """Wait until nothing runs. False: something still does at the deadline."""
        end = time.monotonic() + deadline_s
        while running := [job.done for job in self._jobs if job.running] or self._assigning.loans.out:
            left = end - time.monotonic()
            if left <= 0:
                return False
            await asyncio.wait(running, timeout=min(left, _LOOK_S), return_when=asyncio.FIRST_COMPLETED)
        return True

    def hold(self) -> None:
        """Hand out nothing any more; what runs can still end."""
        self._assigning.held = True
        self._assigning.loans.hold()
        for pool in self._fleet.pools.values():
            self._assigning.recall_all(pool)
            pool.paused = "the control plane drains; it goes on after its next start"

    def stop(self) -> None:
        """The workers end now: jobs that are lost with them stay in the store for the next start."""
        self._assigning.held = self._stopped = True

    async def settle(self) -> None:
        """Wait for what is being committed."""
        await self.recorder.settle()

    def _finish(self, job: Job, record: JobRecord) -> None:
        self._deadlines.ended(job)
        self.recorder.final(job, record)

    def _ended(self, job: Job) -> None:
        """The end of a job is on disk."""
        self._forget(job)
        self.on_end(job)
        self._assigning.look_at(job.pool)

    def _forget(self, job: Job) -> None:
        job.pool.leave(job.client)
        self._jobs.remove(job)
        if self._streams is not None:
            self._streams.forget(job.record.id)
        self._links.memory.ended(job.record)

    def _release(self, worker: Worker, job: Job) -> None:
        self._assigning.release(worker, job)


_NOT_THERE = ErrorInfo(
    ErrorKind.PLATFORM, "WireError", "the worker has named shared memory for its result that it does not hold"
)
