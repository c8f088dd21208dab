"""What is told about a run: queue delay, worker-seconds beside the oracle's, and series to draw."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.simulation.engine import Run

BINS = 150
"""Into how many equal times a picture of queue delays is cut."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one run. Delays are in seconds, `ratio` is worker-seconds over those of the oracle."""

    name: str
    p50: float
    p95: float
    p99: float
    longest: float
    ratio: float
    peak: int
    cold_starts: int
    looks: int


def figures(name: str, run: Run, oracle: Run) -> Figures:
    """Of a run and the oracle's run of the same workload."""
    delays = sorted(run.delays)
    p50, p95, p99 = (percentile(delays, part) for part in (0.5, 0.95, 0.99))
    ratio = run.worker_seconds / oracle.worker_seconds
    return Figures(name, p50, p95, p99, delays[-1], ratio, run.peak, run.cold_starts, run.looks)


def percentile(ordered: Sequence[float], part: float) -> float:
    """The nearest rank: the least value that is not exceeded by so large a part of them. `ordered` is not empty."""
    return ordered[max(0, -int(-part * len(ordered) // 1) - 1)]


def delays_over_time(arrivals: "array[float]", delays: "array[float]") -> tuple[list[float], list[float]]:
    """Moments, and the 95th percentile of the delays of those who arrived around them; no moment where nobody came."""
    width = arrivals[-1] / BINS or 1.0
    moments, values, first = [], [], 0
    for number in range(1, BINS + 1):
        last = first
        while last < len(arrivals) and (arrivals[last] <= number * width or number == BINS):
            last += 1
        if last > first:
            moments.append((number - 0.5) * width)
            values.append(percentile(sorted(delays[first:last]), 0.95))
        first = last
    return moments, values
