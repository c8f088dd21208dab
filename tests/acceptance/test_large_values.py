"""Large values of one machine: they go through memory that caller and workers share, and are values like others."""

import signal
from pathlib import Path

import pytest

from tests.chaos.killing import control_planes
from tests.support.place import Place
from tests.support.waiting import wait_until

MEGABYTE = 1024 * 1024

HELD = """
import asyncio, gc, os, pickle, signal, sys, time
from pathlib import Path
from runpod_flash import Endpoint

class Held:
    "An object with a buffer, as arrays are."
    def __init__(self, buffer): self.buffer = memoryview(buffer)
    def __reduce_ex__(self, protocol): return Held, (pickle.PickleBuffer(self.buffer),)
    def __eq__(self, other): return self.buffer == other.buffer
    def __len__(self): return len(self.buffer)

def held(byte, megabytes=1): return Held(bytearray([byte]) * (megabytes * 1024 * 1024))

@Endpoint(name="large", cpu="cpu3c-1-2", workers=(0, 2))
def same(value): return value

@Endpoint(name="large-changes", cpu="cpu3c-1-2", workers=(0, 1))
def changes(value):
    before = bytes(value.buffer[:4])
    value.buffer[:4] = b"new!"
    return before, value

@Endpoint(name="large-keeps", cpu="cpu3c-1-2", workers=(0, 1))
def keeps(value):
    kept = globals().setdefault("KEPT", [])
    kept.append(value)
    return [each.buffer[0] for each in kept], all(set(each.buffer) == {each.buffer[0]} for each in kept)
"""

USES = """
def files(): return [path for path in Path(os.environ["FLASH_HOME"]).glob("blobs/??/*")]
"""


def memory_of(place: Place) -> list[Path]:
    """The files of shared memory that control planes of a place have."""
    found = []
    for home in Path("/dev/shm").glob("flash-*/*.home"):
        if home.readlink().is_relative_to(place.home):
            found += home.parent.glob(f"{home.stem}-*")
    return found


def test_values_come_back_as_they_were_and_can_be_changed(place: Place) -> None:
    script = (
        HELD
        + USES
        + """
one = held(1)
sent = [one, one, {"two": held(2, 2), "empty": Held(bytearray()), "small": Held(bytearray(b"s"))},
        Held(bytes(1024 * 1024)),
        b"b" * 3_000_000, bytearray(b"a" * 2_000_000), "é" * 700_000, held(3).buffer[5:].tobytes()]
for _ in range(3):
    got = same.remote(sent)
    assert got == sent and got[0] is got[1]
    assert [type(each) for each in got] == [type(each) for each in sent]
    assert [each.buffer.readonly for each in (got[0], got[2]["two"], got[3])] == [False, False, True]
    got[0].buffer[0] = 77
    got[2]["two"].buffer[:] = bytes(2 * 1024 * 1024)
    assert one.buffer[0] == 1
for _ in range(3):
    before, after = changes.remote(one)
    assert before == bytes([1] * 4) and bytes(after.buffer[:4]) == b"new!" and one.buffer[0] == 1
assert not files()
print("good")
"""
    )
    assert place.run_script(script).good().stdout == "good\n"
    if Path("/dev/shm").exists():
        assert memory_of(place), "no memory was shared"


@pytest.mark.slow
def test_what_is_kept_stays_as_it_is_on_both_sides(shared_place: Place) -> None:
    script = (
        HELD
        + """
async def main():
    kept = [await same(held(n)) for n in range(1, 9)]
    for n in range(1, 9):
        firsts, whole = await keeps(held(n))
        assert whole and firsts == list(range(1, n + 1)), firsts
    others = await asyncio.gather(*[same(held(100 + n % 50)) for n in range(60)])
    assert [each.buffer[-1] for each in others] == [100 + n % 50 for n in range(60)]
    assert all(set(each.buffer) == {n} for n, each in enumerate(kept, 1))
    return kept
kept = asyncio.run(main())  # its loop and connection have ended
assert asyncio.run(same(held(9))) == held(9)
assert all(set(each.buffer) == {n} for n, each in enumerate(kept, 1))
if os.fork() == 0:  # what both have is still there when one of them ends
    os._exit(0 if all(set(each.buffer) == {n} for n, each in enumerate(kept, 1)) else 1)
assert os.wait()[1] == 0
del kept
assert asyncio.run(same(held(10))) == held(10)
print("good")
"""
    )
    assert shared_place.run_script(script).good().stdout == "good\n"


@pytest.mark.slow
def test_memory_that_is_full_is_said_once_and_values_go_by_files(place: Place) -> None:
    script = (
        HELD
        + USES
        + """
async def main():
    values = await asyncio.gather(*[same(held(n, 4)) for n in range(1, 13)])
    assert [each.buffer[-1] for each in values] == list(range(1, 13))
    assert files()
asyncio.run(main())
print("good")
"""
    )
    finished = place.run_script(script, env={"FLASH_ARENA_MB": "20"}).good()
    assert finished.stdout == "good\n"
    assert finished.stderr.count("no shared memory is left") == 1
    assert "FLASH_ARENA_MB" in finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", ["0", "1"])
def test_without_shared_memory_values_go_by_files(place: Place, megabytes: str) -> None:
    script = HELD + USES + 'assert same.remote(held(7, 2)) == held(7, 2) and files()\nprint("good")'
    finished = place.run_script(script, env={"FLASH_ARENA_MB": megabytes}).good()
    assert finished.stdout == "good\n"
    assert "memory" not in finished.stderr
    assert not memory_of(place)


