"""The end of a turn of the event loop: what was put off until then is done once, in order, by one callback.

    take ─┐
    take ─┼─ the loop has run all that was ready ─ COMMIT ─ WORKERS ─ CLIENTS ─ STAGES
    take ─┘

So a commit has all that one turn has decided, and what it allows to be sent leaves in the same turn: each hop of a
chain of callbacks would cost a look at the sockets, and a call that comes alone would wait for all of them.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import IntEnum

logger = logging.getLogger(__name__)

Work = Callable[[], None]


class Step(IntEnum):
    """What is done at the end of a turn, in this order."""

    COMMIT = 0
    WORKERS = 1  # frames to workers leave
    CLIENTS = 2  # frames to clients leave
    STAGES = 3  # what jobs wait for may have changed, and nobody waits for that; what is told of it leaves a turn later


class Turn:
    """What is to be done at the end of this turn. For one event loop at a time."""

    __slots__ = ("_comes", "_due", "_loop")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: tuple[list[Work], ...] = tuple([] for _ in Step)
        self._comes = False  # the end of the turn

    def at_end(self, step: Step, work: Work) -> None:
        """Do this when what is ready now has run; what an earlier step asks for is done in the same turn."""
        self._due[step].append(work)
        if not self._comes:
            self._comes = True
            self.loop.call_soon(self._end)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that runs. To ask asyncio for it takes a call of the system."""
        if self._loop is None or not self._loop.is_running():
            self._loop = asyncio.get_running_loop()
        return self._loop

    def _end(self) -> None:
        for due in self._due:
            if due:
                works = due.copy()
                due.clear()
                for work in works:
                    try:
                        work()
                    except Exception:  # a fault of one part; the others must go on
                        logger.exception("something at the end of a turn has failed")
        self._comes = any(self._due)
        if self._comes:
            self.loop.call_soon(self._end)
