"""What a call costs when there is much else: queued jobs, endpoints, workers. The peer is the system while small."""

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks import processes
from benchmarks.driver import Driver
from benchmarks.measures import Figure, Goal
from benchmarks.scene import Home, Scene

AT_MOST = Goal(1.5)
HELD_S, PART, PROVISIONED = 3600.0, 500, 50


def _in_turn_ms(large: Driver, small: Driver, scene: Scene) -> tuple[list[float], list[float]]:
    """The median of a call at both, which are control planes of their own, in several turns."""
    turns = [
        [1e3 * median(driver.ask("latency", count=scene.sizes.calls)) for driver in (large, small)]
        for _ in range(scene.sizes.turns)
    ]
    return [turn[0] for turn in turns], [turn[1] for turn in turns]


def queued(scene: Scene) -> Iterator[Figure]:
    """A warm call while many jobs of another endpoint wait, beside a control plane where few do."""
    few, many = 10, scene.sizes.queued
    with ExitStack() as stack:
        drivers = [_with_queue(stack, scene.home(), number) for number in (many, few)]
        large, small = _in_turn_ms(drivers[0], drivers[1], scene)
    yield Figure(
        f"a call while {many:,} jobs of another endpoint wait", "ms", tuple(large), f"while {few} do", tuple(small),
        AT_MOST,
    )  # fmt: skip


def _with_queue(stack: ExitStack, home: Home, number: int) -> Driver:
    """What makes calls where so many jobs of another endpoint wait."""
    calls = stack.enter_context(home.calls("nothing", 1, 1))
    waiting = stack.enter_context(home.calls("sleep", 1, 1))
    for begin in range(0, number + 1, PART):  # one of them runs
        waiting.ask("queue", count=min(PART, number + 1 - begin), given=HELD_S)
    return calls


def draining(scene: Scene) -> Iterator[Figure]:
    """What each of many calls at once costs, beside each of fewer."""
    many, fewer = scene.sizes.gathered, max(2, scene.sizes.gathered // 10)
    with scene.home().calls("nothing", 2, 2) as flash:
        turns = [
            tuple(1e6 * flash.ask("gather", count=count)["seconds"] / count for count in (many, fewer))
            for _ in range(scene.sizes.turns)
        ]
    large, small = zip(*turns, strict=True)
    yield Figure(
        f"each of {many:,} calls gathered", "µs", large, f"each of {fewer:,}", small, AT_MOST,
        note="they wait in the queue of one endpoint",
    )  # fmt: skip


def endpoints(scene: Scene) -> Iterator[Figure]:
    """A warm call where many endpoints are, beside a control plane that has one."""
    number = scene.sizes.endpoints
    with scene.home().calls("nothing", 1, 1) as many, scene.home().calls("nothing", 1, 1) as one:
        for begin in range(1, number, PROVISIONED):
            end = min(begin + PROVISIONED, number)
            many.ask("provision", names=[f"other-{each}" for each in range(begin, end)])
        large, small = _in_turn_ms(many, one, scene)
    yield Figure(f"a call where {number} endpoints are", "ms", tuple(large), "where 1 is", tuple(small), AT_MOST)


def workers(scene: Scene) -> Iterator[Figure]:
    """What a sleeping call costs the control plane with one worker and with many."""
    many, home = scene.sizes.workers, scene.home()
    count, each_s = 10 * many, 0.02
    turns = min(3, scene.sizes.turns)
    with home.calls("sleep", 1, 1, "one") as one, home.calls("sleep", many, many, "many") as crowd:
        pid = home.plane().pid
        pairs = [[_plane_us(scene, pid, each, count, each_s) for each in (crowd, one)] for _ in range(turns)]
        large, small = zip(*pairs, strict=True)
    yield Figure(
        f"processor time of the control plane for a call, {many} workers", "µs", large, "1 worker", small, AT_MOST,
        note=f"{count} calls at once, each sleeps {1e3 * each_s:.0f} ms",
    )  # fmt: skip


def _plane_us(scene: Scene, pid: int, driver: Driver, count: int, each_s: float) -> float:
    """Processor time of the control plane for each of so many calls, in microseconds."""
    plane = scene.tree(pid)[:1]
    before = processes.processor_s(plane)
    driver.ask("tasks", count=count, given=each_s)
    return 1e6 * (processes.processor_s(plane) - before) / count
