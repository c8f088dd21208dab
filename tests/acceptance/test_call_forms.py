"""The call forms beyond a single call, over real workers: many at once, other options, retries, batches."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.place import Place
from tests.support.waiting import wait_until

MAP = """
import asyncio, itertools, os, time
from pathlib import Path
from runpod_flash import Endpoint

@Endpoint(name="mapped", cpu="cpu3c-1-2", workers=(0, 2), max_concurrency=4)
def square(x):
    if x < 0: raise ValueError(f"no {x}")
    return x * x

@Endpoint(name="mapped-hang", cpu="cpu3c-1-2", max_concurrency=8)
async def hang(x, folder="FOLDER"):
    if x == 0: return 0
    mark = Path(folder) / f"{x}"
    mark.touch()
    try: await asyncio.sleep(600)
    finally: mark.unlink()

@Endpoint(name="mapper", cpu="cpu3c-1-2")
def total(n):
    return sum(square.map(range(n)))

@Endpoint(name="async-mapper", cpu="cpu3c-1-2")
async def async_total(n):
    return sum([each async for each in square.map(range(n), ordered=False)])
"""


@pytest.mark.slow
def test_many_calls_at_once(shared_place: Place) -> None:
    script = (
        MAP
        + """
N = 200
assert list(square.map(range(N))) == [x * x for x in range(N)]
assert sorted(square.map(range(N), ordered=False)) == [x * x for x in range(N)]
async def main():
    assert await square.map(range(N)) == [x * x for x in range(N)]
    seen = []
    try:
        async for each in square.map([1, 2, -3, 4]): seen.append(each)
    except ValueError as error: assert str(error) == "no -3"
    assert seen == [1, 4]
    results = await square.map([1, -2, 3], return_exceptions=True)
    assert [type(each) for each in results] == [int, ValueError, int]
    assert [await anext(each) for each in [square.map(itertools.count(5))]] == [25]
asyncio.run(main())
assert total.remote(10) == asyncio.run(async_total(10)) == 285      # from a worker, in blocking and in async code
print("good")
"""
    )
    assert shared_place.run_script(script).good().stdout.strip() == "good"


def test_who_stops_early_cancels_what_runs_on_the_workers(shared_place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "hanging"
    folder.mkdir()
    script = MAP + (
        """
def running(): return len(list(Path("FOLDER").iterdir()))
def wait_for(count):
    until = time.monotonic() + 30
    while running() != count: assert time.monotonic() < until; time.sleep(0.02)
for each in hang.map(range(6)):
    wait_for(5)
    break
wait_for(0)
async def main():
    async for each in hang.map(range(6)):
        await asyncio.to_thread(wait_for, 5)
        break                                  # and the program's end, at once
asyncio.run(main())
print("ended", flush=True)
"""
    )
    script = script.replace("FOLDER", str(folder))
    assert shared_place.run_script(script).good().stdout.strip() == "ended"
    wait_until(lambda: not list(folder.iterdir()), 30, "the calls to be cancelled")


def test_ctrl_c_in_a_map(shared_place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "interrupted"
    folder.mkdir()
    text = (MAP + "\nlist(hang.map(range(1, 7)))\n").replace("FOLDER", str(folder))
    path = shared_place.write("interrupted.py", text)
    process = shared_place.start([str(path)])
    try:
        wait_until(lambda: len(list(folder.iterdir())) == 6, 60, "the calls")
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in stderr
    assert "detached" not in stderr
    wait_until(lambda: not list(folder.iterdir()), 30, "the calls to be cancelled")


def test_options_of_single_calls(shared_place: Place) -> None:
    script = """
import time
from runpod_flash import Endpoint, errors
@Endpoint(name="optional", cpu="cpu3c-1-2")
def sleep(seconds):
    time.sleep(seconds)
    return seconds
assert sleep.remote(0) == 0
def ends(call, *kinds):
    try: call()
    except kinds as error: return str(error)
    raise AssertionError("no error")
said = ends(lambda: sleep.with_options(timeout=0.5).remote(600), errors.JobTimedOut)
assert "longer than 0.5 s" in said, said
blocker = sleep.spawn(600)
said = ends(lambda: sleep.with_options(queue_timeout=0.3).remote(0), TimeoutError)
assert "queue timeout of 0.3 s" in said, said
low = sleep.with_options(priority="low", timeout=60).spawn(0)
blocker.cancel()
assert low.result() == 0 and sleep.remote(0) == 0
print("good")
"""
    assert shared_place.run_script(script).good().stdout.strip() == "good"


RETRIES = """
import sys, time
from pathlib import Path
from runpod_flash import Endpoint, Retries, errors
class Busy(ConnectionError): ...
POLICY = Retries(3, on=(ConnectionError, "subprocess.TimeoutExpired"), initial_delay=DELAY)
@Endpoint(name="retried", cpu="cpu3c-1-2", retries=POLICY)
def flaky(folder, kinds):
    import subprocess
    started = len(list(Path(folder).iterdir()))
    (Path(folder) / str(started)).touch()
    if started < len(kinds):
        errors = {"busy": Busy("busy"), "late": subprocess.TimeoutExpired("x", 1), "bad": ValueError("bad")}
        raise errors[kinds[started]]
    return started
"""


@pytest.mark.slow
def test_retries_after_chosen_exceptions_with_a_pause(shared_place: Place, tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    script = RETRIES.replace("DELAY", "0.2") + (
        """
def run(function, *kinds):
    folder = Path(FOLDER) / "-".join(kinds)
    folder.mkdir(parents=True)
    return function.remote(str(folder), kinds)
