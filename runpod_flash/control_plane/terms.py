"""How long jobs may wait and live and how long they are kept, where the one who submits says nothing."""

from dataclasses import dataclass
from typing import TypedDict

from runpod_flash.control_plane.records import Policy


class Limits(TypedDict):
    """The limits of one job, as `JobRecord` has them."""

    queue_timeout_ms: int
    ttl_ms: int
    keep_s: float


@dataclass(frozen=True, slots=True)
class Terms:
    """The platform's own choices, in seconds.

    Jobs of our SDK wait at most `queue_timeout_s` for a worker, run as long as they like and are kept `keep_s`. Those
    that come by the published API alone have its `ttl_s` for their whole life, and its times of keeping.
    """

    queue_timeout_s: float = 24 * 3600.0
    keep_s: float = 24 * 3600.0
    ttl_s: float = 24 * 3600.0
    keep_async_s: float = 30 * 60.0
    keep_sync_s: float = 60.0

    def limits(self, policy: Policy, *, own: bool) -> Limits:
        """The limits of a job; `own`: our SDK has submitted it."""
        published = self.keep_sync_s if policy.sync else self.keep_async_s
        queue = _ms(self.queue_timeout_s if own else 0.0)
        ttl = _ms(0.0 if own else self.ttl_s)
        return {
            "queue_timeout_ms": queue if policy.queue_timeout_ms is None else policy.queue_timeout_ms,
            "ttl_ms": ttl if policy.ttl_ms is None else policy.ttl_ms,
            "keep_s": self.keep_s if own else published,
        }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
