"""What a job wrote is kept with it, whoever dies."""

from pathlib import Path

import pytest

from tests.support.place import Place
from tests.support.plane_api import control_plane

SCRIPT = """
import os, signal, sys
from runpod_flash import Endpoint, errors
@Endpoint(name="killed", cpu="cpu3c-1-2", retries=1)
def f(folder):
    print("on stdout, without an end of line", end="", flush=True)
    os.write(2, b"\\non stderr\\n")
    os.kill(os.getpid(), signal.SIGKILL)
if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*Endpoint(name="killed").job(sys.argv[1]).logs(), sep="\\n")
    else:
        job = f.spawn(None)
        try: job.result()
        except errors.WorkerLost: print(job.id)
"""
WRITTEN = ["on stdout, without an end of line", "on stderr"]


@pytest.mark.slow
def test_what_a_child_wrote_before_sigkill_is_kept_over_attempts_and_restarts(place: Place) -> None:
    job = place.run_script(SCRIPT, env={"FLASH_LOGS": "off"}).good().stdout.strip()
    assert sorted(lines(place, job)) == sorted(2 * WRITTEN)
    plane = control_plane(place)
    plane.kill()
    plane.wait(10)
    assert sorted(lines(place, job)) == sorted(2 * WRITTEN)


def lines(place: Place, job: str) -> list[str]:
    found = place.run([str(Path("script.py")), job]).good().stdout.splitlines()
    return [line for line in found if line]
