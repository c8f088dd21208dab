"""How many calls a worker gets ahead of the one that it runs. Pure: what was measured in, a number out.

A call that ends leaves its worker idle until the next one has come; the shorter calls are, the more that costs. One
that is ahead waits behind the one that runs, though another worker may be free before: the longer calls are, the more
*that* costs. So depth goes by how long the pool's last calls took, as their workers measured it.
"""

from typing import Final

MOST: Final = 64
"""The most calls that are ahead of the one that runs."""

_WEIGHT: Final = 0.125  # of the last call in the mean
_LONG_S: Final = 0.1  # calls that take longer get none ahead
_SHORT_S: Final = 0.001  # for those that take less, several are
_AHEAD_S: Final = 0.004  # how much work these are
_PATIENCE_S: Final = 0.05  # and more than workers take to be heard on a busy machine
_TIMES_THE_MEAN: Final = 4.0
_WORTH_S: Final = 0.001


class Pace:
    """How long a pool's calls take: the mean of the last ones, in seconds.

    Attributes:
        depth: how many calls a worker has ahead; none before anything was measured.
    """

    def __init__(self) -> None:
        self._mean_s: float | None = None
        self.depth = 0

    def took(self, seconds: float) -> None:
        """A call has run for so long."""
        mean = self._mean_s
        self._mean_s = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
        self.depth = _depth(self._mean_s)

    @property
    def patience_s(self) -> float:
        """How long a call may run before those that wait behind it are taken back."""
        return max(_PATIENCE_S, _TIMES_THE_MEAN * (self._mean_s or 0.0))

    @property
    def is_worth_moving(self) -> bool:
        """Whether a call that waits behind another is better off on a worker that has become free."""
        return self._mean_s is not None and self._mean_s > _WORTH_S


def _depth(mean_s: float) -> int:
    if mean_s > _LONG_S:
        return 0
    if mean_s > _SHORT_S:
        return 1
    return min(MOST, int(_AHEAD_S / max(mean_s, 1e-6)))
