"""Wait for a condition instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S = 0.02


def wait_until(condition: Callable[[], T], deadline_s: float = 20.0, what: str = "") -> T:
    """Return the first true result of `condition`; fail with `what` after `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what or condition}: not within {deadline_s} s")
        time.sleep(PAUSE_S)
