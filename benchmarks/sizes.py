"""How much is measured: what figures need, and the least that shows that a row works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of everything that rows repeat.

    Attributes:
        turns: how often a measurement is made, in turn with the peer's.
        starts: the same for what takes seconds.
        calls: single calls in a turn.
        gathered: calls at once.
        tasks: tasks of ten milliseconds.
        arrays: megabytes of an array, and how many go there and back in a turn.
        large_mb: the array that is so large that copies count.
        idle_s: how long nothing is done.
        records_s: how long the journal is written in a turn.
        queued, endpoints, workers: up to how many the system grows.
    """

    turns: int
    starts: int
    calls: int
    gathered: int
    tasks: int
    arrays: tuple[tuple[int, int], ...]
    large_mb: int
    idle_s: float
    records_s: float
    queued: int
    endpoints: int
    workers: int


FULL = Sizes(
    turns=6, starts=5, calls=1000, gathered=10_000, tasks=200, arrays=((1, 30), (10, 10), (100, 4)), large_mb=1000,
    idle_s=30.0, records_s=1.5, queued=10_000, endpoints=500, workers=64,
)  # fmt: skip
SMALL = Sizes(
    turns=2, starts=1, calls=30, gathered=100, tasks=10, arrays=((1, 2),), large_mb=4, idle_s=1.0, records_s=0.1,
    queued=30, endpoints=5, workers=3,
)  # fmt: skip
