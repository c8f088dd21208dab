"""The life of workers as a user feels it: leases, cancelling, changes of the endpoint, concurrency, failed starts."""

import concurrent.futures
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.place import Place
from tests.support.plane_api import begun, control_plane, finished, last_input, plane_client
from tests.support.processes import below
from tests.support.waiting import wait_until


def workers_of(place: Place, name: str) -> list[str]:
    """The ids of an endpoint's workers."""
    return [worker for entry in place.endpoints() if entry["name"] == name for worker in entry["workerIds"]]


@pytest.mark.slow
def test_a_worker_that_is_silent_for_a_lease_is_lost_and_its_job_runs_elsewhere(place: Place) -> None:
    marks = place.project / "starts"
    script = f"""
import os, time
from runpod_flash import Endpoint
@Endpoint(name="silent", cpu="cpu3c-1-2")
def f():
    first = not os.path.exists({str(marks)!r})
    open({str(marks)!r}, "a").write("x")
    if first: time.sleep(60)
    return "from the second"
print(f.remote())
"""
    with begun(place, script, FLASH_LEASE_S="1") as process:
        wait_until(marks.exists, 30, "the call runs")
        (worker,) = below(control_plane(place))
        worker.send_signal(signal.SIGSTOP)
        assert finished(process) == "from the second"
    assert marks.read_text() == "xx"
    assert not worker.is_running()


@pytest.mark.slow
def test_a_control_plane_that_was_held_up_does_not_count_its_workers_as_lost(place: Place) -> None:
    marks = place.project / "starts"
    script = f"""
import time
from runpod_flash import Endpoint
@Endpoint(name="paused", cpu="cpu3c-1-2")
def f():
    open({str(marks)!r}, "a").write("x")
    time.sleep(4)
    return "once"
print(f.remote())
"""
    with begun(place, script, FLASH_LEASE_S="1") as process:
        wait_until(marks.exists, 30, "the call runs")
        plane = control_plane(place)
        plane.suspend()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.5)
        plane.resume()
        assert finished(process) == "once"
    assert marks.read_text() == "x"


def test_cancelling_queued_running_and_building_jobs(place: Place) -> None:
    running = place.project / "running"
    script = f"""
import time
from runpod_flash import Endpoint, errors
from runpod_flash.job import EndpointJob
@Endpoint(name="stubborn", cpu="cpu3c-1-2", workers=1)
def f(seconds):
    open({str(running)!r}, "a").write("x")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try: time.sleep(0.05)
        except BaseException: pass
    return "fine"
@Endpoint(name="built", cpu="cpu3c-1-2", dependencies=["numpy==1.26.0"])
def g(): return 1
jobs = [f.spawn(60), f.spawn(60), g.spawn()]
import os
while not os.path.exists({str(running)!r}): time.sleep(0.02)
for job in reversed(jobs): job.cancel()
for job in jobs:
    started = time.monotonic()
    try: job.result()
    except errors.JobCancelled as error: print("cancelled", time.monotonic() - started < 20)
print(f.remote(0))
"""
    done = place.run_script(script, env={"FLASH_CANCEL_GRACE_S": "0.5"}).good()
    assert done.stdout.splitlines() == ["cancelled True"] * 3 + ["fine"]
    assert running.read_text() == "xx"
    wait_until(lambda: not [p for p in control_plane(place).children() if p.name() == "uv"], 10, "the build has ended")


def test_a_deleted_endpoint_cancels_its_jobs_and_ends_its_workers(place: Place) -> None:
    running = place.project / "running"
    script = f"""
import asyncio, time
from runpod_flash import Endpoint
@Endpoint(name="doomed", cpu="cpu3c-1-2", workers=1)
def f():
    open({str(running)!r}, "a").write("x")
    time.sleep(60)
async def main():
    results = await asyncio.gather(f(), f(), return_exceptions=True)
    print(*[type(result).__name__ for result in results])
asyncio.run(main())
"""
    with begun(place, script, FLASH_CANCEL_GRACE_S="0.5") as process, contextlib.ExitStack() as stack:
        wait_until(running.exists, 30, "the call runs")
        client = stack.enter_context(plane_client(place))
        (endpoint,) = client.get("/v2/serverless").json()["endpoints"]
        path = f"/v2/{endpoint['id']}/health"
        wait_until(lambda: client.get(path).json()["jobs"]["inQueue"] == 1, 20, "one waits")
        assert client.delete(f"/v2/serverless/{endpoint['id']}").status_code == 204
        assert client.get(path).status_code == 404
        assert finished(process) == "JobCancelled JobCancelled"
    wait_until(lambda: not below(control_plane(place)), 20, "its worker has ended")


