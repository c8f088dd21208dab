"""When a client asks for a worker of its own: after lone calls of one kind, each soon after the one before. Pure."""

from typing import Final

FIRST: Final = 8
"""So many calls in a row are enough at first."""

MOST: Final = 1024
"""More are never needed."""

GAP_S: Final = 0.1
"""So much may lie between the end of a call and the next one, in seconds."""

WORTH: Final = 64
"""A worker that has served so many was worth it; after another one twice as many calls in a row are needed."""


class Streak:
    """Counts calls. Moments are seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self._kind: object = None
        self._count, self._needed = 0, FIRST
        self._ended_at = 0.0

    def begins(self, kind: object, now: float) -> None:
        """A lone call begins."""
        if kind is not self._kind or now - self._ended_at > GAP_S:
            self._kind, self._count = kind, 0

    def ended(self, now: float) -> bool:
        """It has given a value. Whether a worker shall be asked for."""
        self._count += 1
        self._ended_at = now
        if self._count < self._needed:
            return False
        self._count = 0
        return True

    def broken(self) -> None:
        """Something else happened: the next call is the first."""
        self._count = 0
        self._kind = None

    def failed(self) -> None:
        """No worker came."""
        self.served(0)

    def served(self, calls: int) -> None:
        """A worker has gone that had so many calls."""
        self._count = 0
        self._needed = FIRST if calls >= WORTH else min(self._needed * 2, MOST)
