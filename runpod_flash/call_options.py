"""What `with_options` takes, checked: options of single calls, in place of those of their endpoint."""

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.errors import UnknownOption
from runpod_flash.retries import Retries, check_retries
from runpod_flash.wording import nearest, refusal

LONGEST_S: Final = 7 * 24 * 3600
"""The longest time limit of a call that the platform takes, in seconds."""

PRIORITIES: Final = ("normal", "low")

KEPT: Final[Any] = object()
"""The default of each option: as it is."""

_SHORTEST_S = 0.001


@dataclass(frozen=True, slots=True)
class CallOptions:
    """The options of a call. Times in seconds; None: the endpoint's, or the platform's, own."""

    timeout: float | None = None
    queue_timeout: float | None = None
    retries: int | Retries | None = None
    webhook: str | None = None
    priority: str | None = None

    def changed(self, given: Mapping[str, Any], unknown: Mapping[str, Any]) -> "CallOptions":
        """These options with those of `given` that are not `KEPT`.

        Raises:
            UnknownOption: there is something in `unknown`.
            ConfigError: a value is not allowed.
        """
        for option in unknown:
            raise _unknown(option)
        found: dict[str, Any] = {
            name: _READERS[name](name, value) for name, value in given.items() if value is not KEPT
        }
        return replace(self, **found)

    @property
    def job(self) -> JobOptions:
        """Those that a job is submitted with; the same object for each call."""
        return AS_USUAL if self is AS_DECLARED else _job_options(self)

    def __str__(self) -> str:
        said = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ", ".join(f"{name}={value!r}" for name, value in said if value is not None)


@functools.lru_cache(maxsize=256)
def _job_options(options: CallOptions) -> JobOptions:
    return JobOptions(
        timeout_ms=_ms(options.timeout),
        queue_timeout_ms=_ms(options.queue_timeout),
        low_priority=options.priority == "low",
        webhook=options.webhook,
    )


AS_DECLARED: Final = CallOptions()
"""The options of a call for which nobody said any."""


def _unknown(option: str) -> UnknownOption:
    near = nearest(option, _READERS)
    hint = f"did you mean {near}=?" if near else f"there are {', '.join(_READERS)}; others belong to the endpoint"
    return UnknownOption(f"with_options() has no option {option}=; {hint}")


def _seconds(option: str, value: Any) -> float | None:
    if value is None:
        return None
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not _SHORTEST_S <= value <= LONGEST_S:
        raise refusal(option, value, f"a number of seconds from {_SHORTEST_S:g} to {LONGEST_S} (a week), or None")
    return float(value)


def _retries(option: str, value: Any) -> int | Retries | None:
    return check_retries(value)


def _webhook(option: str, value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"https?://[^\s/?#]+\S*", value)):
        raise refusal(option, value, "a URL such as 'https://host/path', or None")
    return value


def _priority(option: str, value: Any) -> str | None:
    if value is not None and value not in PRIORITIES:
        near = nearest(value, PRIORITIES) if isinstance(value, str) else None
        raise refusal(option, value, "'normal' or 'low'", repr(near) if near else None)
    return None if value is None else str(value)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


_READERS: Final = {
    "timeout": _seconds,
    "queue_timeout": _seconds,
    "retries": _retries,
    "webhook": _webhook,
    "priority": _priority,
}
