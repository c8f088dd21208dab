"""Calls that go in frames: over the socket of the embedded control plane, and over HTTP alone. Each ends once."""

import os
import signal

import pytest

from tests.support.place import Place
from tests.support.plane_api import begun, control_plane, finished, plane_client, plane_folder, plane_record
from tests.support.waiting import wait_until

FRAMED = """
import asyncio, os, sys, time
from runpod_flash import Endpoint
@Endpoint(name="framed", cpu="cpu3c-1-2", workers=(1, 2))
def framed(number, seconds=0.0):
    if seconds: time.sleep(seconds)
    if number < 0: raise ValueError(f"no {number}")
    return number
"""


def test_many_calls_with_bad_ones_among_them(shared_place: Place) -> None:
    script = (
        FRAMED
        + """
async def main():
    numbers = [-number if number % 500 == 7 else number for number in range(2001)]
    ended = await asyncio.gather(*map(framed, numbers), return_exceptions=True)
    for number, outcome in zip(numbers, ended, strict=True):
        assert outcome == number or (number < 0 and str(outcome) == f"no {number}"), (number, outcome)
    class Unloadable:
        def __reduce__(self): return os.listdir, ("/nowhere/at all",)
    ended = await asyncio.gather(framed(1), framed(Unloadable()), framed(2), return_exceptions=True)
    assert [ended[0], ended[2]] == [1, 2] and "could not load" in str(ended[1]), ended
    spawned = [await framed.spawn.aio(number) for number in range(3)]
    assert [await job.result() for job in spawned] == [0, 1, 2]
asyncio.run(main())
assert framed.remote(7) == 7
print("good")
"""
    )
    assert shared_place.run_script(script).good().stdout.strip() == "good"
    assert os.path.exists(plane_record(shared_place)["calls"])


def test_what_a_function_refers_to_is_looked_at_before_each_call(shared_place: Place) -> None:
    shared_place.write("beside.py", "VALUE = 1\n")
    script = """
import asyncio, importlib, sys, time
from pathlib import Path
from runpod_flash import Endpoint
import beside
factor, table = 1, {"a": 1}
def outer():
    held = 1
    @Endpoint(name="looks", cpu="cpu3c-1-2", workers=(1, 1))
    def looks(x): return x * factor * held + table["a"], beside.VALUE
    def change(): nonlocal held; held = 10
    return looks, change
looks, change = outer()
async def main():
    global factor
    seen = [await looks(1)]
    factor = 2; seen.append(await looks(1))
    change(); seen.append(await looks(1))
    table["a"] = 5; seen.append(await looks(1))
    Path(beside.__file__).write_text("VALUE = 22\\n"); seen.append(await looks(1))
    print(seen)
asyncio.run(main())
"""
    seen = "[(2, 1), (3, 1), (21, 1), (25, 1), (25, 22)]"
    assert shared_place.run_script(script).good().stdout.strip() == seen


def test_an_endpoint_that_was_deleted_is_made_anew_by_the_next_call(shared_place: Place) -> None:
    script = (
        FRAMED
        + """
async def main():
    assert await framed(1) == 1
    first = framed.id
    open("called", "w").close()
    while not os.path.exists("gone"): await asyncio.sleep(0.02)
    assert await asyncio.gather(*map(framed, range(20))) == list(range(20))
    assert framed.id != first
asyncio.run(main())
print("good")
"""
    ).replace('"framed"', '"deleted"')
    with begun(shared_place, script) as process:
        wait_until((shared_place.project / "called").exists, 30, "the first call")
        with plane_client(shared_place) as client:
            listed = client.get("/v2/serverless").json()["endpoints"]
            (found,) = [each for each in listed if each["name"] == "deleted"]
            assert client.delete(f"/v2/serverless/{found['id']}").status_code in (200, 204)
        (shared_place.project / "gone").touch()
        assert finished(process) == "good"


