"""With FLASH_FORK=0 no worker is forked from a process that has imported what it needs, and all works."""

import psutil
import pytest

from tests.support.place import Place
from tests.support.processes import processes_of

SCRIPT = """
    from runpod_flash import Endpoint

    @Endpoint(name="spawned", cpu="cpu3c-1-2", workers=2)
    def both(x):
        import os
        return x, os.getpid()

    print([both.remote(x)[0] for x in (1, 2)])
"""


def programs(place: Place) -> list[str]:
    """The commands of what runs for this place."""
    return [" ".join(psutil.Process(process.pid).cmdline()) for process in processes_of(place.home)]


@pytest.mark.slow
def test_every_worker_is_started_anew(place: Place) -> None:
    assert place.run_script(SCRIPT, env={"FLASH_FORK": "0"}).good().stdout == "[1, 2]\n"
    found = programs(place)
    assert any("worker_runtime" in each for each in found)
    assert not any("forkserver" in each for each in found)
    place.flash("server", "stop").good()
    place.run_script(SCRIPT).good()
    assert any("forkserver" in each for each in programs(place))
