"""How the child sees, without asking, that its parent has read what it printed: a number in memory that both map.

The parent counts up before each read of the child's output. So a child whose pipes are empty, and for which the number
is the same as when a call began, has printed nothing in that call, or nobody has seen it yet.
"""

import mmap
import os
import sys


class ReadMarks:
    """That number. The parent writes it, the child reads it."""

    def __init__(self, descriptor: int) -> None:
        """Map the memory of this descriptor, which can be closed then. Raises OSError."""
        self._map = mmap.mmap(descriptor, mmap.PAGESIZE)
        self._numbers = memoryview(self._map).cast("Q")

    def count(self) -> None:
        """Something is about to be read."""
        self._numbers[0] += 1

    @property
    def number(self) -> int:
        """How often something was read."""
        return self._numbers[0]


def made() -> tuple[int, ReadMarks] | None:
    """New ones, and the descriptor by which another process gets them; None where this system has no such memory."""
    if sys.platform != "linux":
        return None
    descriptor = os.memfd_create("flash-reads", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor, ReadMarks(descriptor)
