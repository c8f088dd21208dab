"""Calls that go straight to a worker which is lent to their client: what is promised of calls holds for them, too."""

import signal
import sys
from typing import Any

import pytest

from tests.chaos.killing import children
from tests.support.place import Place
from tests.support.plane_api import begun, control_plane, finished, plane_client
from tests.support.processes import signal_all
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are lent on Linux alone")

LENT = """
import asyncio, os, sys, time
from runpod_flash import Endpoint, session
from runpod_flash.errors import WorkerLost
name, retries, HERE = sys.argv[1], sys.argv[2:3], os.getcwd()
options = {"retries": int(retries[0])} if retries else {}
@Endpoint(name=name, cpu="cpu3c-1-2", workers=(0, 1), idle_timeout=2, **options)
def f(x=0, seconds=0.0, starts=None, say=""):
    if starts: open(os.path.join(HERE, starts), "a").write("x")
    if say: print(say, flush=True)
    if seconds: time.sleep(seconds)
    if isinstance(x, BaseException): raise x
    return os.getpid() if x == "pid" else os.environ.get("KEPT", "") if x == "env" else x
def conversation():
    return session.current()._links[asyncio.get_running_loop()].backend.conversation
async def lent():
    for number in range(2000):
        assert await f(number) == number
        if conversation().has_worker: return number + 1
    raise AssertionError("no worker was lent")
async def wait_for(path):
    while not os.path.exists(path): await asyncio.sleep(0.01)
"""


def jobs_of(place: Place, name: str) -> list[dict[str, Any]]:
    """The jobs of an endpoint, the newest first."""
    with plane_client(place) as client:
        listed = client.get("/v2/serverless").json()["endpoints"]
        (endpoint,) = [each for each in listed if each["name"].removesuffix("-fb") == name]
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"endpoint": endpoint["id"], "limit": 1000}
        while True:
            page = client.get("/flash/v1/jobs", params=params).json()
            found += page["jobs"]
            if page.get("more") is None:
                return found
            params["after"] = page["more"]


def is_seen(place: Place, name: str, state: str) -> bool:
    """Whether a job of an endpoint has this state."""
    return state in [job["status"] for job in jobs_of(place, name)]


def run(place: Place, body: str, name: str, *arguments: str, **env: str) -> str:
    """Run a script with `body` as its main coroutine; gives what it printed."""
    return place.run_script(script(body), arguments=[name, *arguments], env=env).good().stdout.strip()


def script(body: str) -> str:
    """A program with `body` as its main coroutine; its first argument is the name of the endpoint."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return f"{LENT}async def main():\n{lines}asyncio.run(main())\n"


def test_each_call_gives_what_it_gives_and_all_are_in_the_history(shared_place: Place) -> None:
    said = run(
        shared_place,
        """
count = await lent()
for number in range(100):
    assert await f(number) == number
assert conversation().has_worker, "calls that give values keep the worker"
try: await f(ValueError("no"))
except ValueError as error: assert "in f\\nValueError: no" in error.__notes__[0], error.__notes__
assert len(await f(b"x" * 100_000)) == 100_000
assert len(await f(b"x" * 2_000_000)) == 2_000_000
assert await asyncio.gather(*map(f, range(50))) == list(range(50))
count += 153 + await lent()
assert await f.spawn.aio(7) is not None and await f(8) == 8
print(count + 2)
""",
        "history",
    )
    wait_until(lambda: len(jobs_of(shared_place, "history")) == int(said), 20, "each call is a job")
    jobs = jobs_of(shared_place, "history")
    wait_until(lambda: all(job["status"] in ("COMPLETED", "FAILED") for job in jobs_of(shared_place, "history")))
    assert [job["status"] for job in jobs].count("FAILED") == 1
    with plane_client(shared_place) as client:
        facts = client.get(f"/flash/v1/jobs/{jobs[-40]['id']}").json()
        assert facts["attempts"] == 1, facts
        health = client.get(f"/v2/{facts['endpoint']['id']}/health").json()["jobs"]
        assert (health["completed"], health["failed"]) == (int(said) - 1, 1)


def test_what_a_call_prints_comes_before_its_result_and_is_its_own(shared_place: Place) -> None:
    said = run(
        shared_place,
        """
await lent()
print("result", await f(1, 0.02, say="first"))
await lent()
print("result", await f(2, say="second"))
print("result", await f(3, say="third"))
await lent()
print("result", await f(4, 0.1, say="fourth"))
""",
        "prints",
    )
    expected = ["first", "result 1", "second", "result 2", "third", "result 3", "fourth", "result 4"]
    assert said.splitlines() == expected
    with plane_client(shared_place) as client:
        lines = [
            [line["line"] for line in client.get(f"/flash/v1/jobs/{job['id']}/logs").json()["lines"]]
            for job in jobs_of(shared_place, "prints")
        ]
    assert [each for each in reversed(lines) if each] == [["first"], ["second"], ["third"], ["fourth"]]


def test_a_call_that_takes_long_is_a_job_like_any_other(shared_place: Place) -> None:
    run(
        shared_place,
        """
await lent()
assert await f(1, 0.05) == 1
await lent()
task = asyncio.create_task(f(2, 30.0, starts="begun"))
await wait_for("begun")
assert conversation()._calls
async with asyncio.timeout(20):
    while not all(each.job_id for each in conversation()._calls.values()): await asyncio.sleep(0.005)
