"""Commits what the dispatcher decides, and tells it only after that. Waits for room where the disk is full.

    decided ── save ──▶ committed ──▶ the caller and its stream hear of it
                 └─ refused: the disk is full ──▶ nothing new starts; every `AGAIN_S` seconds another try

So whatever anybody was told is on disk, and no call starts whose start the next control plane would not know of.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.fleet import Job
from runpod_flash.control_plane.groups import Saved
from runpod_flash.control_plane.job_logs import LogSaver
from runpod_flash.control_plane.records import JobRecord, LogLine
from worker_runtime.wire import trace

logger = logging.getLogger(__name__)

AGAIN_S = 0.5
"""Seconds between two tries to write to a disk that was full."""


class JobStore(Protocol):
    """What the recorder needs of the store."""

    def save_job(self, record: JobRecord) -> Saved: ...

    def save_logs(self, job_id: str, lines: Sequence[LogLine]) -> Awaitable[None]: ...


class Recorder:
    """Writes jobs as they change.

    Attributes:
        on_final: called with each job whose end is on disk.
        on_room: called when it is time to try again.
        on_stall: called when `stalled` becomes true.
        on_refused: called when a write was refused; whether it made room, so that it is worth to try again at once.
        stalled: whether a write was refused a moment ago: nothing is started until it is time to try again.
    """

    def __init__(self, store: JobStore, announcer: Announcer) -> None:
        self._store = store
        self._announcer = announcer
        self._logs = LogSaver(store.save_logs)
        self._tasks: set[asyncio.Future[Any]] = set()
        self._writing = 0  # jobs that are being written
        self._idle: asyncio.Future[None] | None = None  # somebody waits until there are none
        self.stalled = False
        self.on_final: Callable[[Job], None] = lambda job: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_stall: Callable[[], None] = lambda: None
        self.on_refused: Callable[[], bool] = lambda: False

    def wrote(self, job: Job) -> None:
        """The job has written lines."""
        self._logs.changed(job.record.id, job.logs)

    def requeued(self, job: Job) -> None:
        """An attempt has ended and another will follow."""
        self._logs.save(job.record.id, job.logs)
        self._write(job.record, _nothing, _never)  # nor later: the next start says the same and more

    def final(self, job: Job, record: JobRecord) -> None:
        """The job ends with `record`; it is told when that is on disk."""
        job.outcome = record
        self._commit(job)

    def start(self, job: Job, record: JobRecord, tell: Callable[[bool], None]) -> None:
        """Write the start of an attempt, `record`; `tell` hears whether that worked, see `saved`."""

        def told(written: bool) -> None:
            trace.mark(trace.COMMITTED)
            if not written:
                self._stall()
            tell(written)

        self._write(record, told, lambda: not job.done.cancelled())

    async def saved(self, record: JobRecord) -> bool:
        """Write a job; whether that worked. Where it did not, `stalled` is set and `on_room` will be called."""
        outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._write(record, lambda written: None if outcome.done() else outcome.set_result(written))
        if await outcome:
            return True
        self._stall()
        return False

    async def settle(self) -> None:
        """Wait until everything is on disk, or was refused once more."""
        self._logs.close()
        while self._tasks or self._writing:  # wait, not gather: from 3.12 on that gives no turn to what has just ended
            await (asyncio.wait(self._tasks) if self._tasks else self._written())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that `settle` waits for."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _commit(self, job: Job) -> None:
        assert job.outcome is not None
        if job.done.cancelled():  # it was not accepted
            return
        self._logs.save(job.record.id, job.logs)
        self._write(job.outcome, partial(self._committed, job), lambda: not job.done.cancelled())

    def _committed(self, job: Job, written: bool) -> None:
        if not written:
            self._stall()
            asyncio.get_running_loop().call_later(AGAIN_S, self._commit, job)
            return
        assert job.outcome is not None
        trace.mark(trace.END_COMMITTED)
        job.record = job.outcome  # who listens to it may have changed meanwhile
        if not job.done.done():
            job.done.set_result(job.record)
        if job.on_told is not None:
            job.on_told()
        self._announcer.final(job)
        self.on_final(job)

    def _write(self, record: JobRecord, tell: Callable[[bool], None], again: Callable[[], bool] = lambda: True) -> None:
        """Write a job. `again`: whether once more at once, where it was refused and that has made room."""
        self._writing += 1
        self._store.save_job(record).then(partial(self._heard, record, tell, again))

    def _heard(
        self, record: JobRecord, tell: Callable[[bool], None], again: Callable[[], bool], error: Exception | None
    ) -> None:
        self._writing -= 1
        if error is None:
            tell(True)
        else:
            logger.error("job %s cannot be written: %s", record.id, error)
            if again() and self.on_refused():
                self._write(record, tell, _never)
            else:
                tell(False)
        if self._idle is not None and not self._writing:
            self._idle.set_result(None)
            self._idle = None

    def _written(self) -> "asyncio.Future[None]":
        """Resolves when nothing is being written."""
        if self._idle is None:
            self._idle = asyncio.get_running_loop().create_future()
        return self._idle

    def _stall(self) -> None:
        if not self.stalled:
            self.stalled = True
            self.on_stall()
            asyncio.get_running_loop().call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        """Let the next start find out whether there is room now."""
        self.stalled = False
        self.on_room()


def _never() -> bool:
    return False


def _nothing(written: bool) -> None:
    """Nobody waits for it."""
