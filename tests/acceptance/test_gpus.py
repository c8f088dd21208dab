"""GPUs are handed out by an inventory; a fake one stands in for real devices, since no test computes on them."""

import itertools
import json

import pytest

from tests.support.place import Place

TWO = {"FLASH_FAKE_GPUS": "NVIDIA L4:24,NVIDIA L4:24"}
ONE = {"FLASH_FAKE_GPUS": "NVIDIA L4:24"}


@pytest.mark.slow
def test_a_machine_without_a_gpu_runs_on_the_cpu_and_says_so_once_to_each_program(place: Place) -> None:
    script = """
import asyncio, os
from runpod_flash import Endpoint
@Endpoint(name="modest", gpu="NVIDIA L4", workers=(0, 2))
async def f():
    await asyncio.sleep(0.2)
    return os.environ["CUDA_VISIBLE_DEVICES"]
async def main():
    print(set(await asyncio.gather(*[f() for _ in range(4)])), await f())
asyncio.run(main())
"""
    for _ in range(2):
        done = place.run_script(script, env={"FLASH_FAKE_GPUS": ""}).good()
        assert done.stdout.strip() == "{''}"
        assert done.stderr.count("no GPU") == 1, done.stderr


@pytest.mark.slow
def test_two_workers_never_share_a_device(place: Place) -> None:
    script = """
import asyncio, json, os, time
from runpod_flash import Endpoint
@Endpoint(name="wide", gpu="NVIDIA L4", workers=(0, 3))
def f(_):
    started = time.monotonic()
    time.sleep(0.3)
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ["CUDA_DEVICE_ORDER"], started, time.monotonic()
async def main():
    print(json.dumps(await asyncio.gather(*[f(n) for n in range(8)])))
asyncio.run(main())
"""
    calls = json.loads(place.run_script(script, env=TWO).good().stdout)
    assert {(device, order) for device, order, _, _ in calls} == {("0", "PCI_BUS_ID"), ("1", "PCI_BUS_ID")}
    for device in ("0", "1"):
        times = sorted((start, end) for held, _, start, end in calls if held == device)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))


@pytest.mark.slow
def test_gpu_count_devices_are_visible_and_none_to_a_cpu_endpoint(place: Place) -> None:
    script = """
import os
from runpod_flash import Endpoint
@Endpoint(name="pair", gpu="NVIDIA L4", gpu_count=2, env={"CUDA_VISIBLE_DEVICES": "7"})
def pair(): return os.environ["CUDA_VISIBLE_DEVICES"]
@Endpoint(name="none", cpu="cpu3c-1-2")
def none(): return os.environ["CUDA_VISIBLE_DEVICES"]
print([pair.remote(), none.remote()])
"""
    assert place.run_script(script, env=TWO).good().stdout.strip() == "['0,1', '']"


def test_more_gpus_than_the_machine_has_is_an_error_at_once(place: Place) -> None:
    script = """
from runpod_flash import Endpoint, errors
@Endpoint(name="greedy", gpu="NVIDIA L4", gpu_count=3, workers=(1, 2), dependencies=["no-such-package-xyz"])
def f(): return 1
for _ in range(2):
    try:
        f.remote()
    except errors.JobError as error:
        print("gpu_count is 3" in str(error), "2 × NVIDIA L4" in str(error))
"""
    done = place.run_script(script, env=TWO, timeout_s=30).good()
    assert done.stdout.splitlines() == ["True True", "True True"]


@pytest.mark.slow
def test_another_gpu_than_asked_for_is_used_and_said(place: Place) -> None:
    script = """
import os
from runpod_flash import Endpoint
@Endpoint(name="picky", gpu="NVIDIA H100 80GB HBM3")
def f(): return os.environ["CUDA_VISIBLE_DEVICES"]
print(f.remote(), f.remote())
"""
    done = place.run_script(script, env=ONE).good()
    assert done.stdout.strip() == "0 0"
    assert done.stderr.count("not the GPU that was asked for") == 1


@pytest.mark.slow
def test_an_idle_worker_gives_its_gpu_to_another_endpoint_that_waits(place: Place) -> None:
    script = """
import os, time
from runpod_flash import Endpoint
@Endpoint(name="first", gpu="NVIDIA L4", idle_timeout=300, workers=(FIRST))
def first(): return os.environ["CUDA_VISIBLE_DEVICES"]
@Endpoint(name="second", gpu="NVIDIA L4", idle_timeout=300, workers=(SECOND))
def second(): return os.environ["CUDA_VISIBLE_DEVICES"]
print(*[call.remote() for call in (first, second, first, second)])
"""
    script = script.replace("FIRST", "1, 1").replace("SECOND", "1, 2")  # a minimum takes nothing from who waits
    done = place.run_script(script, env=ONE, timeout_s=60).good()
    assert done.stdout.split() == ["0", "0", "0", "0"]


@pytest.mark.slow
def test_a_pair_of_gpus_is_gathered_from_two_idle_workers(place: Place) -> None:
    script = """
import asyncio, os
from runpod_flash import Endpoint
@Endpoint(name="singles", gpu="NVIDIA L4", idle_timeout=300, workers=(0, 2))
def single(_):
    import time
    time.sleep(0.5)
    return os.environ["CUDA_VISIBLE_DEVICES"]
@Endpoint(name="pair", gpu="NVIDIA L4", gpu_count=2, idle_timeout=300)
def pair(): return os.environ["CUDA_VISIBLE_DEVICES"]
async def main():
    print(sorted(set(await asyncio.gather(*[single(n) for n in range(4)]))))
    print(await pair())
    print(await single(0))
asyncio.run(main())
"""
    done = place.run_script(script, env=TWO).good()
    assert done.stdout.splitlines()[:2] == ["['0', '1']", "0,1"]
