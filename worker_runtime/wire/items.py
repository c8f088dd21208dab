"""What a generator yields, as it travels: JSON as it is where that carries it, else a payload.

An item is a chunk of its job's stream in Runpod's job API. What JSON carries unchanged is the chunk itself, so that any
client can read it; everything else is `{"flash": {"value": …}}`, as a result is. A dictionary with the key "flash" is
never the chunk itself, so the two cannot be taken for each other.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_runtime.wire import payload, plain_json
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import require
from worker_runtime.wire.jobs import INLINE_LIMIT, Payload, value_output

_LOOKED_AT = 10_000  # parts of a value that are looked at; one of more is pickled, which is faster
_DEPTH = 50
_WHOLE = 2**53  # above, JSON of other languages loses digits


@dataclass(frozen=True, slots=True)
class Item:
    """An encoded item: JSON where it is `plain`, else a payload."""

    data: bytes = field(repr=False)
    plain: bool


def encode(value: Any, payload_of: Callable[[Any], bytes] = payload.encode) -> Item:
    """Encode an item. `payload_of` makes a payload of what is not plain, and raises what it may."""
    if _Plain().is_plain(value) and not (isinstance(value, dict) and "flash" in value):
        data = json.dumps(value, separators=(",", ":")).encode()
        if len(data) <= INLINE_LIMIT:
            return Item(data, plain=True)
    return Item(payload_of(value), plain=False)


def encode_plain(value: Any) -> Item:
    """Encode an item for a reader of plain JSON. Raises CannotTravel."""
    return Item(plain_json.encode(value), plain=True)


def plain(data: bytes) -> Any:
    """The chunk for an item that is plain. Raises WireError where it is not."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"an item that should be JSON is none: {error}") from error


def chunk_of(described: Payload) -> dict[str, Any]:
    """The chunk for an item that is not plain."""
    return value_output(described)


def read(chunk: Any) -> Payload | None:
    """The payload that a chunk stands for; None where it is the item itself. Raises WireError."""
    if isinstance(chunk, Mapping) and "flash" in chunk:
        return Payload.from_json(require(require(chunk, "flash", dict), "value", dict))
    return None


class _Plain:
    """Looks whether JSON gives a value back as it was: the same types all through."""

    def __init__(self) -> None:
        self._left = _LOOKED_AT

    def is_plain(self, value: Any, depth: int = 0) -> bool:
        self._left -= 1
        kind = type(value)
        if self._left < 0 or depth > _DEPTH:
            return False
        if value is None or kind is bool:
            return True
        if kind is str:
            return len(value) <= INLINE_LIMIT and not _has_halves(value)
        if kind is int:
            return bool(-_WHOLE <= value <= _WHOLE)
        if kind is float:
            return math.isfinite(value)
        if kind is list:
            return all(self.is_plain(each, depth + 1) for each in value)
        return kind is dict and self._is_object(value, depth + 1)

    def _is_object(self, value: dict[Any, Any], depth: int) -> bool:
        if not all(type(key) is str and self.is_plain(key, depth) for key in value):
            return False
        return all(self.is_plain(each, depth) for each in value.values())


def _has_halves(text: str) -> bool:
    """Whether there are halves of characters in a text, which UTF-8 does not carry."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
