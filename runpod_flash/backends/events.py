"""The event stream as a client sees it: lines become events, and final jobs find those who wait for them."""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
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


class Follower:
    """One who wants the end of a job. What comes while it does something else is kept for it."""

    def __init__(self, job: Json | None) -> None:
        self._job = job
        self._wake: asyncio.Future[None] | None = None

    async def end(self, timeout_s: float | None = None) -> Json | None:
        """The final job; None when the stream was lost meanwhile or the time is over."""
        if self._job is None:
            wake = self._wake = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait([wake], timeout=timeout_s)
            finally:
                wake.cancel()
        return self._job

    def tell(self, job: Json | None) -> None:
        """The job is final; None: no word of it will come."""
        self._job = job or self._job
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class FinalJobs:
    """Brings each final job to those who follow it, also when it came before they asked.

    A job is *covered* while the stream on which the platform promised to announce its end is open. When the stream is
    lost, all who wait are woken with None and no job is covered any more.
    """

    def __init__(self) -> None:
        self._covered: set[str] = set()
        self._arrived: OrderedDict[str, Json] = OrderedDict()
        self._followers: dict[str, list[Follower]] = {}

    def cover(self, job_id: str) -> None:
        """The platform has promised to announce the end of the job on the open stream."""
        if job_id not in self._arrived:
            self._covered.add(job_id)

    def covers(self, job_id: str) -> bool:
        """Whether the end of this job will be, or has been, announced here."""
        return job_id in self._covered or job_id in self._arrived

    def arrive(self, job: Json) -> None:
        """A job is final."""
        job_id = str(job.get("id"))
        self._covered.discard(job_id)
        followers = self._followers.get(job_id, ())
        for follower in followers:
            follower.tell(job)
        if not followers:
            self._arrived[job_id] = job
            while len(self._arrived) > _KEPT:
                self._arrived.popitem(last=False)

    def forget(self, job_id: str) -> None:
        """The job begins once more: what was heard of its end holds no more."""
        self._covered.discard(job_id)
        self._arrived.pop(job_id, None)

    def lose(self) -> None:
        """The stream is gone."""
        self._covered.clear()
        for follower in [follower for followers in self._followers.values() for follower in followers]:
            follower.tell(None)

    @contextlib.contextmanager
    def follow(self, job_id: str) -> Iterator[Follower]:
        """While inside, the end of the job is kept for the one who follows it, whenever it comes."""
        follower = Follower(self._arrived.pop(job_id, None))
        self._followers.setdefault(job_id, []).append(follower)
        try:
            yield follower
        finally:
            self._followers[job_id].remove(follower)
            if not self._followers[job_id]:
                del self._followers[job_id]


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
