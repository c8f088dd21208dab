"""Warm calls: one after the other, by HTTP, and ten thousand at once."""

from collections.abc import Iterator
from statistics import median

from benchmarks.driver import Driver
from benchmarks.measures import Figure, Goal, percentile
from benchmarks.scene import Scene

RAY = "Ray actor call"
THERE = "."
"""What runpod's client is told as the endpoint's id for its own local server, which has none in its paths."""

SOME = 300
"""So many gathered calls were measured before there were ten thousand."""


def medians_ms(turns: list[list[float]]) -> tuple[float, ...]:
    """Of each turn's times in seconds."""
    return tuple(median(turn) * 1e3 for turn in turns)


def latency(scene: Scene) -> Iterator[Figure]:
    """A warm call of a function that does nothing, on this machine, beside Ray's."""
    ours, theirs = [], []
    with scene.home().calls("nothing", 1, 1) as flash, scene.ray(1) as ray:
        for _ in range(scene.sizes.turns):
            ours.append(flash.ask("latency", count=scene.sizes.calls))
            theirs.append(ray.ask("latency", count=scene.sizes.calls))
    yield Figure("warm `await f(x)`, p50", "ms", medians_ms(ours), RAY, medians_ms(theirs), Goal(0.5))
    spread = tuple(percentile(turn, 0.99) / median(turn) for turn in ours)
    their_spread = median(percentile(turn, 0.99) / median(turn) for turn in theirs)
    yield Figure(
        "warm `await f(x)`, p99 / p50", "", spread, goal=Goal(2.0), note=f"Ray in the same turns: {their_spread:.2f}"
    )


def runsync(scene: Scene) -> Iterator[Figure]:
    """`POST /v2/{id}/runsync` of deployed code beside runpod's server, by one raw client and by those of users; Ray."""
    home = scene.home()
    endpoint = home.deploy()
    plane = home.plane()
    url, name = f"http://127.0.0.1:{plane.port}", "endpoint_client.py"
    ours = {"FLASH_TARGET": url, "FLASH_API_KEY": plane.key}
    turns: dict[str, list[list[float]]] = {}
    with (
        scene.runpod() as port,
        scene.driver(["http_calls.py", "127.0.0.1", str(plane.port), f"/v2/{endpoint}/runsync", plane.key]) as raw_ours,
        scene.driver(["http_calls.py", "127.0.0.1", str(port), "/runsync"]) as raw_theirs,
        scene.driver([name, endpoint], scene.env(ours)) as own,
        scene.driver(["runpod_client.py", f"{url}/v2", endpoint, plane.key]) as compatible,
        scene.driver(["runpod_client.py", f"http://127.0.0.1:{port}", THERE, "none"]) as theirs,
        scene.ray(1) as ray,
    ):
        drivers = {"raw": raw_ours, "raw runpod": raw_theirs, "own": own, "compatible": compatible, "runpod": theirs}
        for _ in range(scene.sizes.turns):
            for each, driver in {**drivers, "ray": ray}.items():
                turns.setdefault(each, []).append(driver.ask("latency", count=scene.sizes.calls))
    yield from _runsync_figures({each: medians_ms(found) for each, found in turns.items()})


def _runsync_figures(ms: dict[str, tuple[float, ...]]) -> Iterator[Figure]:
    raw = "`POST /v2/{id}/runsync`, deployed code, durable, by a raw client, p50"
    server = "runpod's server has neither worker nor queue: it calls the handler itself"
    yield Figure(raw, "ms", ms["raw"], RAY, ms["ray"], Goal(0.75))
    yield Figure(raw, "ms", ms["raw"], "`runpod` local `/runsync`, same client", ms["raw runpod"], note=server)
    yield Figure(
        "`await Endpoint(id=…).runsync(…)`, the same code, p50", "ms", ms["own"],
        "`runpod.Endpoint(…).run_sync(…)`, `runpod` local", ms["runpod"], Goal(0.65),
        note="each server by the client that its users have",
    )  # fmt: skip
    yield Figure(
        "`runpod.Endpoint(…).run_sync(…)`, the same code, p50", "ms", ms["compatible"],
        "the same client, `runpod` local", ms["runpod"], note="a program for Runpod, as it is, on both",
    )  # fmt: skip


def gathered(scene: Scene) -> Iterator[Figure]:
    """Many calls at once on two workers: by our own way, by HTTP alone, by actors."""
    count = scene.sizes.gathered
    rates: dict[str, list[float]] = {"native": [], "http": [], "ray": []}
    some: dict[str, list[float]] = {"native": [], "ray": []}
    home = scene.home()
    with (
        home.calls("nothing", 2, 2) as native,
        home.http_calls("nothing", 2, 2, "bench-by-http") as http,
        scene.ray(2) as ray,
    ):
        drivers = {"native": native, "http": http, "ray": ray}
        for _ in range(scene.sizes.turns):
            for name, driver in drivers.items():
                rates[name].append(count / driver.ask("gather", count=count)["seconds"])
                if name in some:
                    some[name].append(1e3 * driver.ask("gather", count=SOME)["seconds"])
    peer, theirs = "Ray actors", tuple(rates["ray"])
    yield Figure(
        f"{count:,} calls gathered, 2 workers", "calls/s", tuple(rates["native"]), peer, theirs, Goal(2.0, True)
    )
    yield Figure(
        f"{count:,} calls gathered by a client that has HTTP alone",
        "calls/s",
        tuple(rates["http"]),
        peer,
        theirs,
        Goal(1.3, True),
    )
    yield Figure(f"{SOME} calls gathered, 2 workers", "ms", tuple(some["native"]), peer, tuple(some["ray"]))


def memory(scene: Scene) -> Iterator[Figure]:
    """What the first many calls at once add to the memory of a new caller."""
    count, home = scene.sizes.gathered, scene.home()
    ours, theirs = [], []
    with home.calls("nothing", 2, 2):  # keeps the workers
        for _ in range(scene.sizes.starts):
            with home.calls("nothing", 2, 2) as flash:
                ours.append(_added(flash, count))
            with scene.ray(2) as ray:
                theirs.append(_added(ray, count))
    yield Figure(
        f"what {count:,} gathered calls add to the caller's memory", "MB", tuple(ours), "Ray actors", tuple(theirs),
        Goal(0.15), note="highest resident memory during the first such call of a new process, over that before",
    )  # fmt: skip


def _added(driver: Driver, count: int) -> float:
    added: float = driver.ask("gather", count=count)["added_mb"]
    return max(added, 0.01)


def tasks(scene: Scene) -> Iterator[Figure]:
    """Tasks of ten milliseconds on two workers: how much of that is work."""
    count, each_s, workers = scene.sizes.tasks, 0.010, 2
    for function, bound in (("sleep", 0.95), ("burn", 0.88)):
        ours, theirs = [], []
        with scene.home().calls(function, workers, workers) as flash, scene.ray(workers) as ray:
            for _ in range(scene.sizes.turns):
                ideal = count * each_s / workers
                ours.append(ideal / flash.ask("tasks", count=count, given=each_s))
                theirs.append(ideal / ray.ask("tasks", function=function, count=count, given=each_s))
        what = f"{count} × 10 ms {function}, 2 workers, efficiency"
        yield Figure(what, "", tuple(ours), goal=Goal(bound, True))
        yield Figure(what, "", tuple(ours), "Ray actors", tuple(theirs), Goal(1.0, True))
