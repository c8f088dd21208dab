"""A worker has the memory of its cpu= size: a call that uses more is told so, and the endpoint goes on working."""

import re

import pytest

from tests.support.place import Place

HUNGRY = """
import os, time
from runpod_flash import Endpoint, errors
@Endpoint(name="hungry-RETRIES", cpu="cpu3c-1-2", workers=1, retries=RETRIES)
def f(megabytes):
    print("asked for", megabytes)
    held = []
    while len(held) < megabytes:
        held.append(b"x" * (1 << 20))
    if megabytes: time.sleep(60)
    return os.environ["RUNPOD_POD_ID"]
before = f.remote(0)
job = f.spawn(3000)
try:
    job.result()
except errors.OutOfMemory as error:
    print(error.attempts, isinstance(error, errors.WorkerLost))
    print(error)
print(job.logs())
print(f.remote(0) != before)
"""
TOLD = re.compile(r"the worker's processes used (\d(?:\.\d+)?) GB of memory and its size allows 2 GB \(cpu= of the")


@pytest.mark.slow
@pytest.mark.parametrize(("retries", "attempts"), [(None, 2), (0, 1)])
def test_a_call_that_needs_more_memory_than_its_size_has(
    shared_place: Place, retries: int | None, attempts: int
) -> None:
    done = shared_place.run_script(HUNGRY.replace("RETRIES", str(retries)), name=f"hungry_{retries}.py").good()
    facts, message, logs, another = [line for line in done.stdout.splitlines() if not line.startswith("asked")]
    assert facts == f"{attempts} True"
    told = TOLD.match(message)
    assert told
    assert 2 < float(told[1]) < 3.2
    assert (logs, another) == (str(["asked for 3000"] * attempts), "True")


CHANGING = """
from runpod_flash import Endpoint
def resident():
    with open("/proc/self/statm") as file: return int(file.read().split()[1]) * 4096 / 2**20
def declare(number):
    held = bytes([number % 250]) * 2**20
    @Endpoint(name="changing", cpu="cpu3c-1-2", workers=1)
    def f(): return len(held), resident()
    return f
sizes = [declare(number).remote()[1] for number in range(80)]
print(sizes[-1] - sizes[25])
"""


@pytest.mark.slow
def test_code_that_changes_with_each_call_does_not_fill_the_worker(shared_place: Place) -> None:
    grown = float(shared_place.run_script(CHANGING, name="changing.py").good().stdout)
    assert grown < 20, f"{grown:.0f} MB more after 55 versions of the code with 1 MB each"
