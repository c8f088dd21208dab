"""Values as bytes that every supported Python version reads, and that make nothing run where they are read.

    "FN", protocol          the mark, 3 bytes
    n, 8 bytes              length of the header, little-endian
    header, n bytes         JSON: {"python": "3.11", "value": node, "sizes": [bytes of each buffer]}
    buffers                 each at a multiple of 64 bytes from the beginning

What a payload can make is closed: the kinds of `neutral_plain`, `neutral_objects`, `neutral_arrays`, `neutral_frames`
and `neutral_images`. Classes are found by name and must be of such a kind (`class_names` says which modules may be
imported for that). A hostile payload can make values of these kinds, in a state that their classes would not make
themselves, that take memory in proportion to its size, and import modules that the reader allows. It can call nothing.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker_runtime.wire import (
    PROTOCOL,
    neutral_arrays,
    neutral_frames,
    neutral_images,
    neutral_objects,
    neutral_plain,
)
from worker_runtime.wire.class_names import ClassNames, UnknownClass
from worker_runtime.wire.errors import CannotTravel, VersionMismatch, WireError
from worker_runtime.wire.neutral_nodes import DEPTH, Buffer, Decoder, Encoder, Kind

MARK = b"FN"

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""This side's Python."""

_PREFIX = MARK + bytes([PROTOCOL])
_START = len(_PREFIX) + 8
_ALIGNED = 64

_PACKAGES = {
    "numpy": neutral_arrays.numpy_kind,
    "torch": neutral_arrays.torch_kind,
    "pandas": neutral_frames.pandas_kind,
    "PIL": neutral_images.pillow_kind,
}
_BY_TAG = {
    kind.tag: kind
    for kind in (
        *neutral_plain.KINDS.values(),
        *neutral_objects.KINDS,
        *neutral_arrays.KINDS,
        *neutral_frames.KINDS,
        *neutral_images.KINDS,
    )
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value as bytes, and the modules of the classes that they name."""

    data: bytes
    modules: frozenset[str]


def is_neutral(payload: Buffer) -> bool:
    """Whether these bytes are in this encoding."""
    return bytes(payload[:2]) == MARK


def encode(value: Any, names: ClassNames) -> Encoded:
    """Encode a value; `names`: how this side calls classes.

    Raises:
        CannotTravel: a part of it has no neutral encoding; the error says which part and why.
    """
    encoder = Encoder(_kind_of, names)
    try:
        node = encoder.node(value)
        header = {"python": HERE, "value": node, "sizes": [memoryview(data).nbytes for data in encoder.buffers]}
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise CannotTravel((), f"is nested too deeply; at most {DEPTH} levels travel") from None
    head = _PREFIX + len(text).to_bytes(8, "little") + text
    return Encoded(b"".join(_aligned(head, encoder.buffers)), frozenset(encoder.modules))


def decode(payload: Buffer, names: ClassNames) -> Any:
    """The value of a payload; `names`: which classes this side knows by which names.

    Raises:
        VersionMismatch: it was written by another protocol.
        UnknownClass, ModuleNotFoundError: a class or package that it needs is not here.
        WireError: it is no payload in this encoding, or not as this encoding writes them.
    """
    header, start = _header(payload)
    try:
        buffers = list(_buffers(memoryview(payload), header["sizes"], start))
        return Decoder(_BY_TAG, names, buffers).value(header["value"])
    except (WireError, UnknownClass, ModuleNotFoundError):
        raise
    except RecursionError:
        raise WireError("the value is nested too deeply to be read") from None
    except Exception as error:
        raise WireError(f"the value cannot be made here: {type(error).__name__}: {error}") from error


def python_of(payload: Buffer) -> str:
    """The Python of who wrote a payload in this encoding: "3.13". Raises WireError, VersionMismatch."""
    return str(_header(payload)[0]["python"])


def _kind_of(value: Any) -> Kind | None:
    kind = type(value)
    found = neutral_plain.KINDS.get(kind)
    if found is None:
        of_package = _PACKAGES.get(kind.__module__.partition(".")[0])
        found = of_package(value) if of_package is not None else None
    return found or neutral_objects.kind_of(value)


def _aligned(head: bytes, buffers: list[Buffer]) -> Iterator[Buffer]:
    yield head
    place = len(head)
    for data in buffers:
        gap = -place % _ALIGNED
        yield bytes(gap)
        yield data
        place += gap + memoryview(data).nbytes


def _header(payload: Buffer) -> tuple[dict[str, Any], int]:
    if not is_neutral(payload) or len(payload) < _START:
        raise WireError("these bytes are no payload of this framework")
    if payload[2] != PROTOCOL:
        raise VersionMismatch(
            f"the payload has protocol {payload[2]}, this side speaks {PROTOCOL}; use one version on both sides"
        )
    size = int.from_bytes(payload[len(_PREFIX) : _START], "little")
    if size > len(payload) - _START:
        raise WireError("the payload ends inside its header")
    try:
        header = json.loads(bytes(payload[_START : _START + size]))
    except (ValueError, RecursionError) as error:
        raise WireError(f"the payload's header is no JSON: {error}") from None
    if not isinstance(header, dict) or not {"python", "value", "sizes"} <= header.keys():
        raise WireError("the payload's header is not complete")
    return header, _START + size


def _buffers(payload: memoryview, sizes: list[int], place: int) -> Iterator[memoryview]:
    for size in sizes:
        place += -place % _ALIGNED
        if type(size) is not int or size < 0 or place + size > len(payload):
            raise WireError("the payload ends inside its buffers")
        yield payload[place : place + size]
        place += size
