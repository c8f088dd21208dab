"""The published rates: how often, how much at once, and how long a queue one user may have of an endpoint."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from runpod_flash.control_plane.limits import Limits, Rate
from runpod_flash.control_plane.principals import Principal
from runpod_flash.control_plane.problems import Problem

WINDOW_S: Final = 10.0
"""The window in which requests are counted, in seconds."""

_QUEUE_RETRY_S: Final = 10
_UNCOUNTED: Final = nullcontext()


@dataclass(slots=True)
class _Use:
    """What one user makes of one operation of one endpoint: when requests were let in, and how many run."""

    times: deque[float] = field(default_factory=deque)
    running: int = 0

    def forget(self, now: float) -> None:
        while self.times and self.times[0] <= now - WINDOW_S:
            self.times.popleft()


class Rates:
    """Lets requests in, or refuses them. `clock` gives seconds and never goes back."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._uses: dict[tuple[str, str, str], _Use] = {}
        self._swept = clock()

    def __len__(self) -> int:
        """How many users, endpoints and operations are remembered."""
        return len(self._uses)

    def enter(
        self, principal: Principal, endpoint_id: str, operation: str, running_workers: int = 0, *, requests: int = 1
    ) -> AbstractContextManager[None]:
        """Count a request, which runs as long as the block does. One that stands for many counts as so many `requests`.

        It is let in where there is room for one.

        Raises:
            Problem: 429 with Retry-After (whole seconds), before the block begins. Refused requests do not count.
        """
        base = self._limits.rates.get(operation)
        if base is None or not is_rated(self._limits, principal):
            return _UNCOUNTED
        rate = effective(base, running_workers, self._limits.per_worker)
        return self._counted((principal.user, endpoint_id, operation), rate, requests)

    @contextmanager
    def _counted(self, key: tuple[str, str, str], rate: Rate, requests: int) -> Iterator[None]:
        now = self._clock()
        self._sweep(now)
        use = self._uses.setdefault(key, _Use())
        use.forget(now)
        _refuse_excess(use, rate, key[2], now)
        use.times.extend([now] * requests)
        use.running += 1
        try:
            yield
        finally:
            use.running -= 1

    def _sweep(self, now: float) -> None:
        """Forget who has not been here for a window; once in a window."""
        if now - self._swept < WINDOW_S:
            return
        self._swept = now
        for key, use in list(self._uses.items()):
            use.forget(now)
            if not use.times and not use.running:
                del self._uses[key]


def is_rated(limits: Limits, principal: Principal) -> bool:
    """Whether rates and the bound of the queue hold for this principal."""
    if limits.rated == "keys":
        return not principal.is_admin and principal.worker is None
    return limits.rated == "everybody"


def effective(base: Rate, running_workers: int, per_worker: int) -> Rate:
    """The rate of an endpoint with so many workers: `per_worker` requests for each, where those are more.

    As many more, in proportion, may run at once. 0 stays what it is, no bound.
    """
    requests = running_workers * per_worker
    if base.requests == 0 or requests <= base.requests:
        return base
    return Rate(requests, base.concurrent * requests // base.requests)


def queue_refusal(limits: Limits, principal: Principal, waiting: int, workers_max: int) -> Problem | None:
    """The refusal (429) of a job where `waiting` jobs are too many already, None where it may come."""
    bounds = (limits.queue_floor, workers_max * limits.queue_per_worker)
    unbound = limits.queue_floor == 0 or limits.queue_per_worker == 0 or not is_rated(limits, principal)
    if unbound or waiting <= max(bounds):
        return None
    return _too_many(f"{waiting} jobs wait already; at most {max(bounds)} may wait at this endpoint", _QUEUE_RETRY_S)


def _refuse_excess(use: _Use, rate: Rate, operation: str, now: float) -> None:
    if 0 < rate.requests <= len(use.times):
        leaves = use.times[-rate.requests] + WINDOW_S
        many = f"at most {rate.requests} requests of '{operation}' in {WINDOW_S:g} s are allowed for an endpoint"
        raise _too_many(many, max(1, math.ceil(leaves - now)))
    if 0 < rate.concurrent <= use.running:
        many = f"at most {rate.concurrent} requests of '{operation}' at a time are allowed for an endpoint"
        raise _too_many(many, 1)


def _too_many(text: str, seconds: int) -> Problem:
    return Problem(429, f"{text}; try again in {seconds} s", headers={"Retry-After": str(seconds)})
