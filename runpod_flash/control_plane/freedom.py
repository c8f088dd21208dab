"""The freest worker of a pool, found without looking at all of them.

A heap of (load, worker), in which each worker stands once for each load that it has had since that was last looked at.
What is not so any more is dropped when it comes to the top.
"""

import heapq
import itertools
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Loaded(Protocol):
    """What the heap needs to know of a worker."""

    @property
    def load(self) -> int | None:
        """How much it has to do, less than 0 where it wants more; None: it can take nothing now."""

    @property
    def started_at(self) -> float:
        """Of two with the same load the older one comes first."""


W = TypeVar("W", bound=Loaded)


class Freedom(Generic[W]):
    """Workers by their load."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, W]] = []
        self._standing: set[tuple[int, int]] = set()  # (id of the worker, load)
        self._numbers = itertools.count()

    def changed(self, worker: W) -> None:
        """The load of a worker is another one than before."""
        load = worker.load
        if load is not None and (id(worker), load) not in self._standing:
            self._standing.add((id(worker), load))
            heapq.heappush(self._heap, (load, worker.started_at, next(self._numbers), worker))

    def freest(self, fits: Callable[[W], bool] | None = None) -> W | None:
        """The worker with the least load, of those that fit; None where all that can take anything do not."""
        if fits is None:
            return self._top()
        passed: list[tuple[int, float, int, W]] = []
        while (found := self._top()) is not None and not fits(found):
            passed.append(heapq.heappop(self._heap))
        for each in passed:
            heapq.heappush(self._heap, each)
        return found

    def _top(self) -> W | None:
        """The freest of all."""
        heap = self._heap
        while heap:
            load, _, _, worker = heap[0]
            if worker.load == load:
                return worker
            heapq.heappop(heap)
            self._standing.discard((id(worker), load))
        return None
