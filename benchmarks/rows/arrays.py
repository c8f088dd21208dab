"""Arrays of float64 there and back, through a function that gives what it gets."""

import threading
from collections.abc import Iterator
from statistics import median

from benchmarks.driver import Driver
from benchmarks.measures import Figure, Goal
from benchmarks.processes import PrivateMemory
from benchmarks.scene import Home, Scene

RAY = "Ray actor"
GOALS = {1: 0.3, 10: 0.5, 100: 1.0}
STORE_MB = 500
STORED = 3
"""So many arrays of the largest size fit into Ray's store, which is bounded."""


def arrays(scene: Scene) -> Iterator[Figure]:
    """Small to large ones, in turn with Ray; the first of each size is not counted, as it warms pages."""
    home = scene.home()
    with home.calls("nothing", 1, 1) as flash, scene.ray(1, _store_mb(scene.sizes.arrays[-1][0])) as ray:
        for megabytes, count in scene.sizes.arrays:
            ours, theirs = [], []
            for driver in (flash, ray):
                driver.ask("array", megabytes=megabytes, count=2)
            for _ in range(scene.sizes.turns):
                ours.append(median(flash.ask("array", megabytes=megabytes, count=count)) * 1e3)
                theirs.append(median(ray.ask("array", megabytes=megabytes, count=count)) * 1e3)
            goal = Goal(GOALS.get(megabytes, 1.0))
            yield Figure(f"array of {megabytes} MB there and back", "ms", tuple(ours), RAY, tuple(theirs), goal)


def large_array(scene: Scene) -> Iterator[Figure]:
    """One so large that a copy more or less decides whether it fits."""
    megabytes, home = scene.sizes.large_mb, scene.home()
    ours, theirs = [], []
    with home.calls("nothing", 1, 1) as flash, scene.ray(1, _store_mb(megabytes)) as ray:
        for driver in (flash, ray):
            driver.ask("array", megabytes=megabytes, count=1)
        for _ in range(min(3, scene.sizes.turns)):
            ours += flash.ask("array", megabytes=megabytes, count=1)
            theirs += ray.ask("array", megabytes=megabytes, count=1)
        copies = _private_copies(scene, home, flash, megabytes)
    what = f"array of {megabytes / 1000:g} GB there and back"
    yield Figure(what, "s", tuple(ours), RAY, tuple(theirs), Goal(1.5))
    yield Figure(
        "copies of it in memory of its own that one process makes, at most", "", (copies,), goal=Goal(1.1),
        note="of caller, control plane and workers; memory that processes share is nobody's own",
    )  # fmt: skip


def _store_mb(megabytes: int) -> int:
    return max(STORE_MB, STORED * megabytes)


def _private_copies(scene: Scene, home: Home, caller: Driver, megabytes: int) -> float:
    """How often the process that does it most holds the array in memory of its own; the caller's first one is free."""
    memory = PrivateMemory(scene.processes(home.folder))
    done = threading.Event()
    watcher = threading.Thread(target=memory.watch, args=[done])
    watcher.start()
    try:
        caller.ask("array", megabytes=megabytes, count=1)
    finally:
        done.set()
        watcher.join()
    gained = memory.gained_mb()
    gained[caller.pid] -= megabytes
    return max(0.0, *gained.values()) / megabytes
