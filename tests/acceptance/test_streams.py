"""Generators on real workers: items as they are made; a reader that stops, is slow, loses the other side. Progress."""

import signal

import pytest

from tests.acceptance.test_death import control_plane
from tests.support.place import Place
from tests.support.waiting import wait_until

HEAD = """
import asyncio, functools, os, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
from runpod_flash import Endpoint, progress

cpu = functools.partial(Endpoint, cpu="cpu3c-1-2", idle_timeout=120)
HERE = Path.cwd()

def appears(name, deadline_s=20):
    end = time.monotonic() + deadline_s
    while not (HERE / name).exists():
        assert time.monotonic() < end, name
        time.sleep(0.01)
"""


def test_items_come_as_they_are_made_with_their_values(shared_place: Place) -> None:
    """Each generator goes on only when its last item has arrived."""
    script = f"""{HEAD}
@dataclass
class Point:
    x: int
VALUES = [1, "zwei", None, {{"a": [1.5]}}, (1, 2), {{"flash": 1}}, Point(3), b"x" * 400_000, 2 ** 70, float("inf")]
@cpu(name="streams")
def plain(run):
    for number, value in enumerate(VALUES):
        yield value
        appears(f"{{run}}-{{number}}")
@cpu(name="streams")
async def asynchronous(run):
    for number, value in enumerate(VALUES):
        yield value
        await asyncio.to_thread(appears, f"{{run}}-{{number}}")
@cpu(name="streams-class")
class Counter:
    def __init__(self, start): self.at = start
    def up(self, n):
        for _ in range(n):
            self.at += 1
            yield self.at
    async def down(self, n):
        for _ in range(n):
            self.at -= 1
            yield self.at
def check(number, value, run):
    assert value == VALUES[number] and type(value) is type(VALUES[number]), value
    (HERE / f"{{run}}-{{number}}").touch()
async def main():
    for run, stream in (("p", plain.stream("p")), ("a", asynchronous.stream("a"))):
        number = -1
        async for value in stream:
            number += 1
            check(number, value, run)
        assert number == len(VALUES) - 1
    counter = Counter(10)
    assert [x async for x in counter.up.stream(3)] == [11, 12, 13]
    assert [x async for x in counter.down.stream(2)] == [12, 11]
    assert [x async for x in plain.stream("p")] == VALUES
asyncio.run(main())
for number, value in enumerate(plain.stream("b")):
    check(number, value, "b")
job = asynchronous.spawn("b")
assert list(job.stream()) == VALUES and job.status() == "COMPLETED"
print("good")
"""
    assert shared_place.run_script(script).good().stdout.strip() == "good"


STOPPED = f"""{HEAD}
@cpu(name=sys.argv[1] + "-1")
def plain(mark, asleep=False):
    try:
        for number in range(10 ** 9):
            yield number
            if asleep and number == 3: time.sleep(60)
    finally:
        (HERE / mark).touch()
@cpu(name=sys.argv[1] + "-4", max_concurrency=4)
def pooled(mark):
    yield from plain.local(mark)
@cpu(name=sys.argv[1] + "-4", max_concurrency=4)
async def asynchronous(mark):
    try:
        for number in range(10 ** 9):
            yield number
    finally:
        (HERE / mark).touch()
"""


def test_a_reader_that_stops_closes_the_generator_on_its_worker(shared_place: Place) -> None:
    """By break, aclose, an exception or a cancelled task; asleep or waiting for its reader; alone or beside others."""
    script = f"""{STOPPED}
async def broken_off(stream):
    async for number in stream:
        if number == 3: break
async def closed(mark): await asyncio.to_thread(appears, mark)
async def main():
    for kind, more in ((plain, {{}}), (plain, {{"asleep": True}}), (pooled, {{}}), (asynchronous, {{}})):
        mark = kind.__name__ + "-".join(more)
        await broken_off(kind.stream(mark, **more))
        await closed(mark)
    async with plain.stream("with") as stream:
        assert await anext(stream) == 0
    await closed("with")
    assert [number async for number in stream] == []
    three = asyncio.Event()
    async def reads():
        async for number in plain.stream("cancelled", asleep=True):
            if number == 3: three.set()
    task = asyncio.create_task(reads())
    await three.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await closed("cancelled")
    try:
        async for number in plain.stream("raised", asleep=True):
            if number == 2: raise KeyError(number)
    except KeyError: pass
    await closed("raised")
asyncio.run(main())
for number in plain.stream("for"):
    if number == 3: break
appears("for")
async def last():
    async for number in plain.stream("last"):
        if number == 3: break
asyncio.run(last())
"""
    shared_place.run_script(script, arguments=["stopped"]).good()
    wait_until(lambda: (shared_place.project / "last").exists(), 20, "the one that was left at the end is closed")


