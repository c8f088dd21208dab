"""The event stream as a client sees it: lines become events, and final jobs find those who wait for them."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeAlias

from runpod_flash.errors import WireMismatch

Json: TypeAlias = Mapping[str, Any]

_KEPT = 500  # final jobs that nobody has asked for yet; older ones are fetched when somebody does


class Lines:
    """Cuts a stream of bytes into JSON objects, one a line."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that are complete with `data`. Raises WireMismatch where a line is no JSON object."""
        self._rest += data
        if b"\n" not in data:
            return []
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        return [_event(line) for line in lines if line.strip()]


class FinalJobs:
    """Brings each final job to those who wait for it, also when it came before they asked.

    A job is *covered* while the stream that was open when it was submitted still is: then its end will be announced.
    When the stream is lost, all who wait are woken with None and no job is covered any more.
    """

    def __init__(self) -> None:
        self._covered: set[str] = set()
        self._arrived: OrderedDict[str, Json] = OrderedDict()
        self._waiting: dict[str, list[asyncio.Future[Json | None]]] = {}

    def cover(self, job_id: str) -> None:
        """The job was submitted on the open stream."""
        if job_id not in self._arrived:
            self._covered.add(job_id)

    def covers(self, job_id: str) -> bool:
        """Whether the end of this job will be, or has been, announced here."""
        return job_id in self._covered or job_id in self._arrived

    def arrive(self, job: Json) -> None:
        """A job is final."""
        job_id = str(job.get("id"))
        self._covered.discard(job_id)
        waiting = [future for future in self._waiting.pop(job_id, []) if not future.done()]
        for future in waiting:
            future.set_result(job)
        if not waiting:
            self._arrived[job_id] = job
            while len(self._arrived) > _KEPT:
                self._arrived.popitem(last=False)

    def lose(self) -> None:
        """The stream is gone."""
        self._covered.clear()
        waiting, self._waiting = self._waiting, {}
        for future in [future for futures in waiting.values() for future in futures if not future.done()]:
            future.set_result(None)

    async def wait(self, job_id: str, timeout_s: float | None = None) -> Json | None:
        """The final job; None when the stream was lost or the time is over."""
        if job_id in self._arrived:
            return self._arrived.pop(job_id)
        future: asyncio.Future[Json | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, []).append(future)
        try:
            done, _ = await asyncio.wait([future], timeout=timeout_s)
            return future.result() if done else None
        finally:
            future.cancel()
            left = [other for other in self._waiting.get(job_id, []) if other is not future]
            if left:
                self._waiting[job_id] = left
            else:
                self._waiting.pop(job_id, None)


def _event(line: bytes | bytearray) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise WireMismatch(
            f"the platform's event stream is not readable ({line[:80]!r}); use one version on both sides"
        ) from error
    if not isinstance(event, dict):
        raise WireMismatch(
            f"the platform's event stream holds {line[:80]!r} where an object belongs; use one version on both sides"
        )
    return event
