"""A client that is killed never loses a job: another program comes back to it, and nothing runs twice."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_flash.journal import read
from tests.support.place import Place
from tests.support.plane_api import begun, control_plane, finished
from tests.support.waiting import wait_until

SLOW = """
import sys, time
from pathlib import Path
from runpod_flash import Endpoint

@Endpoint(name="slow", cpu="cpu3c-1-2")
def slow(folder, number):
    with open(folder / "starts", "a") as file: file.write("x")
    print("begun", number, flush=True)
    while not (folder / "go").exists(): time.sleep(0.02)
    print("going on", flush=True)
    return number * number

if __name__ == "__main__":
    print(slow.remote(Path(sys.argv[1]), 12))
"""
MANY = """
import asyncio, sys, time
from runpod_flash import Endpoint

@Endpoint(name="many", cpu="cpu3c-1-2", max_concurrency=10)
def square(number):
    time.sleep(0.05)
    return number * number

async def spawn(count):
    for number in range(count):
        await square.spawn.aio(number)
    print("spawned", flush=True)
    await asyncio.sleep(600)

async def recover():
    jobs = await Endpoint(name="many").recover()
    print([await job.result() for job in jobs])

if __name__ == "__main__":
    asyncio.run(spawn(int(sys.argv[2])) if sys.argv[1] == "spawn" else recover())
"""


@contextlib.contextmanager
def attached(place: Place, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A running `flash jobs attach`; what a failed test leaves of it is killed."""
    with place.start(["-m", "flash_cli", "jobs", "attach", *arguments]) as process:
        try:
            yield process
        finally:
            process.kill()


def killed(process: "subprocess.Popen[str]") -> None:
    """SIGKILL: no `finally`, no exit handler, no goodbye to the platform."""
    process.kill()
    assert process.wait(10) == -signal.SIGKILL


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """What the process writes to stderr up to the line that holds `text`."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"it ended without {text!r}:\n{seen}")


def noted_job(place: Place) -> str:
    """The id of the job that was submitted last."""
    return read(place.home)[-1].job_id


def running(starts: Path) -> None:
    wait_until(starts.exists, 30, "the call runs")


def test_the_call_of_a_killed_client_runs_once_and_its_result_is_there(place: Place) -> None:
    with begun(place, SLOW, str(place.project)) as client:
        running(place.project / "starts")
        killed(client)
    with attached(place, "--last") as process:
        assert "begun 12" in read_until(process, "begun"), "what it has written so far"
        (place.project / "go").touch()
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (0, "144\n"), stderr
    assert "going on" in stderr
    assert place.flash("jobs", "attach", noted_job(place)).good().stdout == "144\n"
    assert (place.project / "starts").read_text() == "x"


@pytest.mark.slow
def test_a_result_is_there_after_client_and_control_plane_were_killed(place: Place) -> None:
    with begun(place, SLOW, str(place.project)) as client:
        running(place.project / "starts")
        killed(client)
    control_plane(place).kill()
    (place.project / "go").touch()
    assert place.flash("jobs", "attach", "--last").good().stdout == "144\n"


@pytest.mark.slow
def test_all_jobs_of_a_killed_client_are_recovered(place: Place) -> None:
    with begun(place, MANY, "spawn", "50") as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "spawned\n"
        killed(client)
    for _ in range(2):
        found = place.run([str(place.project / "script.py"), "recover"]).good()
        assert json.loads(found.stdout) == [number * number for number in range(50)]


@pytest.mark.slow
def test_what_a_client_submitted_until_it_was_killed_is_recovered(place: Place) -> None:
    """Killed in the middle: whatever has arrived is there, nothing twice, nothing that never left."""
    with begun(place, MANY, "spawn", "100000") as client:
        journal = place.home / "submitted.jsonl"
        wait_until(lambda: journal.exists() and journal.stat().st_size > 30_000, 30, "many were submitted")
        killed(client)
    acknowledged = journal.read_text().count('"job":')
    found = json.loads(place.run([str(place.project / "script.py"), "recover"]).good().stdout)
    assert found == [number * number for number in range(len(found))]
    assert len(found) in (acknowledged, acknowledged + 1)


@pytest.mark.slow
def test_calls_that_a_worker_makes_are_not_noted(place: Place) -> None:
    script = """
from runpod_flash import Endpoint
@Endpoint(name="inner", cpu="cpu3c-1-2")
def inner(x): return x + 1
@Endpoint(name="outer", cpu="cpu3c-1-2")
def outer(x): return inner.remote(x) * 10
print(outer.remote(1))
"""
    assert place.run_script(script).good().stdout == "20\n"
    assert [each.endpoint for each in read(place.home)] == ["outer"]


def test_ctrl_c_detaches_and_the_job_goes_on(place: Place) -> None:
    with begun(place, SLOW, str(place.project)) as client:
        running(place.project / "starts")
        job = noted_job(place)
        killed(client)
    with attached(place, job) as process:
        read_until(process, "begun 12")
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert f"detached from job {job} of endpoint 'slow', which goes on" in stderr
    assert f"`flash jobs attach {job}`" in stderr
    assert "Traceback" not in stderr
    (place.project / "go").touch()
    assert place.flash("jobs", "attach", job).good().stdout == "144\n"
    assert (place.project / "starts").read_text() == "x"


@pytest.mark.slow  # the platform tells one client of a job: the other finds out when it looks, up to 30 s later
def test_who_attaches_takes_nothing_from_the_client_that_waits(place: Place) -> None:
    with begun(place, SLOW, str(place.project)) as one:
        running(place.project / "starts")
        with attached(place, "--last") as other:
            read_until(other, "begun 12")
            (place.project / "go").touch()
            assert other.communicate(timeout=60)[0] == "144\n"
        assert finished(one).endswith("144")
    assert (place.project / "starts").read_text() == "x"