@pytest.mark.slow
def test_what_processes_held_that_were_killed_is_free_again(place: Place) -> None:
    """Of 64 MB nothing is left over after workers and programs were killed that held more than that together."""
    script = (
        HELD
        + """
@Endpoint(name="large-dies", cpu="cpu3c-1-2", workers=(0, 1), retries=0)
def dies(value):
    os.kill(os.getpid(), signal.SIGKILL)

def main():
    for n in range(4):
        try: dies.remote(held(n, 10))
        except Exception as error: assert type(error).__name__ == "WorkerLost", error
    held_here = [same.remote(held(n, 6)) for n in range(4)]
    if sys.argv[1:] == ["killed"]:
        print("held", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
main()
print("good")
"""
    )
    env = {"FLASH_ARENA_MB": "64"}
    for _ in range(2):
        assert place.run_script(script, arguments=["killed"], env=env).status == -signal.SIGKILL
    finished = place.run_script(script, env=env).good()
    assert finished.stdout == "good\n"
    assert "no shared memory" not in finished.stderr


@pytest.mark.slow
def test_jobs_and_results_in_memory_survive_a_control_plane_that_is_killed(place: Place) -> None:
    script = (
        HELD
        + """
@Endpoint(name="large-waits", cpu="cpu3c-1-2", workers=(0, 1))
def waits(value, folder="FOLDER"):
    (Path(folder) / "runs").touch()
    while not (Path(folder) / "go").exists(): time.sleep(0.02)
    return value

async def main():
    ended = await same.spawn.aio(held(5, 3))
    while await ended.status() != "COMPLETED": await asyncio.sleep(0.05)
    running = asyncio.create_task(waits(held(6, 2)))
    queued = asyncio.create_task(waits(held(7, 2)))
    alive = await same(held(8, 2))
    while not (Path("FOLDER") / "runs").exists(): await asyncio.sleep(0.02)
    Path("FOLDER/ready").touch()
    while not (Path("FOLDER") / "go").exists(): await asyncio.sleep(0.02)
    assert await running == held(6, 2) and await queued == held(7, 2)
    for _ in range(2):
        assert await ended.result() == held(5, 3)
    assert alive == held(8, 2)
    assert await same(held(9, 2)) == held(9, 2)
asyncio.run(main())
print("good")
""".replace("FOLDER", str(place.project))
    )
    path = place.write("killed_plane.py", script)
    with place.start([str(path)]) as process:
        wait_until(lambda: (place.project / "ready").exists(), 30, "the calls are under way")
        (plane,) = control_planes(place)
        plane.kill()
        wait_until(lambda: not plane.is_running(), 10, "the control plane is gone")
        (place.project / "go").touch()
        output, errors = process.communicate(timeout=60)
    assert output == "good\n", errors
    assert len(memory_of(place)) == 1
    place.flash("server", "stop").good()
    assert not memory_of(place)


@pytest.mark.slow
def test_results_for_which_there_is_no_room_are_said_once_too(place: Place) -> None:
    script = (
        HELD
        + USES
        + """
@Endpoint(name="large-makes", cpu="cpu3c-1-2", workers=(0, 1))
def makes(number): return held(number, 30)

for number in range(3): assert makes.remote(number) == held(number, 30)
assert files()
print("good")
"""
    )
    finished = place.run_script(script, env={"FLASH_ARENA_MB": "20"}).good()
    assert finished.stdout == "good\n"
    assert finished.stderr.count("no shared memory is left for a result") == 1


ARRAYS = """
import asyncio
import numpy as np
import pandas as pd
from runpod_flash import Endpoint

@Endpoint(name="arrays", cpu="cpu3c-1-2", workers=(0, 1))
def same(value): return value

@Endpoint(name="arrays-change", cpu="cpu3c-1-2", workers=(0, 1))
def doubled(value):
    value *= 2
    return value

rows = np.arange(400_000, dtype=np.float64).reshape(800, 500)
read_only = rows.copy()
read_only.flags.writeable = False
values = [rows, np.asfortranarray(rows), rows[::2, 1::3], rows[:0], read_only, rows.astype("datetime64[s]"),
          np.array([{"a": 1}, rows], dtype=object)]
for value in values:
    got = same.remote(value)
    assert got.dtype == value.dtype and got.shape == value.shape
    if value.dtype != object: assert np.array_equal(got, value)
    assert got.flags.f_contiguous == value.flags.f_contiguous or value is values[2]
    assert got.flags.writeable is (value is not read_only)
left, right = same.remote([rows[:400], rows[400:]])
assert np.array_equal(np.concatenate([left, right]), rows)
frame = pd.DataFrame({"a": np.arange(200_000), "b": [str(n) for n in range(200_000)], "c": 1.5})
for _ in range(2):
    got = same.remote(frame)
    pd.testing.assert_frame_equal(got, frame)
    got.loc[0, "a"] = 5
for _ in range(2): assert np.array_equal(doubled.remote(rows), rows * 2)
print("good")
"""


@pytest.mark.slow
def test_arrays_and_frames_of_all_kinds(place: Place, tmp_path: Path) -> None:
    python = place.venv(tmp_path / "venv", ["numpy", "pandas"])
    assert place.run_script(ARRAYS, python=python).good().stdout == "good\n"
