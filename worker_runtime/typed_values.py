"""Values of JSON become what a parameter is annotated with, where JSON has another form for it.

It is what results become in the other direction (`wire/plain_json.py`): an ISO text is a datetime, an object a
dataclass or a pydantic model, a list a set. What has no such form stays as it came, for the function to look at.
"""

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

_PARSED: Final[tuple[tuple[type, Callable[[Any, Any], Any]], ...]] = (
    (datetime.datetime, lambda kind, value: kind.fromisoformat(value)),
    (datetime.date, lambda kind, value: kind.fromisoformat(value)),
    (datetime.time, lambda kind, value: kind.fromisoformat(value)),
    (datetime.timedelta, lambda kind, value: kind(seconds=value)),
    (decimal.Decimal, lambda kind, value: kind(str(value))),
    (uuid.UUID, lambda kind, value: kind(value)),
    (pathlib.PurePath, lambda kind, value: kind(value)),
    (enum.Enum, lambda kind, value: kind(value)),
)
_AS_THEY_ARE: Final = frozenset({int, str, float, bool})
_SEQUENCES: Final = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_SETS: Final = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def hints_of(function: Any) -> Mapping[str, Any]:
    """The annotations of a function's parameters; none where they name what is not there."""
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # noqa: BLE001 - annotations are the user's code
        return {}


def of_one(kind: Any) -> Any:
    """The type of one value where a batched function takes a list of them."""
    arguments = typing.get_args(kind)
    return arguments[0] if len(arguments) == 1 else Any


def made(kind: Any, value: Any) -> Any:
    """A value of JSON as an annotation has it.

    Raises:
        Exception: it cannot be; the user's own classes are made here.
    """
    if kind is Any or value is None or (type(value) is kind and kind in _AS_THEY_ARE):
        return value
    named = getattr(kind, "__supertype__", None) or getattr(kind, "__value__", None)
    if named is not None and not isinstance(kind, type):  # a NewType, or an alias of Python 3.12
        return made(named, value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value)
    base = origin or kind
    if callable(getattr(base, "model_validate_json", None)):
        return value if isinstance(value, base) else base.model_validate_json(json.dumps(value))
    if isinstance(value, list):
        return _from_list(base, arguments, value)
    if isinstance(value, dict) and base in _MAPPINGS:
        of_keys, of_values = (*arguments, Any, Any)[:2]
        return {made(of_keys, key): made(of_values, each) for key, each in value.items()}
    return _of_class(base, value) if isinstance(base, type) else value


def _of_class(kind: type, value: Any) -> Any:
    if isinstance(value, dict):
        return _dataclass(kind, value) if dataclasses.is_dataclass(kind) else value
    if isinstance(value, str) and issubclass(kind, bytes | bytearray):
        raise TypeError("JSON has no bytes; take a text, in base64 for example, and decode it")
    if isinstance(value, str | int | float) and not isinstance(value, bool | kind):
        for base, parse in _PARSED:
            if issubclass(kind, base):
                return parse(kind, value)
    return value


def _dataclass(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = hints_of(kind)
    return kind(**{name: made(hints.get(name, Any), each) for name, each in value.items()})


def _from_list(kind: Any, arguments: tuple[Any, ...], value: list[Any]) -> Any:
    if kind in _SETS:
        return (frozenset if kind is frozenset else set)(made((*arguments, Any)[0], each) for each in value)
    if kind is tuple:
        if not arguments or arguments[1:] == (...,):
            return tuple(made((*arguments, Any)[0], each) for each in value)
        if len(arguments) != len(value):
            raise ValueError(f"it has {len(value)} items, and {len(arguments)} are wanted")
        return tuple(made(each_kind, each) for each_kind, each in zip(arguments, value, strict=True))
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = hints_of(kind)
        return kind(*(made(hints.get(name, Any), each) for name, each in zip(kind._fields, value, strict=True)))
    if kind in _SEQUENCES:
        return [made((*arguments, Any)[0], each) for each in value]
    return value


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    """As the first of these that it can be; as it came where one of them is that."""
    if any(isinstance(kind, type) and type(value) is kind for kind in kinds):
        return value
    fault: Exception | None = None
    for kind in kinds:
        try:
            found = made(kind, value)
        except Exception as error:  # noqa: BLE001 - the user's own classes are made here
            fault = fault or error
        else:
            if found is not value:
                return found
    if fault is not None:
        raise fault
    return value
