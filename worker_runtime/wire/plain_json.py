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
from typing import Any, Final, NoReturn

from worker_runtime.wire.errors import CannotTravel
from worker_runtime.wire.neutral_nodes import DEPTH

_BYTES = (
    "is {}, which JSON has no form for; return text, such as base64.b64encode(data).decode(), or call the endpoint "
    "from Python"
)
_NO_FORM = "is {}, which has no form in JSON; return plain data, a dataclass or a pydantic model instead"
_AS_THEY_ARE: Final = frozenset({int, bool, type(None)})
_encoder: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, ensure_ascii=False)
_ARRAYS: Final = ("numpy", "torch")  # packages whose values have `tolist`


def encode(value: Any) -> bytes:
    """A value as JSON text in UTF-8.

    Raises:
        CannotTravel: a part of it has no form in JSON; the error says which part and why.
    """
    try:
        return _encoder.encode(_converted(value, 0)).encode()
    except RecursionError:
        raise CannotTravel((), f"is nested too deeply; at most {DEPTH} levels travel") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed in JSON")


decode: Final = json.JSONDecoder(parse_constant=_no_constant).decode
"""Reads JSON as the standard has it, which knows no NaN. Raises ValueError (json.JSONDecodeError), RecursionError."""


def _converted(value: Any, depth: int) -> Any:
    """A value of the types that JSON has. Raises CannotTravel, RecursionError."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is str:
        return value if value.isascii() else _text(value, depth)
    if kind is float:
        return _number(value, depth)
    if depth >= DEPTH:
        raise RecursionError
    if kind is dict:
        return _object(value, depth)
    for types, convert in _FORMS:
        if isinstance(value, types):
            return convert(value, depth)
    return _of_package(value, depth)


def _text(value: str, depth: int) -> str:
    text = str.__str__(value)
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise CannotTravel((), "has halves of characters, which UTF-8 does not carry")
    return text


def _number(value: float, depth: int) -> float:
    if not math.isfinite(value):
        raise CannotTravel((), f"is {float(value)}, which JSON has no form for; return None or a text in its place")
    return float(value)


def _items(values: Iterable[Any], depth: int) -> list[Any]:
    found: list[Any] = []
    try:
        for each in values:
            is_plain = type(each) in _AS_THEY_ARE or (type(each) is float and math.isfinite(each))
            found.append(each if is_plain else _converted(each, depth + 1))
    except CannotTravel as error:
        raise _inside(f"[{len(found)}]", error) from None
    return found


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    key: Any = None
    try:
        for key, each in value.items():
            name = key if type(key) is str and key.isascii() else _key(key, depth + 1)
            found[name] = each if type(each) in _AS_THEY_ARE else _converted(each, depth + 1)
    except CannotTravel as error:
        raise _inside(f"[{key!r:.40}]", error) from None
    if len(found) < len(value):
        raise CannotTravel((), f"has two keys that JSON writes as {_repeated(value, depth)!r:.80}")
    return found


def _key(key: Any, depth: int) -> str:
    plain = _converted(key, depth)
    if isinstance(plain, str):
        return plain
    if plain is None or isinstance(plain, bool | int | float):
        return json.dumps(plain)
    raise CannotTravel((), f"is a key of type {type(key).__name__}, and the keys of JSON are texts")


def _repeated(value: Mapping[Any, Any], depth: int) -> str:
    names = [_key(key, depth) for key in value]
    return next(name for place, name in enumerate(names) if name in names[:place])


def _inside(step: str, error: CannotTravel) -> CannotTravel:
    return CannotTravel((step, *error.steps), error.what)


def _fields(value: Any, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in dataclasses.fields(value):
        try:
            found[each.name] = _converted(getattr(value, each.name), depth + 1)
        except CannotTravel as error:
            raise _inside(f".{each.name}", error) from None
    return found


def _of_package(value: Any, depth: int) -> Any:
    """The forms of what no module that is imported here knows: dataclasses, pydantic models, arrays."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return _fields(value, depth)
    if hasattr(kind, "model_fields") and callable(getattr(kind, "model_dump", None)):
        return _converted(value.model_dump(), depth)
    if kind.__module__.partition(".")[0] in _ARRAYS and callable(getattr(kind, "tolist", None)):
        return _of_array(value, depth)
    raise CannotTravel((), _NO_FORM.format(f"a {kind.__module__}.{kind.__qualname__}".replace("builtins.", "")))


def _of_array(value: Any, depth: int) -> Any:
    plain = value.tolist()
    if type(plain) is type(value):  # a scalar of more digits than Python has
        raise CannotTravel((), _NO_FORM.format(f"a {type(value).__name__}"))
    return _converted(plain, depth)


def _bytes(value: Any, depth: int) -> Any:
    raise CannotTravel((), _BYTES.format(type(value).__name__))


_FORMS: Final[tuple[tuple[tuple[type, ...], Callable[[Any, int], Any]], ...]] = (
    ((enum.Enum,), lambda value, depth: _converted(value.value, depth)),
    ((list, tuple, set, frozenset, range, collections.deque, collections.UserList), _items),
    ((Mapping,), _object),
    ((str,), _text),
    ((int,), lambda value, depth: int(value)),
    ((float,), _number),
    ((bytes, bytearray, memoryview), _bytes),
    ((datetime.datetime, datetime.date, datetime.time), lambda value, depth: value.isoformat()),
    ((datetime.timedelta,), lambda value, depth: value.total_seconds()),
    ((uuid.UUID, decimal.Decimal), lambda value, depth: str(value)),
    ((pathlib.PurePath,), lambda value, depth: _text(str(value), depth)),
)
"""The forms of all else that is known here, subclasses of JSON's own types included. The first that fits is taken."""
