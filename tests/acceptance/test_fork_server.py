"""Workers are forked from a process that has imported what their function does."""

import signal

import psutil
import pytest

from tests.support.place import Place
from tests.support.plane_api import control_plane
from tests.support.waiting import wait_until

NUMBERS = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
from runpod_flash import Endpoint

@Endpoint(name="numbers", cpu="cpu3c-1-2", workers=2, dependencies=["numpy"])
def draw(seconds):
    early = "numpy" in sys.modules
    import numpy, random
    time.sleep(seconds)
    return os.environ["RUNPOD_POD_ID"], early, float(numpy.random.random()), random.random()

first = draw.remote(0)
print("first", flush=True)
sys.stdin.readline()
while True:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(draw.remote, (1, 1)))
    if both[0][0] != both[1][0]:
        break
print(first[1], [early for worker, early, *_ in both if worker != first[0]])
print(both[0][2] != both[1][2], both[0][3] != both[1][3])
"""


def fork_servers(place: Place, word: str = "forkserver") -> list[psutil.Process]:
    """The fork servers of a place's control plane, those whose command line has a word."""
    found = control_plane(place).children()
    return [
        each for each in found if any("forkserver" in text for text in each.cmdline()) and word in str(each.cmdline())
    ]


def test_the_second_worker_has_imported_what_the_first_one_did_and_draws_other_numbers(place: Place) -> None:
    script = place.write("drawing.py", NUMBERS)
    with place.start([str(script)], stdin=-1) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "first\n"
        wait_until(lambda: fork_servers(place, "numpy"), 60, "a fork server that has numpy")
        (server,) = fork_servers(place, "numpy")
        wait_until(lambda: f"fork server {server.pid} is ready" in log_of(place), 60, "it is ready")
        process.stdin.write("\n")
        process.stdin.close()
        assert process.stdout.read() == "False [True]\nTrue True\n"


def log_of(place: Place) -> str:
    """What the control plane has written."""
    (log,) = place.home.glob("planes/*/plane.log")
    return log.read_text()


PRELOADED = """
import sys
from runpod_flash import Endpoint

@Endpoint(name="named", cpu="cpu3c-1-2", idle_timeout=1, preload=["colorsys"])
def early():
    return "colorsys" in sys.modules

print(early.remote())
"""


@pytest.mark.slow
def test_what_an_endpoint_names_is_imported_for_the_workers_that_come_later(place: Place) -> None:
    done = place.run_script(PRELOADED, name="named.py").good()
    assert done.stdout == "False\n"  # the first worker does not wait for a fork server that has it
    wait_until(lambda: fork_servers(place, "colorsys"), 30, "a fork server that has it")
    wait_until(lambda: not workers(place), 30, "the worker has ended")
    wait_until(lambda: log_of(place).count("colorsys imported") == 1, 30, "it is ready")
    assert place.run_script(PRELOADED, name="named.py").good().stdout == "True\n"


UNIMPORTABLE = """
from runpod_flash import Endpoint

@Endpoint(name="hopeful", cpu="cpu3c-1-2", preload=["colorsys", "not_installed", "asyncio.windows_events"])
def f(x):
    return x + 1

print(f.remote(1))
"""


def test_what_cannot_be_imported_ahead_is_told_and_the_call_runs(shared_place: Place) -> None:
    assert shared_place.run_script(UNIMPORTABLE, name="hopeful.py").good().stdout == "2\n"
    wait_until(lambda: "asyncio.windows_events imported" in log_of(shared_place), 60, "the fork server is ready")
    again = shared_place.run_script(UNIMPORTABLE, name="hopeful.py").good()
    assert again.stdout == "2\n"
    told = [line for line in again.stderr.splitlines() if "cannot be imported ahead" in line]
    assert len(told) == 2, again.stderr
    assert "hopeful: preload='not_installed' cannot be imported ahead (ModuleNotFoundError: No module" in told[0]
    assert "hopeful: preload='asyncio.windows_events' cannot be imported ahead (ImportError: win32 only)" in told[1]


def workers(place: Place) -> list[str]:
    """The ids of its workers."""
    return [worker for endpoint in place.endpoints() for worker in endpoint["workerIds"]]


@pytest.mark.slow
def test_a_fork_server_that_was_killed_is_replaced(place: Place) -> None:
    script = """
        from runpod_flash import Endpoint
        @Endpoint(name="again", cpu="cpu3c-1-2", idle_timeout=1)
        def f(x): return x
        print(f.remote(1))
    """
    place.run_script(script).good()
    (server,) = fork_servers(place)
    wait_until(lambda: not workers(place), 30, "the worker has ended")
    server.send_signal(signal.SIGKILL)
    assert place.run_script(script).good().stdout == "1\n"
    wait_until(lambda: [each.pid for each in fork_servers(place)] not in ([], [server.pid]), 30, "another one")
