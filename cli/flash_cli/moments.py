"""Moments as people write them: so long ago, or a date with a time."""

import re
from datetime import datetime

from runpod_flash.errors import ConfigError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_LATEST = datetime(9000, 1, 1).timestamp()  # noqa: DTZ001 - any zone will do


def moment(option: str, text: str, now: float) -> float:
    """The moment in seconds since the epoch: `10m`, `2h30m`, `1d` before `now`, or ISO 8601 (local without a zone).

    Raises:
        ConfigError: it is neither; `option` is what the message calls it.
    """
    text = text.strip()
    if _SPAN.fullmatch(text):
        return max(0.0, now - sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
    try:
        found = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        found = -1.0
    if not 0 <= found < _LATEST:
        raise ConfigError(
            f"{option} is {text!r:.80}; it must be a time span such as 90s, 10m, 2h30m or 1d, or a date with a time "
            "such as 2030-01-31T08:00"
        )
    return found
