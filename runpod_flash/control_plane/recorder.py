"""Commits what the dispatcher decides, and tells it only after that. Waits for room where the disk is full.

    decided ── save ──▶ committed ──▶ the caller and its stream hear of it
                 └─ refused: the disk is full ──▶ nothing new starts; every `AGAIN_S` seconds another try

So whatever anybody was told is on disk, and no call starts whose start the next control plane would not know of.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.fleet import Job
from runpod_flash.control_plane.job_logs import LogSaver
from runpod_flash.control_plane.records import JobRecord, LogLine
from runpod_flash.errors import BackendError
from worker_runtime.wire import trace

logger = logging.getLogger(__name__)

AGAIN_S = 0.5
"""Seconds between two tries to write to a disk that was full."""


class JobStore(Protocol):
    """What the recorder needs of the store."""

    def save_job(self, record: JobRecord) -> Awaitable[None]: ...

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
        self.spawn(self._try(job.record))  # not again where it is refused: the next start says the same and more

    def final(self, job: Job, record: JobRecord) -> None:
        """The job ends with `record`; it is told when that is on disk."""
        job.outcome = record
        self.spawn(self._commit(job))

    async def saved(self, record: JobRecord) -> bool:
        """Write a job; whether that worked. Where it did not, `stalled` is set and `on_room` will be called."""
        if await self._try(record):
            return True
        if self.on_refused() and await self._try(record):
            return True
        self._stall()
        return False

    def start(self, record: JobRecord, tell: Callable[[bool], None]) -> None:
        """Write the start of an attempt; `tell` hears whether that worked, see `saved`."""
        self.spawn(self._start(record, tell))

    async def _start(self, record: JobRecord, tell: Callable[[bool], None]) -> None:
        written = await self.saved(record)
        trace.mark(trace.COMMITTED)
        tell(written)

    async def settle(self) -> None:
        """Wait until everything is on disk, or was refused once more."""
        self._logs.close()
        while self._tasks:  # wait, not gather: from Python 3.12 on that gives no turn to tasks that have just ended
            await asyncio.wait(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something that `settle` waits for."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _commit(self, job: Job) -> None:
        assert job.outcome is not None
        self._logs.save(job.record.id, job.logs)
        if not await self.saved(job.outcome):
            asyncio.get_running_loop().call_later(AGAIN_S, lambda: self.spawn(self._commit(job)))
            return
        trace.mark(trace.END_COMMITTED)
        job.record = job.outcome  # who listens to it may have changed meanwhile
        if not job.done.done():
            job.done.set_result(job.record)
        self._announcer.final(job)
        self.on_final(job)

    async def _try(self, record: JobRecord) -> bool:
        try:
            await self._store.save_job(record)
        except BackendError as error:
            logger.error("job %s cannot be written: %s", record.id, error)
            return False
        return True

    def _stall(self) -> None:
        if not self.stalled:
            self.stalled = True
            self.on_stall()
            asyncio.get_running_loop().call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        """Let the next start find out whether there is room now."""
        self.stalled = False
        self.on_room()
