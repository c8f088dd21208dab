"""What was accepted survives the end of the control plane, and a full disk is an error and no end."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.place import Place
from tests.support.plane_api import begun, control_plane, finished
from tests.support.processes import no_process_left
from tests.support.waiting import wait_until


@pytest.mark.slow
def test_a_stop_lets_what_runs_finish_and_whoever_waits_gets_the_rest_after_the_next_start(place: Place) -> None:
    starts = place.project / "starts"
    script = f"""
import asyncio, time
from runpod_flash import Endpoint
@Endpoint(name="drained", cpu="cpu3c-1-2", workers=1)
def f(number):
    open({str(starts)!r}, "a").write("x")
    time.sleep(1.5)
    return number
async def main(): print(await asyncio.gather(f(0), f(1), f(2)))
asyncio.run(main())
"""
    with begun(place, script) as process:
        wait_until(starts.exists, 30, "the first call runs")
        first = control_plane(place)
        place.flash("server", "stop").good()
        assert finished(process) == "[0, 1, 2]"
    assert control_plane(place) != first
    assert starts.read_text() == "xxx"


@pytest.mark.slow
def test_queued_jobs_run_after_the_next_start_and_interrupted_ones_as_their_retries_say(place: Place) -> None:
    starts = place.project / "starts"
    head = f"""
import os, sys, time
from runpod_flash import Endpoint, errors
@Endpoint(name="again", cpu="cpu3c-1-2", workers=1)
def again(seconds):
    open({str(starts)!r}, "a").write("a")
    time.sleep(seconds)
    return "done"
@Endpoint(name="once", cpu="cpu3c-1-2", workers=1, retries=0)
def once(seconds):
    open({str(starts)!r}, "a").write("o")
    time.sleep(seconds)
    return "done"
"""
    spawning = head + "print(*[call.spawn(seconds).id for seconds in (3, 0) for call in (again, once)])"
    ids = place.run_script(spawning, env={"FLASH_DRAIN_S": "0.2"}).good().stdout.split()
    wait_until(lambda: starts.exists() and sorted(starts.read_text()) == ["a", "o"], 30, "both calls run")
    place.flash("server", "stop").good()
    no_process_left(place.home)
    asking = (
        head
        + f"""
for number, job in enumerate({ids!r}):
    try: print((again, once)[number % 2].job(job).result(), end=" ")
    except errors.WorkerLost as error: print("lost" if "retries=0" in str(error) else error, end=" ")
"""
    )
    assert place.run_script(asking).good().stdout.split() == ["done", "lost", "done", "done"]
    assert sorted(starts.read_text()) == ["a", "a", "a", "o", "o"]


@pytest.mark.slow
def test_a_result_that_finds_no_room_on_the_disk_is_an_error_and_the_endpoint_lives(place: Place) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs the right to mount")
    script = """
from runpod_flash import Endpoint, errors
@Endpoint(name="roomy", cpu="cpu3c-1-2")
def f(size): return b"x" * size
print(f.remote(1))
try: f.remote(20_000_000)
except errors.JobError as error: print("full" in str(error) or "space" in str(error))
print(f.remote(1))
"""
    path = place.write("script.py", script)
    mount = f"mount -t tmpfs -o size=12m none {place.home} || exit 77"
    command = (
        f"{mount}; {sys.executable} {path}; status=$?; {sys.executable} -m flash_cli server stop >&2; exit $status"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command],
        env=place.env({"FLASH_ARENA_MB": "0"}),  # in memory there would be room
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"mounting is not allowed here: {done.stderr}")
    assert done.stdout.splitlines() == ["b'x'", "True", "b'x'"], done.stderr
