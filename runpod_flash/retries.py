"""`Retries`: which failures of a call are tried again, how often, and after which pauses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from runpod_flash.wording import refusal
from worker_runtime.wire.retries import Backoff

LONGEST_S = 24 * 3600.0
"""The longest pause before an attempt, in seconds."""

_COEFFICIENTS = (1.0, 10.0)

Kind: TypeAlias = type[BaseException] | str


@dataclass(frozen=True, init=False)
class Retries:
    """Tries a call again that fails, with a growing pause before each attempt: `retries=Retries(3)`.

        Retries(3, on=(ConnectionError, "requests.Timeout"), initial_delay=1.0, backoff_coefficient=2.0)

    A lost worker counts, too, whatever `on` says, and is not paused for. What was cancelled, ran too long, could not be
    installed or loaded is never tried again.

    Args:
        max_retries: how many attempts may follow the first.
        on: exceptions after which the function is tried again, subclasses included: classes, or their names where the
            class is not here to be named ("requests.Timeout"; the end of the module may be left out, or all of it).
            Default: any exception.
        initial_delay: pause before the first retry, in seconds, 0 to 86400.
        backoff_coefficient: by how much each pause is longer than the one before, 1 to 10.
        max_delay: the longest pause, in seconds, 0 to 86400.

    Raises:
        ConfigError: a value is not allowed.
    """

    max_retries: int
    on: tuple[str, ...] | None
    initial_delay: float
    backoff_coefficient: float
    max_delay: float

    def __init__(
        self,
        max_retries: int,
        *,
        on: Kind | Sequence[Kind] | None = None,
        initial_delay: float = 1.0,
        backoff_coefficient: float = 2.0,
        max_delay: float = 60.0,
    ) -> None:
        _set(self, "max_retries", _count("max_retries", max_retries))
        _set(self, "on", None if on is None else _names(on))
        _set(self, "initial_delay", _between("initial_delay", initial_delay, 0.0, LONGEST_S, " (seconds)"))
        _set(self, "backoff_coefficient", _between("backoff_coefficient", backoff_coefficient, *_COEFFICIENTS))
        _set(self, "max_delay", _between("max_delay", max_delay, 0.0, LONGEST_S, " (seconds)"))

    def to_backoff(self) -> Backoff:
        """As it travels, beside the number."""
        return Backoff(self.on, self.initial_delay, self.backoff_coefficient, self.max_delay)


def check_retries(value: Any) -> int | Retries | None:
    """The value of an option `retries=`. Raises ConfigError."""
    if value is None or isinstance(value, Retries):
        return value
    return _count("retries", value, " or Retries(…)")


def as_sent(retries: int | Retries | None) -> tuple[int | None, Backoff | None]:
    """What a call says of it: see `Call.retries` and `Call.backoff`."""
    return (retries.max_retries, retries.to_backoff()) if isinstance(retries, Retries) else (retries, None)


_set = object.__setattr__  # the class is frozen


def _count(option: str, value: Any, other: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise refusal(option, value, f"a whole number of 0 or more{other}")
    return value


def _between(option: str, value: Any, low: float, high: float, unit: str = "") -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high:
        raise refusal(option, value, f"a number from {low:g} to {high:g}{unit}")
    return float(value)


def _names(on: Any) -> tuple[str, ...]:
    items = list(on) if isinstance(on, list | tuple | set | frozenset) else [on]
    if not items:
        raise refusal("on", on, "an exception class, the name of one, or a list of them that is not empty")
    names = [_name(item) for item in items]
    return tuple(sorted(names) if isinstance(on, set | frozenset) else names)


def _name(item: Any) -> str:
    if isinstance(item, type) and issubclass(item, BaseException):
        return item.__qualname__ if item.__module__ == "builtins" else f"{item.__module__}.{item.__qualname__}"
    if isinstance(item, str) and all(part.isidentifier() for part in item.split(".")):
        return item
    near = repr(type(item)) if isinstance(item, BaseException) else None
    raise refusal("on", item, "an exception class, or the name of one such as 'requests.Timeout'", near)
