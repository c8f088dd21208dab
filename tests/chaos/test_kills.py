"""Control planes, workers' parents and children are killed by SIGKILL at random moments under load; nothing is lost."""

import random

import pytest

from tests.chaos.killing import VICTIMS, Killer, load
from tests.chaos.verdict import check
from tests.support.place import Place

JOBS, KILLS, ONCE_EVERY = 5000, 100, 10
PATIENT = 0.7
"""How often the next kill waits until work goes on; else it may hit a recovery."""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_hundred_kills_of_each_kind_lose_nothing_and_double_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random()
    order = [kind for kind in VICTIMS for _ in range(KILLS)]
    chance.shuffle(order)
    with load(place, JOBS, once_every=ONCE_EVERY) as loaded:
        loaded.begun()
        killer = Killer(place, loaded.starts, chance)
        for kind in order:
            killer.pause(0.4)
            killer.kill(kind)
            if chance.random() < PATIENT:
                killer.recovered(kind)
        killer.recovered(order[-1])
        loaded.enough()
    place.flash("server", "stop").good()
    verdict = check(place, loaded.folder, range(loaded.jobs), ONCE_EVERY)
    assert killer.kills == dict.fromkeys(VICTIMS, KILLS)
    assert loaded.jobs >= JOBS
    with capsys.disabled():
        print(f"\n{verdict}\n{killer.report()}")
