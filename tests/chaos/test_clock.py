"""The clock of the control plane is stepped by an hour, forth and back, under load: leases do not look at it."""

import random

import pytest

from tests.chaos.altered_plane import running
from tests.chaos.killing import Killer, load
from tests.chaos.verdict import check
from tests.support.place import Place

JOBS, STEPS = 1500, (3600, 0, -3600, 0, 86000, 3600)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_clock_that_jumps_loses_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    clock = place.project / "clock"
    clock.write_text("0")
    with running(place, "--clock", str(clock)) as plane, load(place, JOBS) as loaded:
        loaded.begun()
        killer = Killer(place, loaded.starts, random.Random())
        workers = killer.victims("worker parent")
        for step in STEPS:
            killer.pause(2)
            clock.with_name("next").write_text(str(step))
            clock.with_name("next").replace(clock)
            killer.recovered("clock")
        assert killer.victims("worker parent") == workers, "a worker was given up"
        assert plane.poll() is None
        loaded.enough()
    verdict = check(place, loaded.folder, range(loaded.jobs))
    # A call that was taken back from behind another one has used up an attempt, and has not begun: decision 23.
    assert (verdict.starts, verdict.retries) == (verdict.jobs, 0), "a lease was taken for lost"
    with capsys.disabled():
        print(f"\n{len(STEPS)} steps of the clock: {verdict}")
