"""Rules for QUEUE_DELAY that were not taken (docs/decisions/0012), to be run beside the one that was."""

import math

from runpod_flash.control_plane.scaling import Limits, Load


def one_by_one(load: Load, limits: Limits) -> int:
    """One worker more while a job is overdue, and none while one starts."""
    return _bounded(load, limits, load.workers + (1 if load.overdue and not load.starting else 0))


def doubled(load: Load, limits: Limits) -> int:
    """As many workers again as are up while a job is overdue."""
    return _bounded(load, limits, 2 * (load.workers - load.starting) if load.overdue else 0)


def all_at_once(load: Load, limits: Limits) -> int:
    """A worker for every queued job as soon as one is overdue."""
    return _bounded(load, limits, load.queued + load.running if load.overdue else 0)


def _bounded(load: Load, limits: Limits, wanted: int) -> int:
    need = math.ceil((load.queued + load.running) / limits.slots) if load.queued else 0
    asked = min(need, max(1, wanted))
    return max(limits.minimum, min(limits.maximum, max(load.workers, asked)))