def test_ctrl_c_closes_the_generator(shared_place: Place) -> None:
    script = f"""{STOPPED}
for number in plain.stream("interrupted", asleep=True):
    print(number, flush=True)
"""
    program = shared_place.start([str(shared_place.write("interrupted.py", script)), "interrupted"])
    assert program.stdout is not None
    while program.stdout.readline().strip() != "3":
        assert program.poll() is None
    program.send_signal(signal.SIGINT)
    _, stderr = program.communicate(timeout=30)
    assert program.returncode == -signal.SIGINT or "KeyboardInterrupt" in stderr
    wait_until(lambda: (shared_place.project / "interrupted").exists(), 20, "the generator is closed")


def test_what_goes_wrong_comes_after_the_items_before_it(shared_place: Place) -> None:
    script = f"""{HEAD}
from runpod_flash.errors import CallError, NotPicklable, WorkerLost
class Oops(Exception): pass
@cpu(name="wrong")
def fails(n):
    for number in range(n): yield number
    raise Oops("after", n)
@cpu(name="wrong")
def unpicklable():
    yield 1
    yield (i for i in ())
@cpu(name="wrong")
def dies(mark):
    if mark and not Path(mark).exists():  # the first time, before anything was yielded
        Path(mark).touch()
        os._exit(3)
    yield 1
    yield 2
    appears("read")
    if not mark: os.kill(os.getpid(), signal.SIGKILL)
@cpu(name="wrong")
def gives_a_generator(): return (i for i in range(3))
def read(stream):
    got = []
    try:
        for item in stream: got.append(item)
    except Exception as error: return got, error
    return got, None
got, error = read(fails.stream(2500))
assert got == list(range(2500)) and type(error) is Oops and error.args == ("after", 2500), error
assert "in fails" in error.__notes__[0]
got, error = read(unpicklable.stream())
assert got == [1] and type(error) is NotPicklable and "item 1 of" in str(error), error
try: gives_a_generator.remote()
except NotPicklable as error: assert "stream" in str(error)
Path("read").touch()
assert read(dies.stream(str(HERE / "died-once"))) == ([1, 2], None)
Path("read").unlink()
stream = dies.stream("")
assert next(stream) == 1
Path("read").touch()
got, error = read(stream)
assert got == [2] and type(error) is WorkerLost and "a second start would give them once more" in str(error), error
for wrong in (lambda: fails.remote(1), lambda: fails(1), lambda: gives_a_generator.stream(), lambda: fails.stream()):
    try: wrong()
    except CallError as error: assert "nothing was sent" in str(error)
    else: raise AssertionError("not refused")
print("good")
"""
    assert shared_place.run_script(script).good().stdout.strip() == "good"


