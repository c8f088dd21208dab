"""Each parameter of `Endpoint` has its effect on workers of this machine, whose GPUs are a stand-in inventory.

Proved elsewhere: workers=(n, m) and max_concurrency (test_workers), workers=0 (test_causes), idle_timeout
(test_provisioning), execution_timeout_ms and retries (test_failures), the memory of a size (test_memory), gpu_count and
machines without GPUs (test_gpus), dependencies and system_dependencies (test_environments), image and what a template
says of its containers (test_images). datacenter and flashboot have none here: see docs/endpoint.md.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.packages import make_wheel
from tests.support.place import Place

GPUS = "NVIDIA RTX A5000:24,NVIDIA L4:24,NVIDIA L4:24,NVIDIA A40:48"  # indices 0 to 3
MACHINE = {"FLASH_FAKE_GPUS": GPUS, "FLASH_FAKE_CUDA": "12.4"}

PROGRAM = """
import asyncio, importlib.metadata, json, os, sys, time
from functools import partial
from pathlib import Path
from runpod_flash import CpuInstanceType, Endpoint, GpuGroup, GpuType, PodTemplate, ServerlessScalerType

small = partial(Endpoint, cpu="cpu3c-1-2", idle_timeout=120)
any_driver = partial(Endpoint, min_cuda_version=None, idle_timeout=120)
meeting = Path(sys.argv[1])

def devices(): return os.environ["CUDA_VISIBLE_DEVICES"]
def size(): return len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS")
def variables(): return [os.environ.get(name) for name in ("COLOUR", "SHADE", "GREETING")]
def installer(): return importlib.metadata.distribution("slow-leaf").read_text("INSTALLER").strip()
def version(): return sys.version_info[:2]

def meet(number):
    # Whether the other call begins while this one runs.
    (meeting / str(number)).touch()
    end = time.monotonic() + 20
    while not (meeting / str(1 - number)).exists() and time.monotonic() < end:
        time.sleep(0.01)
    return (meeting / str(1 - number)).exists()

def pid(number):
    time.sleep(0.2)
    return os.getpid()

template = PodTemplate(env=[{"key": "SHADE", "value": "dark"}, {"key": "COLOUR", "value": "red"}])
calls = {
    "types in the user's order": any_driver("order", gpu=["NVIDIA L4", GpuType.NVIDIA_RTX_A5000])(devices),
    "a group before a type": any_driver("mixed", gpu=[GpuGroup.AMPERE_48, "NVIDIA L4"])(devices),
    "size by its name": small("name")(size),
    "size by the enum": small("enum", cpu=CpuInstanceType.CPU3C_1_2)(size),
    "the first size that fits": small("sizes", cpu=["cpu5c-8-16", "cpu3c-1-2"])(size),
    "env over the template's": small("env", env={"COLOUR": "blue", "GREETING": "a\\nb"}, template=template)(variables),
    "installed by pip": small("pip", dependencies=["slow-leaf"], accelerate_downloads=False)(installer),
    "the Python that is asked for": small("python", python_version=f"3.{sys.version_info[1]}")(version),
}
by_count = small("by_count", workers=2, scaler_type=ServerlessScalerType.REQUEST_COUNT, scaler_value=1)(meet)
by_few = small("by_few", workers=2, scaler_type="REQUEST_COUNT", scaler_value=4)(pid)
by_delay = small("by_delay", workers=[0, 2], scaler_type="QUEUE_DELAY", scaler_value=600)(pid)
elsewhere = small("elsewhere", datacenter="eu_ro_1", flashboot=False)(lambda: "runs")

async def both(call): return await asyncio.gather(call(0), call(1))

async def main():
    found = {what: await call() for what, call in calls.items()}
    found["a worker for each job"] = await both(by_count)
    found["a worker for four jobs"] = len(set(await both(by_few)))
    found["a worker when a job waits long"] = len(set(await both(by_delay)))
    found["anywhere"] = await elsewhere()
    print(json.dumps(found))
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place whose control plane has GPUs, and pip a folder with the package `slow-leaf`."""
    place = Place.below(tmp_path_factory.mktemp("machine"))
    yield place
    place.close()


@pytest.fixture(scope="module")
def found(machine: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the functions of PROGRAM have seen."""
    wheels = tmp_path_factory.mktemp("wheels")
    make_wheel(wheels, "slow-leaf", "1.0")
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    meeting = tmp_path_factory.mktemp("meeting")
    done = machine.run_script(PROGRAM, arguments=[str(meeting)], env={**MACHINE, **pip}, timeout_s=120).good()
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
ONE_CORE = [1, "1"] if CORES > 1 else [CORES, None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "seen"),
    [
        ("types in the user's order", "1"),
        ("a group before a type", "3"),
        ("size by its name", ONE_CORE),
        ("size by the enum", ONE_CORE),
        ("the first size that fits", [8, "8"] if CORES > 8 else [8, None] if CORES == 8 else ONE_CORE),
        ("env over the template's", ["blue", "dark", "a\nb"]),
        ("installed by pip", "pip"),
        ("the Python that is asked for", list(sys.version_info[:2])),
        ("a worker for each job", [True, True]),
        ("a worker for four jobs", 1),
        ("a worker when a job waits long", 1),
        ("anywhere", "runs"),
    ],
)
def test_a_parameter_has_its_effect(found: dict[str, Any], what: str, seen: object) -> None:
    assert found[what] == seen


NEXT = """
import asyncio, os
from runpod_flash import Endpoint
@Endpoint("wishes", gpu=["NVIDIA L4", "NVIDIA A40", "NVIDIA RTX A5000"], workers=4, min_cuda_version=None)
async def f():
    await asyncio.sleep(0.5)
    return os.environ["CUDA_VISIBLE_DEVICES"]
@Endpoint("pair", gpu=["NVIDIA A40", "NVIDIA L4"], gpu_count=2, min_cuda_version=None)
def pair(): return os.environ["CUDA_VISIBLE_DEVICES"]
async def main():
    print(sorted(set(await asyncio.gather(*[f() for _ in range(8)]))), await pair())
asyncio.run(main())
"""


@pytest.mark.slow
def test_who_finds_the_best_type_taken_gets_the_next(machine: Place) -> None:
    assert machine.run_script(NEXT, env=MACHINE).good().stdout.strip() == "['0', '1', '2', '3'] 1,2"


OLD_DRIVER = """
from runpod_flash import CudaVersion, Endpoint
@Endpoint("usual", gpu="NVIDIA L4")
def usual(): return 1
@Endpoint("older", gpu="NVIDIA L4", min_cuda_version=CudaVersion.V12_4)
def older(): return 2
@Endpoint("without", cpu="cpu3c-1-2")
def without(): return 3
print(usual.remote(), usual.remote(), older.remote(), without.remote())
"""


def test_a_driver_that_is_too_old_is_named_once(machine: Place) -> None:
    done = machine.run_script(OLD_DRIVER, env=MACHINE).good()
    assert done.stdout.strip() == "1 1 2 3"
    said = "usual: this machine is used although its driver supports CUDA 12.4, and min_cuda_version is 12.8"
    assert done.stderr.count(said) == 1
    assert done.stderr.count("its driver supports") == 1
