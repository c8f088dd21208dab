"""What a job writes: its last lines in memory, and from time to time on disk, so that they outlive every process."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from runpod_flash.control_plane.records import LogLine

LINES = 1000
"""How many lines are kept with a job."""

CHARACTERS = 256 * 1024
"""How many characters of lines are kept with a job."""

SAVE_S = 1.0
"""Seconds between two writes of the lines of one job."""


L = TypeVar("L", bound=LogLine)


class LogTail(Generic[L]):
    """The last lines of a job or an endpoint, bounded in number and size."""

    def __init__(self, lines: Iterable[L] = (), *, most: int = LINES, characters: int = CHARACTERS) -> None:
        self._most, self._most_characters = most, characters
        self._lines: deque[L] = deque()
        self._characters = 0
        if lines:
            self.extend(lines)
        self.saved = True

    def extend(self, lines: Iterable[L]) -> None:
        """Add lines; the oldest go where there are too many."""
        for line in lines:
            self._lines.append(line)
            self._characters += len(line["line"])
        while len(self._lines) > self._most or (self._characters > self._most_characters and len(self._lines) > 1):
            self._characters -= len(self._lines.popleft()["line"])
        self.saved = False

    def lines(self) -> list[L]:
        """All that is kept, the oldest first."""
        return list(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


Save = Callable[[str, Sequence[LogLine]], Awaitable[None]]


class LogSaver:
    """Writes changed tails to disk, each at most once in `SAVE_S` seconds; what cannot be written is tried again."""

    def __init__(self, save: Save) -> None:
        self._save = save
        self._changed: dict[str, LogTail[LogLine]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def changed(self, job_id: str, tail: LogTail[LogLine]) -> None:
        """The job has written."""
        self._changed[job_id] = tail
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SAVE_S, self._save_all)

    def save(self, job_id: str, tail: LogTail[LogLine]) -> None:
        """Write a tail now, in the same commit as what is written next."""
        self._changed.pop(job_id, None)
        if not tail.saved:
            tail.saved = True
            written = asyncio.ensure_future(self._save(job_id, tail.lines()))
            written.add_done_callback(lambda done: self._written(tail, done))

    def close(self) -> None:
        """Write all that has changed, and no more after that."""
        self._save_all()

    def _save_all(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for job_id, tail in list(self._changed.items()):
            self.save(job_id, tail)

    @staticmethod
    def _written(tail: LogTail[LogLine], done: "asyncio.Future[None]") -> None:
        if done.cancelled() or done.exception() is not None:  # the store has logged it
            tail.saved = False
