"""Names of ranges: parts of the shared memory of one control plane, in which large values lie."""

import re
import struct
from dataclasses import dataclass

from worker_runtime.wire.errors import WireError

_NAME = re.compile(r"[0-9a-f]{64}")
_NUMBERS = struct.Struct(">QQQQ")
_MOST = 2**62  # bytes: what a file can have


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

    @classmethod
    def parse(cls, name: str) -> "Range":
        """The range of a name. Raises WireError."""
        if not _NAME.fullmatch(name):
            raise WireError(f"{name!r:.80} names no range of shared memory: 64 lower-case hexadecimal digits")
        found = cls(*_NUMBERS.unpack(bytes.fromhex(name)))
        if max(found.offset, found.size) > _MOST:
            raise WireError(f"range {name} lies outside of any memory")
        return found
