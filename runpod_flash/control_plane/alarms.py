"""Many alarms on one timer of the loop: most are off again long before it is time, and cost next to nothing."""

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

_SWEPT_ABOVE: Final = 512


class Alarm:
    """Something that is done at its time, unless it is cancelled before."""

    __slots__ = ("_alarms", "_at", "work")

    def __init__(self, alarms: "Alarms", at: float, work: Callable[[], None]) -> None:
        self._alarms, self._at = alarms, at
        self.work: Callable[[], None] | None = work

    def when(self) -> float:
        """Its time, by the monotonic clock in seconds."""
        return self._at

    def cancel(self) -> None:
        """It is not needed any more."""
        if self.work is not None:
            self.work = None
            self._alarms.one_is_off()


class Alarms:
    """Sets alarms. For one event loop."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._off = 0  # alarms in the heap that were cancelled
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def __len__(self) -> int:
        return len(self._heap) - self._off

    def after(self, seconds: float, work: Callable[[], None]) -> Alarm:
        """Do this so many seconds from now."""
        at = time.monotonic() + max(0.0, seconds)
        alarm = Alarm(self, at, work)
        heapq.heappush(self._heap, (at, next(self._numbers), alarm))
        if self._timer is None or at < self._rings_at:
            self._set()
        return alarm

    def one_is_off(self) -> None:
        """One was cancelled. Those that are off go when they are the most."""
        self._off += 1
        if self._off > _SWEPT_ABOVE and self._off * 2 > len(self._heap):
            self._heap = [each for each in self._heap if each[2].work is not None]
            heapq.heapify(self._heap)
            self._off = 0

    def _set(self) -> None:
        """Let the timer ring at the time of the first one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._rings_at = self._heap[0][0]
            pause = max(0.0, self._rings_at - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(pause, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = time.monotonic()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].work is None):
            alarm = heapq.heappop(self._heap)[2]
            work, alarm.work = alarm.work, None
            if work is None:
                self._off -= 1
                continue
            try:
                work()
            except Exception:  # a fault of one; the others must ring
                logger.exception("what was due has failed")
        self._set()
