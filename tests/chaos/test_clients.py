"""The client program is killed again and again under load; the next one comes back to what it has submitted."""

import random

import pytest

from tests.chaos.killing import Killer, load
from tests.chaos.verdict import check
from tests.support.place import Place

JOBS, KILLS = 2500, 25


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_client_that_is_killed_comes_back_to_each_of_its_jobs(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random()
    with load(place, JOBS) as loaded:
        loaded.begun()
        killer = Killer(place, loaded.starts, chance)
        for number in range(KILLS):
            killer.pause(1.5)
            loaded.kill()
            if number % 5 == 0:  # those who come back may have to start the control plane first
                killer.kill("control plane")
            loaded.start()
            killer.recovered("client")
        loaded.enough()
    place.flash("server", "stop").good()
    verdict = check(place, loaded.folder, range(loaded.jobs))
    assert loaded.jobs >= JOBS
    with capsys.disabled():
        print(f"\n{KILLS} kills of the client: {verdict}")