began = time.monotonic()
assert run(flaky, "busy", "late") == 2
assert time.monotonic() - began >= 0.2 + 0.4
for kinds, kind in {("bad",): ValueError, ("busy", "bad"): ValueError, ("busy",) * 4: Busy}.items():
    try: run(flaky, *kinds)
    except kind: pass
    else: raise AssertionError(kinds)
    assert len(list((Path(FOLDER) / "-".join(kinds)).iterdir())) == len(kinds)
(Path(FOLDER) / "bad").rename(Path(FOLDER) / "old")
assert run(flaky.with_options(retries=1), "bad") == 1
print("good")
"""
    ).replace("FOLDER", repr(str(folder)))
    assert shared_place.run_script(script).good().stdout.strip() == "good"


@pytest.mark.slow
def test_a_pause_before_a_retry_survives_a_restart_and_is_told(place: Place) -> None:
    folder = place.project / "attempts"
    folder.mkdir()
    spawn = RETRIES.replace("DELAY", "3600") + f"\nprint(flaky.spawn({str(folder)!r}, ['busy']).id)\n"
    job = place.run_script(spawn).good().stdout.strip()
    facts = RETRIES.replace("DELAY", "3600") + f"\nprint(flaky.job({job!r}).cause())\n"

    def cause() -> str:
        return place.run_script(facts).good().stdout.strip()

    wait_until(lambda: cause() == "waits 60 s before attempt 2", 60, "the pause")
    place.flash("server", "stop").good()
    assert cause() == "waits 60 s before attempt 2"
    cancel = f"\njob = flaky.job({job!r})\njob.cancel()\nprint(job.status())\n"
    assert place.run_script(RETRIES.replace("DELAY", "1") + cancel).good().stdout.strip() == "CANCELLED"
    assert len(list(folder.iterdir())) == 1


def test_batches_of_calls_of_different_programs_and_a_call_that_leaves(shared_place: Place, tmp_path: Path) -> None:
    script = """
import asyncio, os, sys, threading, time
from pathlib import Path
from runpod_flash import Endpoint, errors

@Endpoint(name="batched", cpu="cpu3c-1-2", workers=(0, 1)).batched(8, 200)
def size(xs, folders):
    if "fail" in xs: raise ValueError("all")
    for folder in set(folders) - {""}:
        (Path(folder) / "running").touch()
        while not (Path(folder) / "go").exists(): time.sleep(0.02)
    return [KeyError(x) if x == "bad" else (x, len(xs)) for x in xs]

@Endpoint(name="batched-class", cpu="cpu3c-1-2", batch=(4, 500))
class Model:
    def __init__(self, by): self.by = by
    async def add(self, xs): return [x + self.by for x in xs]

async def main(folder):
    await size("warm", "")
    sizes = [most for _, most in await asyncio.gather(*(size(i, "") for i in range(16)))]
    assert max(sizes) > 1 and max(sizes) <= 8, sizes
    ended = await asyncio.gather(size("bad", ""), size(1, ""), return_exceptions=True)
    assert repr(ended[0]) == "KeyError('bad')" and ended[1][0] == 1, ended
    ended = await asyncio.gather(size("fail", ""), size(1, ""), return_exceptions=True)
    assert isinstance(ended[0], ValueError)
    calls = [asyncio.ensure_future(as_task(size(i, folder))) for i in range(3)]
    while not (Path(folder) / "running").exists(): await asyncio.sleep(0.02)
    calls[1].cancel()
    await asyncio.wait([calls[1]], timeout=30)
    assert calls[1].cancelled()
    (Path(folder) / "go").touch()
    assert [(await calls[0])[0], (await calls[2])[0]] == [0, 2]
    model = Model(10)
    assert await asyncio.gather(*(model.add(i) for i in range(4))) == [10, 11, 12, 13]
    alone = [asyncio.ensure_future(as_task(size.with_options(timeout=0.5)(i, "nowhere"))) for i in range(2)]
    ended = await asyncio.gather(*alone, return_exceptions=True)
    assert [type(each) for each in ended] == [FileNotFoundError] * 2, ended

async def as_task(coroutine): return await coroutine

asyncio.run(main(sys.argv[1]))
print("good")
"""
    folder = tmp_path / "batch"
    folder.mkdir()
    assert shared_place.run_script(script, arguments=[str(folder)]).good().stdout.strip() == "good"


@pytest.mark.slow
def test_all_calls_of_a_batch_that_runs_too_long_time_out(shared_place: Place) -> None:
    script = """
import asyncio, time
from runpod_flash import Endpoint, errors
@Endpoint(name="late-batch", cpu="cpu3c-1-2", execution_timeout_ms=700).batched(3, 2000)
def late(xs):
    if xs != [0]: time.sleep(600)
    return xs
async def main():
    ended = await asyncio.gather(*(late(i) for i in (1, 2, 3)), return_exceptions=True)
    assert [type(each) for each in ended] == [errors.JobTimedOut] * 3, ended
    assert await late(0) == 0
asyncio.run(main())
print("good")
"""
    assert shared_place.run_script(script).good().stdout.strip() == "good"


@pytest.mark.slow
def test_inputs_are_pulled_as_there_is_room_for_them(shared_place: Place) -> None:
    script = (
        MAP
        + """
import resource
def inputs():
    for i in range(300): yield i, b"x" * 200_000     # 60 MB in all
@Endpoint(name="heavy", cpu="cpu3c-1-2", max_concurrency=4)
def length(i, data): return len(data)
assert length.remote(0, b"") == 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(length.starmap(inputs(), concurrency=8)) == 300 * 200_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    )
    grown_kb = json.loads(shared_place.run_script(script).good().stdout)
    assert grown_kb < 40_000
