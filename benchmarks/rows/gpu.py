"""Matrix products on a GPU, through an endpoint and without one."""

import subprocess
import time
from collections.abc import Iterator
from statistics import median

from benchmarks.driver import Driver
from benchmarks.measures import Figure
from benchmarks.rows.starts import wait_for_fork_servers
from benchmarks.scene import NotMeasured, Scene

PRODUCTS = ((256, 200), (2048, 100), (8192, 20))
"""Rows of a matrix, and products in a turn."""

TENSOR_MB, TENSORS, WARM = 100, 10, 5
PEER, FRESH_PEER = "in the function", "the same in a new interpreter"
FRESH = "import torch; a = torch.rand(256, 256, device={device!r}); print(float((a @ a)[0, 0]))"


def products(scene: Scene, device: str = "cuda") -> Iterator[Figure]:
    """Warm ones, then the first one of a new worker, forked and spawned; at last a tensor of the CPU there and back."""
    fresh = [scene.python, "-c", FRESH.format(device=device)]
    if subprocess.run(fresh, env=scene.env(), capture_output=True, check=False).returncode:
        raise NotMeasured("this machine has no NVIDIA GPU, or torch does not reach it")
    for way, fork in (("forked", "1"), ("spawned", "0")):
        home = scene.home()
        with scene.driver(["gpu_calls.py", device], home.env({"FLASH_FORK": fork})) as flash:
            yield from _warm(scene, flash, way)
            if fork == "1":
                wait_for_fork_servers(home, 1)
            yield _first(scene, flash, way, fresh)
    with scene.driver(["gpu_calls.py", device], scene.home().env()) as flash:
        flash.ask("tensors", megabytes=TENSOR_MB, count=2)
        times = tuple(seconds * 1e3 for seconds in flash.ask("tensors", megabytes=TENSOR_MB, count=TENSORS))
    yield Figure(f"tensor of {TENSOR_MB} MB on the CPU there and back", "ms", times)


def _warm(scene: Scene, flash: Driver, way: str) -> Iterator[Figure]:
    for size, count in PRODUCTS:
        flash.ask("products", size=size, count=WARM)
        turns = [flash.ask("products", size=size, count=count) for _ in range(scene.sizes.turns)]
        calls, bare, added = zip(*map(_medians_ms, turns), strict=True)
        what = f"product of {size}² matrices on a GPU, {way} worker"
        yield Figure(
            what, "ms", calls, PEER, bare, note="float32, TF32 off; it ends when an element has been read back"
        )
        yield Figure(f"what the call adds to that ({size}², {way})", "ms", added)


def _medians_ms(times: list[tuple[float, float]]) -> tuple[float, float, float]:
    return (
        median(outside for outside, _ in times) * 1e3,
        median(inside for _, inside in times) * 1e3,
        median(outside - inside for outside, inside in times) * 1e3,
    )


def _first(scene: Scene, flash: Driver, way: str, fresh: list[str]) -> Figure:
    ours, theirs = [], []
    for _ in range(scene.sizes.starts):
        ours.append(flash.ask("first", size=256))
        start = time.perf_counter()
        scene.run(fresh)
        theirs.append(time.perf_counter() - start)
    return Figure(f"first product on a GPU of a new worker, {way}", "s", tuple(ours), FRESH_PEER, tuple(theirs))
