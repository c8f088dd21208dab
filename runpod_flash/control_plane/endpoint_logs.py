"""What workers write, by endpoint: lines of no certain job are kept in memory; who follows an endpoint gets all."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from runpod_flash.control_plane.job_logs import LogTail
from runpod_flash.control_plane.records import EndpointLine

LINES = 5000
"""How many lines of no certain job are kept for an endpoint."""

CHARACTERS = 1024**2
"""How many characters of them."""

FOLLOWER_CHARACTERS = 64 * 1024**2
"""How many characters of lines wait for a follower that does not read; what comes then is left out, and counted."""

PLATFORM = "platform"
"""The stream of lines that no worker has written: what became of workers."""

_STEP_S = 1e-6  # between two lines, so that each has a time of its own


class Follower:
    """The lines of an endpoint, or of one of its jobs, from now on. Use it as a context.

    Attributes:
        job: the job whose lines these are; None: of all, and of workers that have none.
    """

    def __init__(self, book: "EndpointLogs", endpoint: str, job: str | None, limit: int) -> None:
        """Use `EndpointLogs.follow`."""
        self.job = job
        self._book, self._endpoint, self._limit = book, endpoint, limit
        self._lines: list[EndpointLine] = []
        self._characters = self._left_out = 0
        self._ended = False
        self._wake = asyncio.Event()

    def __enter__(self) -> "Follower":
        self._book.enter(self._endpoint, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._book.leave(self._endpoint, self)

    def add(self, lines: Iterable[EndpointLine]) -> None:
        """Lines have been written."""
        for line in lines:
            if self._characters >= self._limit:
                self._left_out += 1
            else:
                self._characters += len(line["line"])
                self._lines.append(line)
        self._wake.set()

    def end(self) -> None:
        """Nothing more will be written; what there is can still be taken."""
        self._ended = True
        self._wake.set()

    async def take(self, wait_s: float) -> Sequence[EndpointLine] | None:
        """What has come, nothing after `wait_s` seconds without any; None at the end."""
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return ()
        if self._left_out:
            words = f"{self._left_out} lines were left out here: they were not read in time"
            self._lines.append(
                EndpointLine(attempt=0, stream=PLATFORM, line=words, time=time.time(), worker="", job=None)
            )
        lines, self._lines = self._lines, []
        self._characters = self._left_out = 0
        if not self._ended:
            self._wake.clear()
        return lines or (None if self._ended else ())


class EndpointLogs:
    """The lines of all endpoints. What belongs to a job is kept with the job, and only passes through here."""

    def __init__(self, *, follower_characters: int = FOLLOWER_CHARACTERS) -> None:
        self._limit = follower_characters
        self._tails: dict[str, LogTail[EndpointLine]] = {}
        self._followers: dict[str, set[Follower]] = {}
        self._last = 0.0
        self._closed = False

    def add(
        self, endpoint: str, worker: str, jobs: Mapping[str, int], stream: str, lines: Iterable[str]
    ) -> list[EndpointLine]:
        """A worker has written while it ran these `jobs`, by id with their attempts; the lines with their times."""
        job = next(iter(jobs)) if len(jobs) == 1 else None
        attempt = jobs[job] if job is not None else 0
        written = [
            EndpointLine(attempt=attempt, stream=stream, line=line, time=self._now(), worker=worker, job=job)
            for line in lines
        ]
        if job is None:
            if endpoint not in self._tails:
                self._tails[endpoint] = LogTail(most=LINES, characters=CHARACTERS)
            self._tails[endpoint].extend(written)
        for follower in self._followers.get(endpoint, ()):
            if follower.job is None or follower.job in jobs:
                follower.add(written)
        return written

    def say(self, endpoint: str, worker: str, text: str) -> None:
        """Something has become of a worker."""
        self.add(endpoint, worker, {}, PLATFORM, text.splitlines())

    def of(self, endpoint: str) -> list[EndpointLine]:
        """The last lines of no certain job, the oldest first."""
        tail = self._tails.get(endpoint)
        return [] if tail is None else tail.lines()

    def follow(self, endpoint: str, job: str | None = None) -> Follower:
        """What the endpoint's workers write from then on; of one job, until that has ended."""
        return Follower(self, endpoint, job, self._limit)

    def job_ended(self, endpoint: str, job: str) -> None:
        """The job writes no more."""
        for follower in self._followers.get(endpoint, ()):
            if follower.job == job:
                follower.end()

    def forget(self, endpoint: str) -> None:
        """The endpoint is gone."""
        self._tails.pop(endpoint, None)
        for follower in self._followers.get(endpoint, ()):
            follower.end()

    def close(self) -> None:
        """Nothing is followed any more."""
        self._closed = True
        for followers in self._followers.values():
            for follower in followers:
                follower.end()

    def enter(self, endpoint: str, follower: Follower) -> None:
        """A follower begins."""
        self._followers.setdefault(endpoint, set()).add(follower)
        if self._closed:
            follower.end()

    def leave(self, endpoint: str, follower: Follower) -> None:
        """A follower has gone."""
        followers = self._followers[endpoint]
        followers.discard(follower)
        if not followers:
            del self._followers[endpoint]

    def _now(self) -> float:
        self._last = max(time.time(), self._last + _STEP_S)
        return self._last