def test_a_generator_waits_for_a_slow_reader_and_nothing_is_lost(shared_place: Place) -> None:
    script = f"""{HEAD}
@cpu(name="slow-reader")
def counts(n):
    for number in range(n):
        os.pwrite(file, b"%8d" % number, 0)
        yield number
    os.pwrite(file, b"%8d" % n, 0)
file = os.open(HERE / "count", os.O_RDWR | os.O_CREAT)
@cpu(name="other", workers=1)
def other(x): return x
def at(): return int(os.pread(file, 8, 0) or 0)
stream = counts.stream(5000)
assert next(stream) == 0
end = time.monotonic() + 20
while at() < 1000: assert time.monotonic() < end, at()
for number in range(100): assert other.remote(number) == number
assert 1000 <= at() <= 2000, at()  # by the published API, what was handed out counts as read
assert list(stream) == list(range(1, 5000)) and at() == 5000
print("good")
""".replace("def counts(n):", "def counts(n):\n    file = os.open(HERE / 'count', os.O_RDWR | os.O_CREAT)")
    assert shared_place.run_script(script).good().stdout.strip() == "good"


def test_progress_is_shown_while_it_runs(shared_place: Place) -> None:
    script = f"""{HEAD}
import threading
@cpu(name="progress")
def works(mark):
    for number in range(1000): progress(number, 1000, "on  it")
    thread = threading.Thread(target=progress, args=(1000, 1000, "from a thread"))
    thread.start(); thread.join()
    appears(mark)
    return "done"
@cpu(name="progress-4", max_concurrency=4)
async def works_too(mark, total):
    await asyncio.to_thread(progress, 1, total)
    await asyncio.to_thread(appears, mark)
def seen(job, done):
    end = time.monotonic() + 20
    while job.status() != "IN_PROGRESS" or job.progress is None or job.progress.done != done:
        assert time.monotonic() < end, (job, job.progress)
    return job.progress
progress(1, 2)
job = works.spawn("works")
found = seen(job, 1000)
assert (found.total, found.message) == (1000, "from a thread"), found
(HERE / "works").touch()
assert job.result() == "done" and job.progress is None
jobs = [works_too.spawn("too", total) for total in (10, 20, 30)]
assert [seen(job, 1).total for job in jobs] == [10, 20, 30]
(HERE / "too").touch()
for job in jobs: job.wait()
print("good")
"""
    assert shared_place.run_script(script).good().stdout.strip() == "good"


@pytest.mark.slow
def test_a_control_plane_that_is_killed_in_the_middle(place: Place) -> None:
    """What was made is read to the end, then the stream is cut off; one of which nothing was read begins anew."""
    script = f"""{HEAD}
from runpod_flash.errors import WorkerLost
@cpu(name="killed", workers=2)
def numbers(mark):
    for number in range(5): yield number
    (HERE / mark).touch()
    if number == 4 and not (HERE / "killed").exists(): time.sleep(600)
unread, stream = numbers.spawn("unread"), numbers.stream("read")
assert next(stream) == 0
appears("unread"), appears("read")
for _ in range(5): numbers.spawn("other").cancel()  # each is on disk when it is answered, as is what came before it
print("now", flush=True)
appears("killed")
got = []
try:
    for number in stream: got.append(number)
except WorkerLost as error: print(got, "a second start would give them once more" in str(error))
print(list(unread.stream()), unread.status())
"""
    program = place.start([str(place.write("script.py", script))])
    assert program.stdout is not None
    assert program.stdout.readline() == "now\n"
    plane = control_plane(place)
    plane.kill()
    plane.wait(10)  # else a question that reached it last would be cut off, which the published API does not mend
    (place.project / "killed").touch()
    stdout, stderr = program.communicate(timeout=90)
    assert stdout.splitlines() == ["[1, 2, 3, 4] True", "[0, 1, 2, 3, 4] COMPLETED"], stderr


@pytest.mark.slow
def test_a_stream_that_nobody_reads_is_given_up(place: Place) -> None:
    script = f"""{HEAD}
from runpod_flash.errors import JobExpired
@cpu(name="unread")
def numbers():
    for number in range(10 ** 9): yield number
job = numbers.spawn()
job.wait(60)
got = []
try:
    for number in job.stream(): got.append(number)
except JobExpired as error: print(len(got), error)
"""
    env = {"FLASH_STREAM_UNREAD_S": "1", "FLASH_STREAM_ITEMS": "20"}
    done = place.run_script(script, env=env).good()
    assert done.stdout.startswith("20 nobody has read its stream for 1 s"), done.stdout
