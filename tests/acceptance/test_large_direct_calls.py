"""Large values of calls that go straight to a lent worker: what is promised of large values holds for them, too."""

import signal
import sys

import pytest

from tests.acceptance.test_direct_calls import jobs_of
from tests.acceptance.test_direct_calls import script as script_of
from tests.support.place import Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are lent on Linux alone")

BUFFERS = """
import pickle
class Held:
    "An object with a buffer, as arrays are."
    def __init__(self, buffer): self.buffer = memoryview(buffer)
    def __reduce_ex__(self, protocol): return Held, (pickle.PickleBuffer(self.buffer),)
def held(byte, megabytes=1): return Held(bytearray([byte]) * (megabytes * 1024 * 1024))
def whole(value, byte, megabytes=1): return value.buffer == bytes([byte]) * (megabytes * 1024 * 1024)
@Endpoint(name=name + "-b", cpu="cpu3c-1-2", workers=(0, 1), idle_timeout=2, retries=0)
def g(value=None, does=""):
    kept = globals().setdefault("KEPT", [])
    if does == "keeps": kept.append(value)
    if does == "kept": return [each.buffer[0] for each in kept], all(len(set(each.buffer)) == 1 for each in kept)
    if does == "changes": value.buffer[:4] = b"new!"
    if does == "dies": os.kill(os.getpid(), 9)
    if does == "long": time.sleep(0.1)
    if does.isdigit(): return held(value, int(does))
    return value
async def lent_g():
    for number in range(2000):
        await g(number)
        if conversation().has_worker: return
    raise AssertionError("no worker was lent")
def memory(): return session.current()._links[asyncio.get_running_loop()].backend._memory._link
"""


def with_held(body: str) -> str:
    """A program that has values with buffers."""
    return script_of(body).replace("async def main():", BUFFERS + "async def main():")


def with_buffers(place: Place, body: str, name: str, *arguments: str, **env: str) -> str:
    """Run such a program; gives what it printed. Nothing is said of memory that is short."""
    script = with_held(body)
    ended = place.run_script(script, arguments=[name, *arguments], env=env).good()
    assert "no shared memory" not in ended.stderr
    return ended.stdout.strip()


LARGE_VALUES = """
if directly: await lent_g()
for number in range(20):
    got = await g(held(number))
    assert whole(got, number) and not got.buffer.readonly
    got.buffer[:] = bytes(1024 * 1024)
sent = held(7)
for _ in range(3):
    got = await g(sent, "changes")
    assert bytes(got.buffer[:5]) == b"new!" + bytes([7]) and whole(sent, 7)
assert whole(await g(9, "3"), 9, 3) and await g(8) == 8 and whole(await g(held(5, 4)), 5, 4)
kept = [await g(held(number)) for number in range(10, 18)]
for number in range(20, 28): await g(held(number), "keeps")
for number in range(30): assert whole(await g(held(50 + number)), 50 + number)
assert await g(None, "kept") == (list(range(20, 28)), True)
assert all(whole(got, number) for number, got in enumerate(kept, 10))
assert conversation().has_worker is directly
assert whole(await g(held(60, 2), "long"), 60, 2)
for number in range(3): assert whole(await g(held(61 + number)), 61 + number)
del kept, got
"""


def test_large_values_are_as_they_were_and_use_the_same_memory_again(shared_place: Place) -> None:
    said = with_buffers(
        shared_place,
        "directly = True"
        + LARGE_VALUES
        + """
assert conversation().has_worker, "calls with large values keep the worker"
names, link = set(), memory()
said = []
def noted(pieces, place=link.place):
    found = place(pieces)
    names.add(found.number)
    return found
link.place = noted
link._send = lambda words, send=link._send: (said.append(words), send(words))
for number in range(60): assert whole(await g(held(number)), number)
assert conversation().has_worker
print(len(names), len(said))
""",
        "large",
    )
    ranges, words = map(int, said.split())
    assert ranges <= 6, "the same room is used again"
    assert words <= 12, "and that is said to nobody"

    def unfinished() -> list[str]:
        return [job["status"] for job in jobs_of(shared_place, "large-b") if job["status"] != "COMPLETED"]

    wait_until(lambda: not unfinished(), 20, "each call is a job that gave a value")
    assert len(jobs_of(shared_place, "large-b")) > 100


@pytest.mark.slow
def test_large_values_are_the_same_without_lent_workers(shared_place: Place) -> None:
    with_buffers(shared_place, "directly = False" + LARGE_VALUES, "large-off", FLASH_DIRECT="0")


@pytest.mark.slow
def test_memory_of_those_that_are_killed_is_free_again(place: Place) -> None:
    """Of 96 MB nothing is left over after programs were killed that held more than that together; workers die, too.

    What workers hold themselves is tested in test_large_values.py; one that is lent hardly does. A program needs up to
    50 MB at a time, and the last result of each that was killed (5 MB) is kept for 8 seconds.
    """
    body = """
for turn in range(4):
    await lent_g()
    for number in range(4): assert whole(await g(held(number, 4)), number, 4)
    try: await g(held(1, 5), "dies")
    except WorkerLost: pass
    await lent_g()
    kept = [await g(held(number, 5)) for number in range(3)]
if len(sys.argv) > 2 and sys.argv[2] == "0": os.kill(os.getpid(), 9)
assert all(whole(got, number, 5) for number, got in enumerate(kept))
print("good")
"""
    script = with_held(body)
    env = {"FLASH_ARENA_MB": "96"}
    for _ in range(4):
        assert place.run_script(script, arguments=["mortal", "0"], env=env).status == -signal.SIGKILL
    assert with_buffers(place, body, "mortal", **env) == "good"


@pytest.mark.slow
def test_memory_that_is_full_lets_results_go_by_files(place: Place) -> None:
    body = """
await lent_g()
for number in range(3): assert whole(await g(number, "30"), number, 30)
kept = [await g(held(number, 4)) for number in range(6)]
assert all(whole(got, number, 4) for number, got in enumerate(kept))
print("good")
"""
    script = with_held(body)
    ended = place.run_script(script, arguments=["full"], env={"FLASH_ARENA_MB": "20"}).good()
    assert ended.stdout == "good\n"
    assert "no shared memory is left" in ended.stderr


@pytest.mark.slow
def test_a_client_that_is_killed_finds_its_large_results(shared_place: Place) -> None:
    """One that it may not have read, and one of a call that runs on."""
    body = """
await lent_g()
await g(held(7))
task = asyncio.create_task(g(held(9), "long" if sys.argv[2] == "1" else ""))
while not task.done() and not conversation()._calls: await asyncio.sleep(0)
if sys.argv[2] == "0": time.sleep(0.5)
else: await asyncio.sleep(0.03)
os.kill(os.getpid(), 9)
"""
    script = with_held(body)
    for number, name in (("0", "unread"), ("1", "goes-on")):
        ended = shared_place.run_script(script, arguments=[name, number])
        assert ended.status == -signal.SIGKILL, ended.stderr
        found = "job = (await g.recover.aio())[-1]\nprint(whole(await job.result(), 9))"
        assert with_buffers(shared_place, found, name) == "True"
