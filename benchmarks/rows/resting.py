"""What a system that does nothing costs: memory and processor time, with two warm workers and a client each."""

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import processes
from benchmarks.measures import Figure, Goal
from benchmarks.scene import Scene


def idle(scene: Scene) -> Iterator[Figure]:
    """Both at once, so that both have the same half minute."""
    home = scene.home()
    with home.calls("nothing", 2, 2) as flash, scene.ray(2) as ray:
        for driver in (flash, ray):
            driver.ask("latency", count=min(100, scene.sizes.calls))
        (ray_folder,) = scene.folder.glob("r[0-9]*")
        marks: list[Path] = [home.folder, ray_folder]
        systems = [scene.processes(mark) for mark in marks]
        before = [processes.processor_s(system) for system in systems]
        start = time.perf_counter()
        time.sleep(scene.sizes.idle_s)  # doing nothing is what is measured
        took = time.perf_counter() - start
        used = [
            100 * (processes.processor_s(system) - earlier) / took
            for system, earlier in zip(systems, before, strict=True)
        ]
        memory = [processes.memory_mb(system) for system in systems]
        number = [len(system) for system in systems]
    who = f"caller included: {number[0]} processes beside {number[1]}"
    yield Figure(
        "idle, two warm workers: memory of all processes", "MB", (memory[0],), "Ray, two actors", (memory[1],),
        Goal(0.25), note=f"pages that several share count in parts (PSS); {who}",
    )  # fmt: skip
    yield Figure(
        "idle: processor time", "%", (used[0],), goal=Goal(0.3),
        note=f"of one core over {took:.0f} s; Ray in the same time: {used[1]:.2f} %",
    )  # fmt: skip