def test_a_changed_endpoint_lets_running_jobs_finish_and_gives_new_ones_to_new_workers(place: Place) -> None:
    running, go_on = place.project / "running", place.project / "go-on"
    script = f"""
import asyncio, os, sys, time
from runpod_flash import Endpoint
@Endpoint(name="rolled", cpu="cpu3c-1-2", workers=(0, 2), env={{"MODE": sys.argv[1]}})
def f(waits):
    if waits:
        open({str(running)!r}, "w").close()
        while not os.path.exists({str(go_on)!r}): time.sleep(0.02)
    return os.environ["MODE"], os.environ["RUNPOD_POD_ID"]
mode, worker = f.remote(sys.argv[1] == "old")
print(mode, worker)
"""
    with begun(place, script, "old") as old:
        wait_until(running.exists, 30, "the call runs")
        new = place.run([str(place.project / "script.py"), "new"]).good().stdout.split()
        go_on.touch()
        mode, worker = finished(old).split()
    assert (mode, new[0]) == ("old", "new")
    assert worker != new[1]
    wait_until(lambda: workers_of(place, "rolled") == [new[1]], 20, "the old worker has gone")


@pytest.mark.slow
def test_a_minimum_of_workers_stays_warm(place: Place) -> None:
    script = """
import asyncio, os, time
from runpod_flash import Endpoint
@Endpoint(name="warm", cpu="cpu3c-1-2", workers=(1, 2), idle_timeout=1)
def f(seconds):
    time.sleep(seconds)
    return os.environ["RUNPOD_POD_ID"]
async def main():
    return await asyncio.gather(f(0.5), f(0.5))
print(*asyncio.run(main()))
"""
    first = set(place.run_script(script).good().stdout.split())
    assert len(first) == 2
    wait_until(lambda: len(workers_of(place, "warm")) == 1, 20, "one has gone")
    with pytest.raises(AssertionError):
        wait_until(lambda: len(workers_of(place, "warm")) != 1, 2, "nothing else changes")
    assert set(workers_of(place, "warm")) < first


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_four_calls_overlap_in_one_worker_and_its_output_reaches_the_caller(shared_place: Place, kind: str) -> None:
    script = f"""
import asyncio, os, threading, time
from runpod_flash import Endpoint
@Endpoint(name="four", cpu="cpu3c-1-2", workers=1, max_concurrency=4)
{kind} f(number):
    import builtins
    here = builtins.__dict__.setdefault("here", set())
    here.add(number)
    print("in", number)
    end = time.monotonic() + 10
    while len(here) < 4 and time.monotonic() < end: {"await asyncio" if "async" in kind else "time"}.sleep(0.01)
    return os.environ["RUNPOD_POD_ID"], len(here)
async def main():
    results = await asyncio.gather(*[f(number) for number in range(4)])
    print(len({{worker for worker, _ in results}}), [met for _, met in results])
asyncio.run(main())
"""
    lines = shared_place.run_script(script, name=f"{len(kind)}.py").good().stdout.splitlines()
    assert lines[-1] == "1 [4, 4, 4, 4]"
    assert sorted(lines[:-1]) == ["in 0", "in 1", "in 2", "in 3"]


@pytest.mark.slow
def test_sixty_four_megabytes_go_there_and_back(shared_place: Place) -> None:
    script = """
import hashlib, os
from runpod_flash import Endpoint
@Endpoint(name="large", cpu="cpu3c-1-2")
def f(data): return data[::-1]
data = os.urandom(64 * 1024 * 1024)
print(f.remote(data) == data[::-1])
"""
    assert shared_place.run_script(script).good().stdout.strip() == "True"


def test_the_same_idempotency_key_is_one_job_however_often_and_at_once_it_is_sent(shared_place: Place) -> None:
    place, starts = shared_place, shared_place.project / "starts"
    script = f"""
from runpod_flash import Endpoint
@Endpoint(name="idempotent", cpu="cpu3c-1-2")
def f():
    open({str(starts)!r}, "a").write("x")
    return 1
print(f.remote())
"""
    place.run_script(script).good()
    with plane_client(place) as client:
        (endpoint,) = (each for each in place.endpoints() if each["name"] == "idempotent")
        body = {"input": last_input(place)}

        def submit(_: int) -> str:
            answer = client.post(f"/v2/{endpoint['id']}/run", json=body, headers={"Idempotency-Key": "one"})
            return str(answer.raise_for_status().json()["id"])

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(submit, range(24)))
        assert len(ids) == 1

        def ended() -> bool:
            found = client.get(f"/v2/{endpoint['id']}/status/{next(iter(ids))}").json()
            return bool(found["status"] == "COMPLETED")

        wait_until(ended, 20, "the job has ended")
        assert submit(0) in ids
    assert starts.read_text() == "xx"


