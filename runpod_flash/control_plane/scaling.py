"""How many workers an endpoint shall have. Pure: counts and limits in, a number out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueDelay:
    """Add a worker when the oldest queued job has waited longer than `seconds`; 0 scales to the need at once."""

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
    """What there is. `workers` counts starting, idle and busy ones; `oldest_wait` is in seconds."""

    queued: int
    running: int
    workers: int
    starting: int = 0
    oldest_wait: float = 0.0


def decide(load: Load, limits: Limits) -> int:
    """The number of workers to have now, between minimum and maximum; never fewer than there are (see `surplus`)."""
    wanted = max(load.workers, _wanted(load, limits))
    return max(limits.minimum, min(limits.maximum, wanted))


def _wanted(load: Load, limits: Limits) -> int:
    jobs = load.queued + load.running
    if isinstance(limits.scaler, RequestCount):
        return math.ceil(jobs / limits.scaler.jobs)
    need = math.ceil(jobs / limits.slots)
    if load.queued == 0:
        return 0
    if limits.scaler.seconds == 0 or load.workers == 0:
        return need if limits.scaler.seconds == 0 else 1
    if load.oldest_wait > limits.scaler.seconds and load.starting == 0:
        return min(load.workers + 1, need)
    return 0


def surplus(idle_for: Sequence[float], *, workers: int, minimum: int, idle_timeout: float) -> int:
    """How many of the idle workers (idle for so many seconds each) shall stop."""
    expired = sum(1 for seconds in idle_for if seconds >= idle_timeout)
    return max(0, min(expired, workers - minimum))
