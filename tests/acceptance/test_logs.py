"""What a job wrote is kept with it, whoever dies; what many write at once reaches who follows."""

import json
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


BURST = """
import sys
from runpod_flash import Endpoint
@Endpoint(name="burst", cpu="cpu3c-1-2", workers=(0, 3), idle_timeout=60)
def f(writer, count):
    sys.stdout.write("".join(f"{writer}/{number}\\n" for number in range(count)))
if __name__ == "__main__":
    jobs = [f.spawn(writer, int(sys.argv[1])) for writer in range(3)]
    for job in jobs: job.result()
    print(jobs[0].id)
"""


@pytest.mark.slow
def test_a_burst_of_several_workers_reaches_who_follows_whole(place: Place) -> None:
    quiet = {"FLASH_LOGS": "off"}
    place.run_script(BURST, name="burst.py", arguments=["1"], env=quiet).good()
    count = 20_000
    with place.flash_running("logs", "burst", "-f", "--json", "--tail", "1") as following:
        assert following.stdout is not None
        following.stdout.readline()  # the last of before: it follows
        job = place.run_script(BURST, name="burst.py", arguments=[str(count)], env=quiet).good().stdout.strip()
        heard = [json.loads(following.stdout.readline())["line"] for _ in range(3 * count)]
    for writer in range(3):
        own = [line for line in heard if line.startswith(f"{writer}/")]
        assert own == [f"{writer}/{number}" for number in range(count)]
    kept = place.flash("logs", job).good().stdout.splitlines()
    assert kept == [f"0/{number}" for number in range(count - 1000, count)]


ROUTES = """
import sys
from runpod_flash import Endpoint
api = Endpoint(name="talks", cpu="cpu3c-1-2", workers=(0, 1), idle_timeout=60)
@api.get("/hello")
def hello():
    print("a request")
    print("a warning", file=sys.stderr)
    return "hello"
if __name__ == "__main__":
    print(api.get.blocking("/hello"))
"""


@pytest.mark.slow
def test_what_workers_write_that_answer_requests(place: Place) -> None:
    place.run_script(ROUTES, name="routes.py", env={"FLASH_LOGS": "off"}).good()
    told = [json.loads(line) for line in place.flash("logs", "talks", "--json").good().stdout.splitlines()]
    assert [(line["line"], line["job"]) for line in told if line["stream"] == "stdout"] == [("a request", None)]
    assert "a warning" in [line["line"] for line in told if line["stream"] == "stderr"]


def lines(place: Place, job: str) -> list[str]:
    found = place.run([str(Path("script.py")), job]).good().stdout.splitlines()
    return [line for line in found if line]
