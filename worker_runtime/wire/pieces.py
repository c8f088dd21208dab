"""Encoded values in pieces, so that the large parts of a value are copied once: to where they go."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Part: TypeAlias = bytes | bytearray | memoryview

WHOLE_LIMIT = 256 * 1024
"""Encoded values of up to this many bytes are one `bytes`."""


class Pieces:
    """Bytes that lie in several places, some of them in the value itself: who changes the value changes them.

    Attributes:
        parts: where they lie, in order; each is contiguous and counts in bytes.
        size: how many bytes they are together.
    """

    __slots__ = ("parts", "size")

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts: Sequence[Part] = tuple(parts)
        self.size = sum(map(len, self.parts))

    def __len__(self) -> int:
        return self.size

    def joined(self) -> bytes:
        """All of them as one copy."""
        return b"".join(self.parts)

    def let_go(self) -> None:
        """They are not needed any more; nothing of the value is referred to from here."""
        self.parts, self.size = (), 0


Encoded: TypeAlias = bytes | Pieces


def joined(encoded: Encoded) -> bytes:
    """An encoded value as one `bytes`."""
    return encoded.joined() if isinstance(encoded, Pieces) else encoded
