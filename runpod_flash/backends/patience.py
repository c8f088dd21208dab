"""How long a platform is waited for that has too much to do (429) or says when it will be ready (503).

429                    as long as it asks, where it does not say: 1, 2, 4 … s; 300 s altogether
503 with Retry-After   as long as it asks; 30 s altogether
"""

import email.utils
from dataclasses import dataclass, field

from runpod_flash.errors import BackendUnavailable, FlashError

LIMIT_S = {429: 300.0, 503: 30.0}
"""How long one request waits altogether, by the status that keeps it waiting, in seconds."""

_FIRST_S, _LONGEST_S, _LEAST_S = 1.0, 16.0, 0.1
_WHY = {429: "takes no more requests for now", 503: "is not ready"}


class Busy(Exception):
    """A refusal that may not last.

    Attributes:
        after_s: how many seconds `platform` asks to wait, None where it does not say.
        error: what the refusal means where nobody waits.
    """

    def __init__(self, status: int, after_s: float | None, platform: str, error: FlashError) -> None:
        super().__init__(f"{platform} {_WHY[status]}; calls wait and go on by themselves ({error})")
        self.status, self.after_s, self.platform, self.error = status, after_s, platform, error


def is_busy(status: int, after_s: float | None) -> bool:
    """Whether an answer with this status, that asks to wait `after_s` seconds, is a refusal that may not last."""
    return status == 429 or (status == 503 and after_s is not None)


def retry_after(header: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for: a number of them, or a date. None where it says neither.

    `now`: seconds since the epoch.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


@dataclass(slots=True)
class Patience:
    """What one request has waited so far, in seconds, by status."""

    waited: dict[int, float] = field(default_factory=dict)
    _next_s: float = _FIRST_S

    def pause(self, busy: Busy) -> float:
        """The seconds to wait now. Where that is too long, the refusal's own error is raised, or BackendUnavailable."""
        waited, limit = self.waited.get(busy.status, 0.0), LIMIT_S[busy.status]
        pause = max(_LEAST_S, self._next_s if busy.after_s is None else busy.after_s)
        if waited + pause > limit:
            if busy.after_s is None or waited:
                raise busy.error
            raise BackendUnavailable(
                f"{busy.platform} {_WHY[busy.status]} and asks to wait {pause:.0f} s, longer than the {limit:.0f} s "
                f"that a call waits; try again then ({busy.error})"
            )
        self._next_s = min(2 * self._next_s, _LONGEST_S)
        self.waited[busy.status] = waited + pause
        return pause