task.cancel()
assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
for number in range(30):
    task = asyncio.create_task(f(2, 30.0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if number > 2: break
    await lent()
assert await f(3) == 3
""",
        "long",
    )
    states = [job["status"] for job in jobs_of(shared_place, "long")]
    assert "CANCELLED" in states
    assert set(states) <= {"CANCELLED", "COMPLETED"}, states


def test_a_second_client_is_served_while_the_first_has_the_worker(shared_place: Place) -> None:
    first = """
await lent()
open("lent", "w").close()
while not os.path.exists("stop"): assert await f(1) == 1
print("good")
"""
    with begun(shared_place, script(first), "shared") as process:
        wait_until((shared_place.project / "lent").exists, 30, "it has the worker")
        second = script("for number in range(20): assert await f(number) == number\nprint('served')")
        served = shared_place.run_script(second, name="second.py", arguments=["shared"]).good()
        (shared_place.project / "stop").touch()
        assert (served.stdout.strip(), finished(process)) == ("served", "good")


@pytest.mark.slow
def test_a_client_that_hears_nothing_keeps_no_call_secret(shared_place: Place) -> None:
    """Its event loop stands still, so it cannot tell of the call that runs: the worker does, when others wait."""
    blocked = """
await lent()
task = asyncio.create_task(f(1, 5.0, starts="runs"))
await asyncio.sleep(0)
time.sleep(6.0)
print(await task)
"""
    shared_place.write("second.py", script("print(await f(2))"))
    with begun(shared_place, script(blocked), "secret") as process:
        wait_until((shared_place.project / "runs").exists, 30, "the call runs")
        assert not is_seen(shared_place, "secret", "IN_PROGRESS")
        with shared_place.start(["second.py", "secret"]) as second:
            wait_until(lambda: is_seen(shared_place, "secret", "IN_PROGRESS"), 20, "the call is told of")
            assert (finished(second), finished(process)) == ("2", "1")


@pytest.mark.slow
def test_a_worker_that_is_not_used_scales_to_zero(shared_place: Place) -> None:
    body = """
await lent()
for number in range(100): await f(number)
await wait_for("zero")
assert not conversation().has_worker
print(await f("again"))
"""
    with begun(shared_place, script(body), "idle") as process:
        wait_until(lambda: workers(shared_place, "idle"), 30, "there is one")
        wait_until(lambda: not workers(shared_place, "idle"), 20, "it is gone")
        (shared_place.project / "zero").touch()
        assert finished(process) == "again"


def workers(place: Place, name: str) -> list[str]:
    """The workers of an endpoint."""
    return [worker for each in place.endpoints() if each["name"] == name for worker in each["workerIds"]]


def test_a_change_of_env_counts_for_the_next_call(shared_place: Place) -> None:
    said = run(
        shared_place,
        """
await lent()
g = Endpoint(name=name, cpu="cpu3c-1-2", workers=(0, 1), idle_timeout=2, env={"KEPT": "new"})(f.__flash_target__)
print(await f("env") or "old", await g("env"))
""",
        "changes",
    )
    assert said == "old new"


@pytest.mark.slow
@pytest.mark.parametrize("retries", ["0", "1"])
def test_a_process_that_is_killed_in_a_call(shared_place: Place, retries: str) -> None:
    name, starts = f"killed{retries}", shared_place.project / f"starts{retries}"
    body = f"""
await lent()
pid = await f("pid")
task = asyncio.create_task(f(1, 1.0, starts={starts.name!r}))
try: print(await task)
except WorkerLost as error: print("lost", error.attempts)
print(await f(3))
"""
    with begun(shared_place, script(body), name, retries) as process:
        wait_until(starts.exists, 30, "the call runs")
        signal_all(children(shared_place))
        assert finished(process).splitlines() == (["lost 1", "3"] if retries == "0" else ["1", "3"])
    assert starts.read_text() == "x" * (int(retries) + 1)


@pytest.mark.slow
@pytest.mark.parametrize("retries", ["0", "1"])
def test_a_control_plane_that_is_killed_in_a_call(place: Place, retries: str) -> None:
    starts = place.project / "starts"
    body = f"""
await lent()
task = asyncio.create_task(f(1, 1.0, starts={starts.name!r}))
try: print(await task)
except WorkerLost as error: print("lost")
print(await f(3))
"""
    with begun(place, script(body), "plane", retries) as process:
        wait_until(starts.exists, 30, "the call runs")
        control_plane(place).send_signal(signal.SIGKILL)
        assert finished(process).splitlines() == (["lost", "3"] if retries == "0" else ["1", "3"])
    assert starts.read_text() == "x" * (int(retries) + 1)


@pytest.mark.slow
def test_what_was_answered_is_not_run_again_when_the_control_plane_is_killed(place: Place) -> None:
    starts = place.project / "starts"
    body = f"""
await lent()
for number in range(100): assert await f(number, starts={starts.name!r}) == number
os.kill(int(open("plane").read()), 9)
assert await f(3) == 3
print("good")
"""
    run(place, "await f(0)", "answered")
    (place.project / "plane").write_text(str(control_plane(place).pid))
    assert run(place, body, "answered") == "good"
    assert starts.read_text() == "x" * 100


@pytest.mark.slow
def test_a_client_that_is_killed_finds_its_call_again(shared_place: Place) -> None:
    body = """
await lent()
await f(7, 2.0, starts="killed-begun")
"""
    with begun(shared_place, script(body), "recovers") as process:
        wait_until((shared_place.project / "killed-begun").exists, 30, "the call runs")
        process.kill()
    found = run(shared_place, "job = (await f.recover.aio())[-1]\nprint(await job.result())", "recovers")
    assert found == "7"


def test_it_can_be_turned_off(shared_place: Place) -> None:
    body = "for number in range(100): await f(number)\nprint(conversation().has_worker)"
    assert run(shared_place, body, "off", FLASH_DIRECT="0") == "False"
