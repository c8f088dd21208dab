"""The streams of running calls: their items come from workers, go to disk in their order, and wait there for a reader.

    worker ── chunk ──▶ pending ── large ones to the blobs, then all in one commit ──▶ chunks ──▶ the reader
      ▲                                                                                            │
      └────────── credit: so much more may come ◀──────────────────────────────────────────────────┘

A worker sends no more than the window allows that nobody has read. Where that is so for long, the job ends.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from runpod_flash.control_plane.chunks import Chunks
from runpod_flash.control_plane.fleet import Job, Worker
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.recorder import Recorder
from runpod_flash.control_plane.results import Results, described
from runpod_flash.control_plane.store import StoreFull
from runpod_flash.errors import BackendError
from worker_runtime.wire import items, messages
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 0.5
_ANY_NUMBER: Final = 2**53


@dataclass(slots=True, eq=False)
class _Stream:
    """The stream of one attempt. Sizes are bytes as they came from the worker."""

    job: Job
    worker: Worker
    attempt: int
    count: int = 0  # items that came
    pending: deque[Item] = field(default_factory=deque)  # that are not on disk yet
    sizes: deque[int] = field(default_factory=deque)  # of those that are not read yet
    unread: int = 0  # their sum
    writing: "asyncio.Task[None] | None" = None
    unread_timer: "asyncio.TimerHandle | None" = None


class Streams:
    """Takes items and grants credit.

    Attributes:
        end: ends a job with an error.
    """

    def __init__(self, chunks: Chunks, results: Results, recorder: Recorder, limits: Limits) -> None:
        self._recorder = recorder
        self._chunks = chunks
        self._results = results
        self._limits = limits
        self._streams: dict[str, _Stream] = {}  # by job
        self.end: Callable[[Job, ErrorInfo], None] = lambda job, error: None
        chunks.on_read = self._read

    def window_of(self, call: Call | None) -> tuple[int, int]:
        """How many items and bytes of a call's stream may be unread.

        That of a plain call need not have a reader: its items are in its output, too. So it is bounded by bytes alone.
        """
        is_plain = call is not None and call.plain
        return _ANY_NUMBER if is_plain else self._limits.stream_items, self._limits.stream_bytes

    def begin(self, job: Job, worker: Worker) -> None:
        """An attempt is about to be handed over."""
        self.forget(job.record.id)
        self._streams[job.record.id] = _Stream(job, worker, job.record.attempts)

    def item(self, worker: Worker, job_id: str, attempt: int, item: Item) -> None:
        """An item has come; one of an older attempt, or of a job whose end is decided, is ignored."""
        stream = self._streams.get(job_id)
        if stream is None or (stream.worker, stream.attempt) != (worker, attempt) or stream.job.decided:
            return
        stream.count += 1
        stream.pending.append(item)
        stream.sizes.append(len(item.data))
        stream.unread += len(item.data)
        self._look_at_window(stream)
        if stream.writing is None:
            stream.writing = asyncio.ensure_future(self._write(stream))

    def count(self, job_id: str) -> int:
        """How many items of the running attempt have come."""
        stream = self._streams.get(job_id)
        return 0 if stream is None else stream.count

    def after_items(self, job: Job, end: Callable[[], None]) -> None:
        """Let a job end once what it has streamed is on disk."""
        stream = self._streams.get(job.record.id)
        if stream is None or stream.writing is None:
            end()
        else:
            self._recorder.spawn(_after(stream.writing, job, end))

    async def read(self, job: Job) -> None:
        """Somebody is about to get items of the job's stream: from now on no other attempt follows.

        Raises:
            StoreFull: that cannot be written down, so the items cannot be handed out.
        """
        if job.call is None or job.record.read or job.decided:
            return
        job.record = job.record.changed(read=True)
        if not await self._recorder.saved(job.record):
            job.record = job.record.changed(read=False)
            raise StoreFull("the disk is full, so that nothing of the stream can be handed out; free some space")

    def restart(self, job_id: str) -> None:
        """Another attempt follows one of which nothing was read."""
        self.forget(job_id)
        self._chunks.clear(job_id)

    def forget(self, job_id: str) -> None:
        """The attempt is over: what has not been written of it never will be."""
        stream = self._streams.pop(job_id, None)
        if stream is not None and stream.unread_timer is not None:
            stream.unread_timer.cancel()

    # ---- to disk

    async def _write(self, stream: _Stream) -> None:
        try:
            while stream.pending and self._is_current(stream):
                taken = list(stream.pending)
                stream.pending.clear()
                refusal = await self._keep(stream, taken)
                if refusal is not None and self._is_current(stream):
                    self.end(stream.job, refusal)
        finally:
            stream.writing = None

    def _is_current(self, stream: _Stream) -> bool:
        return self._streams.get(stream.job.record.id) is stream and not stream.job.decided

    async def _keep(self, stream: _Stream, taken: list[Item]) -> ErrorInfo | None:
        """Write items; the failure to tell where that cannot be."""
        chunks: list[Any] = []
        for item in taken:
            chunk = await self._chunk(stream.job, item)
            if isinstance(chunk, ErrorInfo):
                return chunk
            chunks.append(chunk)
        end = time.monotonic() + self._results.patience_s
        while self._is_current(stream):
            try:
                await self._chunks.add(stream.job.record.id, chunks)
                return None
            except BackendError as error:
                if not isinstance(error, StoreFull) or time.monotonic() + _AGAIN_S > end:
                    text = f"{len(chunks)} items of the stream cannot be stored: {error}"
                    return ErrorInfo(ErrorKind.PLATFORM, type(error).__name__, text)
                logger.warning("items of job %s wait for room on the disk", stream.job.record.id)
            await asyncio.sleep(_AGAIN_S)
        return None

    async def _chunk(self, job: Job, item: Item) -> Any:
        """The chunk for an item, whose bytes are stored where it is large; ErrorInfo where it cannot be had."""
        if item.plain:
            try:
                return items.plain(item.data)
            except WireError as error:
                return ErrorInfo(ErrorKind.PLATFORM, "WireError", f"the worker has sent {error}")
        assert job.call is not None
        payload = described(job.call, item.data)
        if isinstance(payload, ErrorInfo):
            return payload
        refusal = None if payload.sha256 is None else await self._results.keep(payload.sha256, item.data)
        return refusal or items.chunk_of(payload)

    # ---- from the reader

    def _read(self, job_id: str, number: int) -> None:
        stream = self._streams.get(job_id)
        if stream is None:
            return
        sizes = [stream.sizes.popleft() for _ in range(min(number, len(stream.sizes)))]
        stream.unread -= sum(sizes)
        self._look_at_window(stream)
        if stream.worker.link is not None and sizes:
            names = {"job": job_id, "attempt": stream.attempt}
            stream.worker.link.send({"type": messages.CREDIT, **names, "items": len(sizes), "bytes": sum(sizes)})

    def _look_at_window(self, stream: _Stream) -> None:
        """A generator that waits for a reader does not wait for ever."""
        most_items, most_bytes = self.window_of(stream.job.call)
        is_full = len(stream.sizes) >= most_items or stream.unread >= most_bytes
        if not is_full and stream.unread_timer is not None:
            stream.unread_timer.cancel()
            stream.unread_timer = None
        elif is_full and stream.unread_timer is None and self._limits.stream_unread_s > 0:
            loop = asyncio.get_running_loop()
            stream.unread_timer = loop.call_later(self._limits.stream_unread_s, self._unread, stream)

    def _unread(self, stream: _Stream) -> None:
        if self._is_current(stream):
            text = (
                f"nobody has read its stream for {self._limits.stream_unread_s:g} s, so that its generator waited with "
                f"{len(stream.sizes)} items unread"
            )
            self.end(stream.job, ErrorInfo(ErrorKind.EXPIRED, "JobExpired", text))


async def _after(writing: "asyncio.Task[None]", job: Job, end: Callable[[], None]) -> None:
    await asyncio.wait([writing])
    if not job.decided:
        end()
