"""Values of Python as plain JSON, which any client reads: what a function gives to a caller that sent plain JSON.

What has one obvious form takes it: dataclasses and pydantic models are objects, times are ISO texts, sets and arrays
are lists. What has none, bytes above all, is refused by its place in the value.
"""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from worker_runtime.wire.errors import CannotTravel
from worker_runtime.wire.neutral_nodes import DEPTH

_BYTES = (
    "is {}, which JSON has no form for; return text, such as base64.b64encode(data).decode(), or call the endpoint "
    "from Python"
)
_NO_FORM = "is {}, which has no form in JSON; return plain data, a dataclass or a pydantic model instead"
_AS_THEY_ARE: Final = frozenset({int, bool, type(None)})
_ARRAYS: Final = ("numpy", "torch")  # packages whose values have `tolist`


def encode(value: Any) -> bytes:
    """A value as JSON text in UTF-8.

    Raises:
        CannotTravel: a part of it has no form in JSON; the error says which part and why.
    """
    try:
        return json.dumps(_converted(value, ()), separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise CannotTravel((), f"is nested too deeply; at most {DEPTH} levels travel") from None


def _converted(value: Any, steps: tuple[str, ...]) -> Any:
    """A value of the types that JSON has."""
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return value
    if kind is str:
        return _text(value, steps)
    if kind is float:
        return _number(value, steps)
    if len(steps) >= DEPTH:
        raise CannotTravel((), f"is nested too deeply; at most {DEPTH} levels travel")
    for types, convert in _FORMS:
        if isinstance(value, types):
            return convert(value, steps)
    return _of_package(value, steps)


def _text(value: str, steps: tuple[str, ...]) -> str:
    text = str.__str__(value)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise CannotTravel(steps, "has halves of characters, which UTF-8 does not carry")
    return text


def _number(value: float, steps: tuple[str, ...]) -> float:
    if not math.isfinite(value):
        raise CannotTravel(steps, f"is {float(value)}, which JSON has no form for; return None or a text in its place")
    return float(value)


def _items(values: Iterable[Any], steps: tuple[str, ...]) -> list[Any]:
    return [
        each if type(each) in _AS_THEY_ARE else _converted(each, (*steps, f"[{place}]"))
        for place, each in enumerate(values)
    ]


def _object(value: Mapping[Any, Any], steps: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = _key(key, steps)
        if name in found:
            raise CannotTravel(steps, f"has two keys that JSON writes as {name!r:.80}")
        found[name] = _converted(each, (*steps, f"[{name!r:.40}]"))
    return found


def _key(key: Any, steps: tuple[str, ...]) -> str:
    plain = _converted(key, (*steps, f"[{key!r:.40}]"))
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain)
    raise CannotTravel(steps, f"has a key of type {type(key).__name__}, and the keys of JSON are texts")


def _fields(value: Any, steps: tuple[str, ...]) -> dict[str, Any]:
    names = [each.name for each in dataclasses.fields(value)]
    return {name: _converted(getattr(value, name), (*steps, f".{name}")) for name in names}


def _of_package(value: Any, steps: tuple[str, ...]) -> Any:
    """The forms of what no module that is imported here knows: dataclasses, pydantic models, arrays."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return _fields(value, steps)
    if hasattr(kind, "model_fields") and callable(getattr(kind, "model_dump", None)):
        return _converted(value.model_dump(), steps)
    if kind.__module__.partition(".")[0] in _ARRAYS and callable(getattr(kind, "tolist", None)):
        return _of_array(value, steps)
    raise CannotTravel(steps, _NO_FORM.format(f"a {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")))


def _of_array(value: Any, steps: tuple[str, ...]) -> Any:
    plain = value.tolist()
    if type(plain) is type(value):  # a scalar of more digits than Python has
        raise CannotTravel(steps, _NO_FORM.format(f"a {type(value).__name__}"))
    return _converted(plain, steps)


def _bytes(value: Any, steps: tuple[str, ...]) -> Any:
    raise CannotTravel(steps, _BYTES.format(type(value).__name__))


_FORMS: Final[tuple[tuple[tuple[type, ...], Callable[[Any, tuple[str, ...]], Any]], ...]] = (
    ((enum.Enum,), lambda value, steps: _converted(value.value, steps)),
    ((list, tuple, set, frozenset, range, collections.deque, collections.UserList), _items),
    ((Mapping,), _object),
    ((str,), _text),
    ((int,), lambda value, steps: int(value)),
    ((float,), _number),
    ((bytes, bytearray, memoryview), _bytes),
    ((datetime.datetime, datetime.date, datetime.time), lambda value, steps: value.isoformat()),
    ((datetime.timedelta,), lambda value, steps: value.total_seconds()),
    ((uuid.UUID, decimal.Decimal), lambda value, steps: str(value)),
    ((pathlib.PurePath,), lambda value, steps: _text(str(value), steps)),
)
"""The forms of all else that is known here, subclasses of JSON's own types included. The first that fits is taken."""
