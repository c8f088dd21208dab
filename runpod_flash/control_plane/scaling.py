"""How many workers an endpoint shall have. Pure: counts and limits in, a number out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueDelay:
    """Each queued job that has waited longer than `seconds` adds a worker; 0 scales to the need at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class RequestCount:
    """One worker for every `jobs` queued and running jobs."""

    jobs: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What the endpoint allows. `slots` is how many jobs one worker runs at a time."""

    minimum: int
    maximum: int
    scaler: QueueDelay | RequestCount
    slots: int = 1


@dataclass(frozen=True, slots=True)
class Load:
    """What there is. `queued`, `overdue` and `running` count normal jobs.

    `overdue` are those of the queued that have waited longer than the scaler's delay; REQUEST_COUNT does not read it.
    `workers` counts starting, idle and busy ones, `starting` those that are not yet ready.

    `low_priority` counts queued low-priority jobs. They never change a number here: they run on workers that there are,
    and where there are none, they wait until a normal job or the minimum brings one. `low_priority_running` counts
    those that run. They bring no worker by themselves; while a normal job waits, the slots that they fill are not free.

    `room` is how many more workers the machine has room for; None: not known, no bound.
    """

    queued: int
    running: int
    workers: int
    starting: int = 0
    overdue: int = 0
    low_priority: int = 0
    low_priority_running: int = 0
    room: int | None = None


def decide(load: Load, limits: Limits) -> int:
    """The number of workers to have now: between minimum and maximum, never more than there is room for, never fewer
    than there are (see `surplus`) unless they are above the maximum."""
    wanted = _wanted(load, limits)
    return wanted if load.room is None else min(wanted, load.workers + max(0, load.room))


def throttled(load: Load, limits: Limits) -> int:
    """How many workers are wanted for which the machine has no room."""
    return _wanted(load, limits) - decide(load, limits)


def needed(load: Load, limits: Limits) -> int:
    """How many workers the load and the minimum ask for, whatever there is: those that no idle timeout ends."""
    return max(limits.minimum, min(limits.maximum, _asked(load, limits)))


def surplus(idle_for: Sequence[float], *, workers: int, minimum: int, idle_timeout: float) -> int:
    """How many of the idle workers (idle for so many seconds each) shall stop; `minimum` stay (see `needed`)."""
    expired = sum(1 for seconds in idle_for if seconds >= idle_timeout)
    return max(0, min(expired, workers - minimum))


def _wanted(load: Load, limits: Limits) -> int:
    return max(limits.minimum, min(limits.maximum, max(load.workers, _asked(load, limits))))


def _asked(load: Load, limits: Limits) -> int:
    if isinstance(limits.scaler, RequestCount):
        filled = load.low_priority_running // limits.slots if load.queued else 0
        return math.ceil((load.queued + load.running) / limits.scaler.jobs) + filled
    if load.queued == 0:
        return 0
    need = math.ceil((load.queued + load.running + load.low_priority_running) / limits.slots)
    if limits.scaler.seconds == 0:
        return need
    up = load.workers - load.starting  # what starts is for the overdue jobs: they ask for it again, and not for more
    return min(need, max(1, up + math.ceil(load.overdue / limits.slots)))
