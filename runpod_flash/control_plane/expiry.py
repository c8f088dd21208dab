"""Until when endpoints and stages live that nobody renews or uses. Pure: the clock is an argument."""

from dataclasses import dataclass
from enum import IntEnum


class Phase(IntEnum):
    """How far something is on its way to its end. It goes back only by being renewed or used."""

    ACTIVE = 0
    RESTING = 1  # its minimum of workers counts as 0, and idle workers end at once
    OVER = 2  # it is removed


@dataclass(frozen=True, slots=True)
class Life:
    """When something rests and when it ends, in seconds since the epoch; None: never."""

    rests_at: float | None = None
    ends_at: float | None = None

    def phase(self, now: float) -> Phase:
        """How far it is at this moment."""
        if self.ends_at is not None and now >= self.ends_at:
            return Phase.OVER
        return Phase.RESTING if self.rests_at is not None and now >= self.rests_at else Phase.ACTIVE

    def next_change(self, now: float) -> float | None:
        """The moment of the next phase, if nothing happens until then; None: there is none."""
        moments = (moment for moment in (self.rests_at, self.ends_at) if moment is not None and moment > now)
        return min(moments, default=None)


FOR_EVER = Life()


@dataclass(frozen=True, slots=True)
class ExpiryTerms:
    """How long things live, in seconds.

    `stage_grace_s`: a stage that has expired is removed so long after. `live_idle_s`, `live_expiry_s`: an endpoint that
    a script made without a deploy rests when it was not used for so long, and is removed; 0: never.
    """

    stage_grace_s: float = 600.0
    live_idle_s: float = 3600.0
    live_expiry_s: float = 7 * 24 * 3600.0

    def of_stage(self, expires_at: float | None) -> Life:
        """The life of a stage. `expires_at`: when it was not renewed; None: it lasts."""
        return FOR_EVER if expires_at is None else Life(expires_at, expires_at + self.stage_grace_s)

    def of_live(self, used_at: float) -> Life:
        """The life of an endpoint that a script made, and that was used last at this moment."""
        return Life(
            used_at + self.live_idle_s if self.live_idle_s else None,
            used_at + self.live_expiry_s if self.live_expiry_s else None,
        )
