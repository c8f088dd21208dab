"""What dies takes everything it started with it; what was accepted goes on."""

import json
import signal

import psutil
import pytest

from tests.support.nobody import NOBODY, needs_root, place_of_nobody, run_as_nobody
from tests.support.place import Place
from tests.support.processes import below, no_process_left, processes_of, signal_all
from tests.support.waiting import wait_until

GRANDCHILD = """
import subprocess, sys, time
from runpod_flash import Endpoint
@Endpoint(name="parent", cpu="cpu3c-1-2")
def f(seconds):
    null = subprocess.DEVNULL
    subprocess.Popen(["setsid", "sleep", "4242.5"], stdin=null, stdout=null, stderr=null)
    time.sleep(seconds)
    return "started"
print(f.remote(0), flush=True)
"""


def control_plane(place: Place) -> psutil.Process:
    """The control plane of this place."""
    (record,) = place.home.glob("planes/*/record.json")
    return psutil.Process(json.loads(record.read_text())["pid"])


def sleepers() -> list[psutil.Process]:
    """The grandchildren that the script left."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["cmdline"] == ["sleep", "4242.5"] and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_nothing_is_left_after_the_control_plane_is_killed(place: Place) -> None:
    place.run_script(GRANDCHILD).good()
    assert len(sleepers()) == 1
    control_plane(place).kill()
    wait_until(lambda: not sleepers(), 15, "the grandchild is gone")
    no_process_left(place.home)


def test_nothing_is_left_after_a_worker_is_killed(place: Place) -> None:
    place.run_script(GRANDCHILD).good()
    signal_all(below(control_plane(place)))
    wait_until(lambda: not sleepers(), 15, "the grandchild is gone")


@pytest.mark.slow
def test_a_call_that_holds_the_gil_for_three_leases_ends_once(place: Place) -> None:
    path = place.project / "starts"
    script = f"""
from runpod_flash import Endpoint
@Endpoint(name="gil", cpu="cpu3c-1-2")
def f():
    import time
    open({str(path)!r}, "a").write("x")
    number, started = 7 ** 900_000, time.monotonic()
    while time.monotonic() - started < 3.5:
        number * number
    return "once"
print(f.remote())
"""
    done = place.run_script(script, env={"FLASH_LEASE_S": "1"}).good()
    assert done.stdout.strip() == "once"
    assert path.read_text() == "x"


@pytest.mark.slow
def test_a_call_survives_the_death_of_the_control_plane(place: Place) -> None:
    path = place.project / "running"
    script = f"""
from runpod_flash import Endpoint
@Endpoint(name="survives", cpu="cpu3c-1-2")
def f():
    import time
    open({str(path)!r}, "a").write("x")
    time.sleep(2)
    return "survived"
print(f.remote())
"""
    place.write("script.py", script)
    process = place.start([str(place.project / "script.py")])
    wait_until(path.exists, 30, "the call runs")
    control_plane(place).kill()
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout.strip()) == (0, "survived"), stderr
    assert path.read_text() == "xx"


def test_ctrl_c_cancels_the_call(place: Place) -> None:
    path = place.project / "running"
    script = f"""
import asyncio
from runpod_flash import Endpoint
@Endpoint(name="interrupted", cpu="cpu3c-1-2")
def f():
    import time
    open({str(path)!r}, "a").write("x")
    time.sleep(60)
FORM
"""
    for form in ("f.remote()", "asyncio.run(f())"):
        place.write("script.py", script.replace("FORM", form))
        process = place.start([str(place.project / "script.py")])
        wait_until(path.exists, 30, "the call runs")
        path.unlink()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode != 0
        assert "KeyboardInterrupt" in stderr

        def running() -> int:
            return sum(entry["jobs"]["inProgress"] + entry["jobs"]["inQueue"] for entry in place.endpoints())

        wait_until(lambda: running() == 0, 20, "the job is cancelled")


@pytest.mark.slow
def test_it_leaves_by_itself_when_nobody_is_here_even_with_a_minimum_of_workers(place: Place) -> None:
    script = """
from runpod_flash import Endpoint
@Endpoint(name="minimum", cpu="cpu3c-1-2", workers=(1, 2))
def f(): return 1
print(f.remote())
"""
    place.run_script(script, env={"FLASH_IDLE_EXIT_S": "1"}).good()
    assert processes_of(place.home)
    no_process_left(place.home, 30)


def test_user_code_cannot_read_state_or_keys(place: Place) -> None:
    script = """
import os
from runpod_flash import Endpoint
@Endpoint(name="curious", cpu="cpu3c-1-2")
def f(home):
    found = []
    for folder, _, names in os.walk(os.path.join(home, "planes")):
        found += names
    return found
print(f.remote(os.environ["FLASH_HOME"]))
"""
    assert place.run_script(script).good().stdout.strip() == "[]"


@pytest.mark.slow
@needs_root
def test_the_whole_way_as_another_user() -> None:
    with place_of_nobody() as (place, python):
        place.write("script.py", GRANDCHILD + "import os\nprint(os.getuid())\n")
        done = run_as_nobody(place, python, "script.py")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["started", str(NOBODY)]
        assert len(sleepers()) == 1
        control_plane(place).kill()
        wait_until(lambda: not sleepers(), 15, "the grandchild is gone")
        no_process_left(place.home)
