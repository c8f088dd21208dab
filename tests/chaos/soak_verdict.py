"""Whether a series of measurements stayed flat: a pure rule.

    |  warm-up  |  first third  |  second third  |  last third  |
       left out   start: median                    end: median

The growth is what a robust line (Theil–Sen) rises from the end of the warm-up to the end, or the difference of the two
medians, whichever is more: the line sees a slow leak whole, the medians see a step. A single outlier moves neither.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WARM_UP = 0.25
"""The part of the run that is left out."""

PART = 0.05
"""What may be added to the start value, as a part of it."""

_ENOUGH = 9  # samples: three for each third


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a series, in its own unit: its median at the start and at the end, its growth, what is allowed."""

    start: float
    end: float
    growth: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether it grew no more than it may."""
        return self.growth <= self.allowed


def judge(times: Sequence[float], values: Sequence[float], least: float) -> Verdict:
    """The verdict on a series. Growth of `least`, a small amount in its unit, is allowed however small the start is.

    Raises:
        ValueError: there are too few samples after the warm-up.
    """
    times, values = _after_warm_up(times, values)
    if len(values) < _ENOUGH:
        raise ValueError(f"{len(values)} samples after the warm-up; {_ENOUGH} are needed")
    third = len(values) // 3
    start, end = statistics.median(values[:third]), statistics.median(values[-third:])
    growth = max(slope(times, values) * (times[-1] - times[0]), end - start)
    return Verdict(start, end, growth, max(PART * start, least))


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs of samples (Theil–Sen)."""
    samples = list(zip(times, values, strict=True))
    return statistics.median(
        (later - earlier) / (then - before)
        for number, (before, earlier) in enumerate(samples)
        for then, later in samples[number + 1 :]
    )


def peaks(times: Sequence[float], values: Sequence[float], window_s: float) -> list[float]:
    """For each sample the highest one of the `window_s` seconds before it: flat where a sawtooth is."""
    return [
        max(value for before, value in zip(times, values, strict=True) if now - window_s <= before <= now)
        for now in times
    ]


def _after_warm_up(times: Sequence[float], values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    begin = times[0] + WARM_UP * (times[-1] - times[0])
    first = next(number for number, time in enumerate(times) if time >= begin)
    return times[first:], values[first:]
