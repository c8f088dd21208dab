"""Workers are stopped by SIGSTOP for longer than their lease, then go on, out of the control plane's reach meanwhile.

That is a worker on a machine that was cut off: it is counted as lost, its calls run elsewhere, and what it says when it
is back is refused.
"""

import random
import signal

import pytest

from tests.chaos.altered_plane import running
from tests.chaos.killing import Killer, load, tree_of
from tests.chaos.verdict import check
from tests.support.place import Place
from tests.support.waiting import wait_until

JOBS, STOPS = 1500, 10
REFUSED = "a late result is refused"
LOST = "silent for"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_a_worker_says_after_its_lease_is_refused(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with running(place, "--out-of-reach", FLASH_LEASE_S="1") as plane, load(place, JOBS) as loaded:
        loaded.begun()
        log = place.project / "altered.log"
        killer = Killer(place, loaded.starts, random.Random())
        for number in range(1, STOPS + 1):
            killer.pause(1)
            child = killer.kill("worker child", signal.SIGSTOP)  # of a worker that has connected, and so has a lease
            stopped = tree_of(child.parents()[1])
            for process in stopped:
                process.suspend()
            wait_until(lambda number=number: log.read_text().count(LOST) >= number, 20, "the lease is over")
            killer.recovered("stopped worker")
            for process in stopped:
                process.resume()
            wait_until(lambda parent=stopped[0]: not parent.is_running(), 20, "it is ended when it is back")
        wait_until(lambda: REFUSED in log.read_text(), 20, "a stopped worker has brought its result late")
        assert plane.poll() is None
        loaded.enough()
    verdict = check(place, loaded.folder, range(loaded.jobs))
    assert verdict.attempts > verdict.jobs
    late = log.read_text().count(REFUSED)
    with capsys.disabled():
        print(f"\n{STOPS} workers stopped beyond their lease, {late} late results refused: {verdict}")