BROKEN = """#!/bin/sh
case "$1" in -I) echo "the interpreter is broken" >&2; exit 3;; esac
exec {python} "$@"
"""


@pytest.mark.slow
def test_workers_that_never_get_ready_fail_the_job_with_their_last_words(place: Place, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(BROKEN.format(python=sys.executable))
    python.chmod(0o755)
    script = f"""
import sys
from runpod_flash import Endpoint, errors
@Endpoint(name="good", cpu="cpu3c-1-2")
def good(): return 1
good.remote()
sys.executable = {str(python)!r}  # of the caller: the control plane runs already
@Endpoint(name="broken", cpu="cpu3c-1-2", workers=(1, 2))
def f(): return 1
try: f.remote()
except errors.WorkerLost as error: print(error)
"""
    done = place.run_script(script).good()
    assert "5 times in a row" in done.stdout
    assert "the interpreter is broken" in done.stdout
    before = control_plane(place).cpu_times()
    with pytest.raises(AssertionError):
        wait_until(lambda: workers_of(place, "broken"), 1.5, "nothing is tried before the next job, minimum or not")
    after = control_plane(place).cpu_times()
    assert after.user - before.user < 1


@pytest.mark.slow
def test_an_interpreter_that_has_vanished_is_named(place: Place, tmp_path: Path) -> None:
    python, wrapper = tmp_path / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    script = f"""
import os, sys
from runpod_flash import Endpoint, errors
@Endpoint(name="vanishing", cpu="cpu3c-1-2", idle_timeout=1)
def f(): return 1
f.remote()
sys.executable = {str(python)!r}  # of the caller: the control plane runs already
for step in (1, 2):
    if step == 1: open(sys.executable, "w").write({wrapper!r}), os.chmod(sys.executable, 0o755)
    else: os.unlink(sys.executable)
    try: print(f.remote())
    except errors.JobError as error: print(type(error).__name__, sys.executable in str(error))
"""
    assert place.run_script(script).good().stdout.splitlines() == ["1", "InstallError True"]


@pytest.mark.slow
def test_an_environment_that_was_deleted_is_built_anew(place: Place) -> None:
    script = """
import shutil, sys
from pathlib import Path
from runpod_flash import Endpoint
@Endpoint(name="deleted", cpu="cpu3c-1-2", dependencies=["iniconfig==2.0.0", "six==1.16.0"], idle_timeout=1)
def f():
    import six
    return six.__version__
print(f.remote())
"""
    place.run_script(script, timeout_s=120).good()
    wait_until(lambda: not below(control_plane(place)), 20, "its worker has gone")
    for folder in (place.home / "environments" / "built").iterdir():
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert place.run_script(script, timeout_s=120).good().stdout.strip() == "1.16.0"


@pytest.mark.slow
def test_the_command_of_a_dependency_works_from_the_function(shared_place: Place) -> None:
    script = """
import subprocess
from runpod_flash import Endpoint
@Endpoint(name="command", cpu="cpu3c-1-2", dependencies=["black"])
def f(): return subprocess.run(["black", "--version"], capture_output=True, text=True)
done = f.remote()
print(done.returncode, done.stdout.startswith("black"), done.stderr)
"""
    assert shared_place.run_script(script, timeout_s=150).good().stdout.split() == ["0", "True"]


def test_output_of_a_worker_that_dies_is_in_the_error(shared_place: Place) -> None:
    script = """
import os, sys
from runpod_flash import Endpoint, errors
@Endpoint(name="dying", cpu="cpu3c-1-2", retries=0)
def f():
    print("farewell", file=sys.stderr, flush=True)
    os._exit(3)
try: f.remote()
except errors.WorkerLost as error: print("code 3" in str(error), "farewell" in str(error))
"""
    assert shared_place.run_script(script).good().stdout.split() == ["True", "True"]


@pytest.mark.slow
def test_nothing_is_left_of_the_folders_of_workers(place: Place) -> None:
    script = """
import os
from runpod_flash import Endpoint
@Endpoint(name="folders", cpu="cpu3c-1-2")
def f(): return os.getcwd()
print(f.remote())
"""
    folder = Path(place.run_script(script).good().stdout.strip())
    assert folder.is_relative_to(place.home / "work")
    control_plane(place).kill()
    wait_until(lambda: not folder.exists(), 20, "the worker removes its folder")
