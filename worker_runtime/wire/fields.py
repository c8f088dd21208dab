"""Checked reading of JSON objects: every complaint names the field, what was given and what is allowed."""

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from worker_runtime.wire.errors import WireError

T = TypeVar("T")

_MISSING = object()


def require(data: Mapping[str, Any], name: str, kind: type[T], default: Any = _MISSING) -> T:
    """Return `data[name]`, which must be a `kind`.

    Raises:
        WireError: the field is missing and has no default, or is of another type.
    """
    value = data.get(name, default)
    if value is _MISSING:
        raise WireError(f"field '{name}' is missing; it must be {_said(kind)}")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise WireError(f"field '{name}' is {value!r:.80}; it must be {_said(kind)}")
    return value


def optional(data: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """Return `data[name]` or None where it is absent or null."""
    if data.get(name) is None:
        return None
    return require(data, name, kind)


def strings(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the list of strings `data[name]`; an absent field is an empty list."""
    values = require(data, name, list, default=[])
    if not all(isinstance(value, str) for value in values):
        raise WireError(f"field '{name}' is {values!r:.80}; it must be a list of strings")
    return tuple(values)


def string_map(data: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return the string-to-string object `data[name]`; an absent field is an empty one."""
    values = require(data, name, dict, default={})
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in values.items()):
        raise WireError(f"field '{name}' must map strings to strings")
    return dict(values)


def seconds(data: Mapping[str, Any], name: str, default: float) -> float:
    """Return the time span `data[name]`: a number of seconds, 0 or more. Raises WireError."""
    value = data.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise WireError(f"field '{name}' is {value!r:.80}; it must be a number of seconds, 0 or more")
    return float(value)


def absolute(data: Mapping[str, Any], name: str) -> str | None:
    """Return the absolute path `data[name]` or None where it is absent or null. Raises WireError."""
    path = optional(data, name, str)
    if path is not None and (not path.startswith("/") or "\0" in path):
        raise WireError(f"field '{name}' is {path!r:.80}; it must be an absolute path")
    return path


def _said(kind: type) -> str:
    return {str: "a string", int: "an integer", bool: "true or false", dict: "an object", list: "a list"}.get(
        kind, kind.__name__
    )
