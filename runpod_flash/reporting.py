"""`progress`: how far a function is, said on its worker and shown at its caller."""

import math
import numbers
from typing import Any

from runpod_flash.errors import CallError
from worker_runtime import reporting
from worker_runtime.wire.jobs import Progress

MESSAGE_LIMIT = 200
"""Characters of a message that are shown."""


def progress(done: float, total: float | None = None, message: str = "") -> None:
    """Say how far the running call is: the caller sees a bar, and others the job's output while it runs.

    Some ten reports in a second leave the worker, the last one always, so it may be called often. It belongs to the
    call around it, also in tasks and in threads (with max_concurrency above 1, in those of `asyncio.to_thread`). Where
    no call runs, as in `f.local(x)`, it does nothing.

    Args:
        done: how much is done, in any unit.
        total: how much there is to do; None where that is not known.
        message: words to show beside it, in one line.

    Raises:
        CallError: `done` or `total` is no finite number, or `message` no text.
    """
    if not isinstance(message, str):
        raise CallError(f"progress() was given message={message!r:.80}; it must be a text")
    words = " ".join(message.split())[:MESSAGE_LIMIT]
    reporting.report(Progress(_number("done", done), None if total is None else _number("total", total), words))


def _number(name: str, value: Any) -> float:
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value) and not isinstance(value, bool):
        return float(value)
    raise CallError(f"progress() was given {name}={value!r:.80}; it must be a finite number")
