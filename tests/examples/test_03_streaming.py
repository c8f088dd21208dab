"""The example of streams, as a user runs it."""

import shutil
from pathlib import Path

import pytest

from tests.support.place import ROOT, Place
from tests.support.processes import no_process_left

pytestmark = pytest.mark.slow


def test_it_prints_primes_and_reads_countdowns(place: Place) -> None:
    script = Path(shutil.copy(ROOT / "examples" / "03_streaming.py", place.project))
    done = place.run([str(script)], env={"FLASH_LOGS": "off"}, timeout_s=60).good()
    *primes, last = done.stdout.split("\n")[:-1]
    assert [int(prime) for prime in primes[:3]] == [1000000007, 1000000009, 1000000021]
    assert len(primes) == 10
    assert last == "10 primes; countdowns of 10, 10, 10 lines"
    place.flash("server", "stop")
    no_process_left(place.home)
