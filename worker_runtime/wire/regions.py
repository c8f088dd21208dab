"""A pickle and the buffers that it refers to, one after the other: they can be read where they lie.

    prefix, 8 bytes         mark and versions (`payload`), the rest zeros
    counts, 16 bytes        how many buffers; bytes of the pickle
    index                   for each buffer: where it begins, from the prefix on, and its bytes
    pickle
    buffers                 each at a multiple of 64 bytes from the beginning

Numbers have 8 bytes, little-endian.
"""

import struct
from collections.abc import Sequence

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.pieces import Part, Pieces

ALIGNED = 64
"""Where buffers begin: a multiple of this, as vector instructions like it."""

_PREFIX = 8
_COUNTS = struct.Struct("<QQ")
_ENTRY = struct.Struct("<QQ")


def lay_out(prefix: bytes, stream: Sequence[Part], buffers: Sequence[memoryview]) -> Pieces:
    """The pieces of a region. `stream` is the pickle; `buffers` are what it refers to, in its order."""
    length = sum(map(len, stream))
    head_end = _PREFIX + _COUNTS.size + _ENTRY.size * len(buffers)
    index, parts, end = bytearray(), list[Part](), head_end + length
    for buffer in buffers:
        start = -(-end // ALIGNED) * ALIGNED
        index += _ENTRY.pack(start, buffer.nbytes)
        parts += [bytes(start - end), buffer]
        end = start + buffer.nbytes
    head = prefix.ljust(_PREFIX, b"\0") + _COUNTS.pack(len(buffers), length) + bytes(index)
    return Pieces([head, *stream, *parts])


def take_apart(region: memoryview) -> tuple[memoryview, list[memoryview]]:
    """The pickle and the buffers of a region, where they lie. Raises WireError."""
    try:
        count, length = _COUNTS.unpack_from(region, _PREFIX)
        head_end = _PREFIX + _COUNTS.size + _ENTRY.size * count
        if head_end + length > len(region):
            raise WireError("a payload is cut off")
        entries = list(_ENTRY.iter_unpack(region[_PREFIX + _COUNTS.size : head_end]))
    except struct.error as error:
        raise WireError("a payload is cut off") from error
    if any(start < head_end + length or start + size > len(region) for start, size in entries):
        raise WireError("a payload refers to bytes that it does not have")
    buffers = [region[start : start + size] for start, size in entries]
    return region[head_end : head_end + length], buffers