@pytest.mark.slow
def test_cancelled_tasks_cancel_their_jobs(place: Place) -> None:
    starts = place.project / "starts"
    script = f"""
import asyncio, time
from runpod_flash import Endpoint
@Endpoint(name="slow", cpu="cpu3c-1-2", workers=(1, 1))
def slow(number):
    open({str(starts)!r}, "a").write("x")
    time.sleep(30)
async def main():
    tasks = [asyncio.create_task(slow(number)) for number in range(300)]
    while not __import__("os").path.exists({str(starts)!r}): await asyncio.sleep(0.02)
    for task in tasks: task.cancel()
    ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
asyncio.run(main())
"""
    place.run_script(script).good()
    with plane_client(place) as client:
        (endpoint,) = client.get("/v2/serverless").json()["endpoints"]
        jobs = client.get(f"/v2/{endpoint['id']}/requests").json()["requests"]
        assert {job["status"] for job in jobs} == {"CANCELLED"}
        health = client.get(f"/v2/{endpoint['id']}/health").json()["jobs"]
        assert (health["inQueue"], health["inProgress"]) == (0, 0)
    assert len(starts.read_text()) < 20, "what waits is not begun"


@pytest.mark.slow
def test_a_control_plane_that_is_killed_with_a_thousand_calls_under_way(place: Place) -> None:
    starts = place.project / "starts"
    script = f"""
import asyncio, time
from runpod_flash import Endpoint
@Endpoint(name="through", cpu="cpu3c-1-2", workers=(2, 2))
def through(number):
    with open({str(starts)!r}, "a") as file: file.write(f"{{number}}\\n")
    time.sleep(0.003)
    return number
async def main():
    ended = []
    async def one(number):
        ended.append(await through(number))
    await asyncio.gather(*map(one, range(1000)))
    assert sorted(ended) == list(range(1000)), len(ended)
    print("good")
asyncio.run(main())
"""
    with begun(place, script) as process:
        wait_until(lambda: starts.exists() and len(starts.read_text().splitlines()) > 200, 30, "a part has run")
        first = control_plane(place)
        first.send_signal(signal.SIGKILL)
        assert finished(process, 90) == "good"
    assert control_plane(place) != first
    again = len(starts.read_text().splitlines()) - 1000
    assert 0 <= again < 400, "what had ended was run again"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_channel_of_its_own(shared_place: Place) -> None:
    script = (
        FRAMED
        + """
assert framed.remote(1) == 1
child = os.fork()
numbers = range(100) if child else range(100, 200)
async def main(): return await asyncio.gather(*map(framed, numbers))
assert asyncio.run(main()) == list(numbers)
assert framed.remote(2) == 2
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("good")
sys.stdout.flush()
os._exit(0)
"""
    )
    assert shared_place.run_script(script).good().stdout.strip() == "good"


@pytest.mark.slow
def test_a_client_that_has_http_alone_sends_many_calls_in_one_request(place: Place) -> None:
    place.run_script(FRAMED + "framed.remote(0)").good()
    key = (plane_folder(place) / "key").read_text().strip()
    script = (
        FRAMED
        + """
from runpod_flash.backends.connection import Connection
requests, post = [], Connection._post
async def counted(self, body):
    requests.append(1)
    return await post(self, body)
Connection._post = counted
async def main():
    assert await framed(1) == 1
    requests.clear()
    assert await asyncio.gather(*map(framed, range(3000))) == list(range(3000))
    assert len(requests) <= 6, len(requests)
    ended = await asyncio.gather(framed(1), framed(-2), framed(3), return_exceptions=True)
    assert (ended[0], str(ended[1]), ended[2]) == (1, "no -2", 3)
    task = asyncio.create_task(framed(1, 60))
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await asyncio.wait_for(framed(4), 20) == 4
    job = await framed.spawn.aio(5)
    assert await job.result() == 5
    large = bytes(1_000_000)
    assert await framed(large and 1) == 1
asyncio.run(main())
print("good")
"""
    )
    url = f"http://127.0.0.1:{plane_record(place)['port']}"
    done = place.run_script(script, env={"FLASH_TARGET": url, "FLASH_API_KEY": key})
    assert done.good().stdout.strip() == "good"
