"""Which parts of an arena are free, and behind which there is memory. Pure: it counts, and touches nothing."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from worker_runtime.wire.ranges import GRAIN


class Extents:
    """A set of numbers as stretches [start, end) that do not touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    @property
    def total(self) -> int:
        """How many numbers it has."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add all from `start` to before `end`; some of them may be there."""
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]

    def remove(self, start: int, end: int) -> None:
        """Take all from `start` to before `end` away, as far as they are there."""
        first, last = bisect_right(self._ends, start), bisect_left(self._starts, end)
        if first >= last:
            return
        left, right = self._starts[first], self._ends[last - 1]
        rests = [(left, start)] * (left < start) + [(end, right)] * (end < right)
        self._starts[first:last] = [rest[0] for rest in rests]
        self._ends[first:last] = [rest[1] for rest in rests]

    def covers(self, start: int, end: int) -> bool:
        """Whether all from `start` to before `end` are there."""
        place = bisect_right(self._starts, start) - 1
        return place >= 0 and end <= self._ends[place]

    def first(self, size: int) -> int | None:
        """Where the first stretch begins that has so many numbers."""
        return next((start for start, end in zip(self._starts, self._ends, strict=True) if end - start >= size), None)


class Space:
    """Gives stretches of an arena and takes them back. The lowest that fits is given: its memory was used before.

    Args:
        start, end: where the arena's space for values begins and ends; multiples of `GRAIN`.
    """

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end
        self._free, self._backed = Extents(), Extents()
        if start < end:
            self._free.add(start, end)

    @property
    def free(self) -> int:
        """Bytes that are free."""
        return self._free.total

    def take(self, size: int) -> int | None:
        """Where `size` bytes are from now on taken. None: there is no such stretch."""
        whole = rounded(size)
        offset = self._free.first(whole)
        if offset is not None:
            self._free.remove(offset, offset + whole)
        return offset

    def give(self, offset: int, size: int) -> None:
        """Take a stretch back."""
        self._free.add(offset, offset + rounded(size))

    def is_backed(self, offset: int, size: int) -> bool:
        """Whether there is memory behind all of a stretch."""
        return self._backed.covers(offset, offset + size)

    def back(self, offset: int, size: int) -> None:
        """There is memory behind a stretch now."""
        self._backed.add(offset, offset + rounded(size))

    def bare(self, most: int) -> list[tuple[int, int]]:
        """Free stretches, at most so many bytes, whose memory is given to the system now: (start, end)."""
        found = Extents()
        for start, end in self._free:
            for first, last in self._backed:
                low, high = max(start, first), min(end, last)
                if low < high and most > 0:
                    found.add(low, min(high, low + most))
                    most -= high - low
        for start, end in found:
            self._backed.remove(start, end)
        return list(found)


def rounded(size: int) -> int:
    """What a range of so many bytes takes."""
    return max(GRAIN, -(-size // GRAIN) * GRAIN)
