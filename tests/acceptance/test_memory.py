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
