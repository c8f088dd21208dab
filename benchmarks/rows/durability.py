"""What it costs that jobs survive: the same calls with and without a journal, and the journal by itself."""

import json
from collections.abc import Iterator

from benchmarks.measures import Figure, Goal
from benchmarks.scene import Scene, last_line

IN_FLIGHT = 256


def durable(scene: Scene) -> Iterator[Figure]:
    """Many calls under way at a control plane, and at one that differs in nothing but that it keeps no job."""
    count = scene.sizes.gathered
    ours: list[float] = []
    without: list[float] = []
    forgetful = scene.home()
    program = [scene.python, "-P", str(scene.project / "forgetful_plane.py")]
    with (
        scene.home().calls("nothing", 2, 2) as keeps,
        forgetful.running(program),
        forgetful.calls("nothing", 2, 2) as forgets,
    ):
        for _ in range(scene.sizes.turns):
            for driver, rates in ((keeps, ours), (forgets, without)):
                rates.append(count / driver.ask("flow", count=count, in_flight=IN_FLIGHT))
    yield Figure(
        f"durable calls, {IN_FLIGHT} in flight", "calls/s", tuple(ours), "the same without a journal", tuple(without),
        Goal(0.85, True),
    )  # fmt: skip
    yield from _records(scene)


def _records(scene: Scene) -> Iterator[Figure]:
    rates = []
    for turn in range(scene.sizes.turns):
        folder = scene.folder / f"journal{turn}"
        folder.mkdir()
        program = str(scene.project / "journal_records.py")
        said = scene.run([scene.python, program, str(folder), str(IN_FLIGHT), str(scene.sizes.records_s)])
        rates.append(json.loads(last_line(said, "RESULT"))["records"])
    yield Figure(
        f"records of the journal, {IN_FLIGHT} jobs in flight", "records/s", tuple(rates), goal=Goal(30_000, True),
        note="the store alone, on disk: a job is accepted, starts and ends, each written before the next",
    )  # fmt: skip
