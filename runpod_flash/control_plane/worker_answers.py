"""What workers that run a command say about their jobs, in the published form, and what it means here."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.chunks import Chunks
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.limits import Limits


class WorkerAnswers:
    """Takes answers. What comes late or twice, or for a job that the worker does not have, is ignored.

    Attributes:
        retire: gives a worker no more jobs; called where it asks for its own end.
        look_at: called when a worker has ended a job.
    """

    def __init__(self, dispatcher: Dispatcher, chunks: Chunks, announcer: Announcer, limits: Limits) -> None:
        self._dispatcher = dispatcher
        self._chunks = chunks
        self._announcer = announcer
        self._limits = limits
        self.retire: Callable[[Worker], None] = lambda worker: None
        self.look_at: Callable[[Worker], None] = lambda worker: None

    async def done(self, worker: Worker, job_id: str, body: Mapping[str, Any]) -> None:
        """How a job ended, or, with the status IN_PROGRESS, how far it is.

        Returns when the end is on disk, so that a worker that is not told so says it again.
        """
        if body.get("status") == "IN_PROGRESS" and "error" not in body:
            self._dispatcher.progressed(worker, job_id, body.get("output"))
            return
        job = worker.running.get(job_id) or self._dispatcher.unfinished(job_id)
        if body.get("stopPod"):  # first, so that it gets no other job
            self.retire(worker)
        self._dispatcher.answered(worker, job_id, body.get("output"), _error(body))
        self.look_at(worker)
        if job is not None and job.decided and job.record.worker == worker.id:  # said for the second time, too
            await asyncio.shield(job.done)

    async def yielded(self, worker: Worker, job_id: str, chunk: Any) -> None:
        """A piece of a job's stream. Raises StoreError: it was not kept."""
        job = worker.running.get(job_id)
        if job is not None and not job.decided:
            await self._chunks.add(job_id, pieces(chunk, self._limits.chunk_bytes))

    def unhealthy(self, worker: Worker, reason: str) -> None:
        """The worker has found that it cannot work; it ends by itself."""
        worker.healthy = False
        self._announcer.log(worker, None, "stderr", [reason])


def pieces(chunk: Any, limit: int) -> list[Any]:
    """A piece of a stream, in several where it is a text of more than `limit` bytes. Anything else stays whole."""
    if not isinstance(chunk, str):
        return [chunk]
    step = max(1, limit // 4)  # a character has at most four bytes
    if len(chunk.encode(errors="replace")) <= limit:
        return [chunk]
    return [chunk[start : start + step] for start in range(0, len(chunk), step)]


def _error(body: Mapping[str, Any]) -> str | None:
    error = body.get("error")
    if error is None or error == "":
        return None
    return error if isinstance(error, str) else json.dumps(error)
