"""The crash-loop breaker: when workers end before they do anything, the next start waits, and after some it is enough.

    start, start, start … each after twice the pause of the one before ── `STARTS` in a row never ready ─┐
    ready, but ends on its own in every call, `ENDS` times in a row ─────────────────────────────────────┴─▶ give up

Anything that a worker completes begins the count anew.
"""

from dataclasses import dataclass
from typing import Final

STARTS: Final = 5
"""Starts in a row that may end before the worker is ready."""

ENDS: Final = 10
"""Workers in a row that may be ready, end by themselves, and have completed no call in between."""

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Crashes:
    """What a pool remembers of ends that nobody asked for. `retry_at` is monotonic seconds, `last` the last reason."""

    starts: int = 0
    ends: int = 0
    retry_at: float = 0.0
    last: str = ""

    @property
    def hopeless(self) -> bool:
        """Whether it is enough."""
        return self.starts >= STARTS or self.ends >= ENDS

    def after_end(self, *, was_ready: bool, reason: str, now: float) -> "Crashes":
        """One more worker has ended by itself."""
        starts = 0 if was_ready else self.starts + 1
        ends = self.ends + 1 if was_ready else self.ends
        return Crashes(starts, ends, now + _pause(starts), reason)

    def after_ready(self) -> "Crashes":
        """A worker has become ready: starting works."""
        return Crashes(0, self.ends, 0.0, self.last)

    def said(self, now: float) -> str:
        """Why the next start waits; empty where it does not."""
        if self.retry_at <= now:
            return ""
        return f"workers end at their start, {self.starts} of {STARTS} times; the last time: {self.last}"

    def verdict(self) -> str:
        """Why nothing is tried any more."""
        if self.starts >= STARTS:
            return f"no worker could start, {self.starts} times in a row; the last time: {self.last}"
        return f"{self.ends} workers in a row ended without completing a call; the last time: {self.last}"


def _pause(starts: int) -> float:
    """Seconds before the next start; an end of a worker that was ready costs none."""
    return 0.0 if starts == 0 else min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (starts - 1))
