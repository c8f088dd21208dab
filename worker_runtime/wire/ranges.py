"""Names of ranges: parts of the shared memory of one control plane, in which large values lie."""

import functools
import re
import struct
from dataclasses import dataclass

from worker_runtime.wire.errors import WireError

_NAME = re.compile(r"[0-9a-f]{64}")
_NUMBERS = struct.Struct(">QQQQ")
_MOST = 2**62  # bytes: what a file can have

GRAIN = 64 * 1024
"""Ranges begin and end at multiples of this many bytes."""

MARK = struct.Struct("=Q")
"""What is in the table of marks for each grain: the number of the range that begins there and is in use, as its writer
has marked it; or anything else.
"""


def mark_of(offset: int) -> int:
    """Where the mark of the range is that begins at `offset`, from the beginning of the table."""
    return offset // GRAIN * MARK.size


@dataclass(frozen=True, slots=True)
class Range:
    """A range of an arena. `number` is its own and never used again, wherever it lies; offset and size count bytes."""

    arena: int
    number: int
    offset: int
    size: int

    @property
    def name(self) -> str:
        """What it is called: 64 hexadecimal digits, as other values are, and as hard to guess."""
        return _NUMBERS.pack(self.arena, self.number, self.offset, self.size).hex()

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.offset + self.size

    def beginning(self, size: int) -> "Range":
        """So many bytes of it, where it is larger than what is written into it."""
        return Range(self.arena, self.number, self.offset, size)

    @staticmethod
    def parse(name: str) -> "Range":
        """The range of a name. Raises WireError."""
        return _parsed(name)


@functools.lru_cache(maxsize=1024)  # each is asked for several times while its call is under way
def _parsed(name: str) -> Range:
    if not _NAME.fullmatch(name):
        raise WireError(f"{name!r:.80} names no range of shared memory: 64 lower-case hexadecimal digits")
    found = Range(*_NUMBERS.unpack(bytes.fromhex(name)))
    if max(found.offset, found.size) > _MOST:
        raise WireError(f"range {name} lies outside of any memory")
    return found
