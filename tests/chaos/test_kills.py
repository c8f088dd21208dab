"""Control planes, workers' parents and children are killed by SIGKILL at random moments under load; nothing is lost."""

import random

import pytest

from tests.chaos.killing import IN_FLIGHT, VICTIMS, Killer, load
from tests.chaos.verdict import check
from tests.support.place import Place

JOBS, KILLS, ONCE_EVERY = 5000, 100, 10
MORE, KILLS_OF_MORE = 10, 12
PATIENT = 0.7
"""How often the next kill waits until work goes on; else it may hit a recovery."""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_hundred_kills_of_each_kind_lose_nothing_and_double_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    said = killed(place, kills=KILLS, longest_pause_s=0.4)
    with capsys.disabled():
        print(f"\n{said}")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_times_the_load_loses_nothing_and_doubles_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """As many more calls, as many more of them under way, each as much shorter; fewer kills, as it has to end."""
    said = killed(place, kills=KILLS_OF_MORE, longest_pause_s=2.0, more=MORE)
    with capsys.disabled():
        print(f"\n{MORE} times the load: {said}")


def killed(place: Place, *, kills: int, longest_pause_s: float, more: int = 1) -> str:
    """Kill so many of each kind, in any order, and look at what came of it; the figures in words."""
    chance = random.Random()
    order = [kind for kind in VICTIMS for _ in range(kills)]
    chance.shuffle(order)
    with load(place, more * JOBS, more * IN_FLIGHT, ONCE_EVERY, shorter=more) as loaded:
        loaded.begun()
        killer = Killer(place, loaded.starts, chance)
        for kind in order:
            killer.pause(longest_pause_s)
            killer.kill(kind)
            if chance.random() < PATIENT:
                killer.recovered(kind)
        killer.recovered(order[-1])
        loaded.enough()
    place.flash("server", "stop").good()
    verdict = check(place, loaded.folder, range(loaded.jobs), ONCE_EVERY)
    assert killer.kills == dict.fromkeys(VICTIMS, kills)
    assert loaded.jobs >= more * JOBS
    return f"{verdict}\n{killer.report()}"
