"""torch on the GPUs that this machine really has. Needs torch with CUDA in the environment of the tests."""

import importlib.util
import json
from typing import Any

import pytest

from runpod_flash.control_plane import nvidia
from tests.acceptance.test_fork_server import log_of
from tests.support.place import Place
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not nvidia.detect() or importlib.util.find_spec("torch") is None,
    reason="this machine has no NVIDIA GPU, or no torch",
)
START_S = 120

TORCH = """
import json, os, signal, sys
from runpod_flash import Endpoint, GpuGroup

@Endpoint(name="torch", gpu=GpuGroup.ANY, idle_timeout=600)
def on_gpu(what, value=None):
    early = "torch" in sys.modules
    import torch
    if what == "product":
        a = torch.rand(512, 512, device="cuda")
        right = torch.allclose((a @ a).cpu(), a.cpu() @ a.cpu(), rtol=1e-3)
        return {"right": right, "devices": torch.cuda.device_count(), "early": early,
                "worker": os.environ["RUNPOD_POD_ID"]}
    if what == "draw":
        return torch.rand(3, device="cuda").tolist()
    if what == "tensor":
        return torch.arange(100_000, device="cuda", dtype=torch.float32) * 2
    if what == "device":
        return str(value.device), float(value.sum())
    if what == "too much":
        return torch.empty(1 << 50, dtype=torch.uint8, device="cuda")
    if what == "fill":
        free, total = torch.cuda.mem_get_info()
        global kept
        kept = torch.empty(int(free * 0.8), dtype=torch.uint8, device="cuda")
        return free
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)

@Endpoint(name="other", gpu=GpuGroup.ANY, idle_timeout=600)
def other():
    return os.environ["CUDA_VISIBLE_DEVICES"]
"""


def said(place: Place, body: str, env: dict[str, str] | None = None) -> Any:
    """What a script with these endpoints prints as JSON."""
    return json.loads(place.run_script(TORCH + body, env=env, timeout_s=START_S).good().stdout)


@pytest.mark.parametrize("fork", ["1", "0"], ids=["forked", "spawned"])
def test_a_product_is_right_in_the_first_worker_and_in_those_after_it(place: Place, fork: str) -> None:
    env = {"FLASH_FORK": fork}
    first, first_drawn = said(place, "print(json.dumps([on_gpu.remote('product'), on_gpu.remote('draw')]))", env)
    assert first == {"right": True, "devices": 1, "early": False, "worker": first["worker"]}
    if fork == "1":
        wait_until(lambda: "torch imported" in log_of(place), 60, "a fork server has imported torch")
    body = "print(json.dumps([other.remote(), on_gpu.remote('product'), on_gpu.remote('draw')]))"
    visible, second, drawn = said(place, body, env)
    assert visible == "0"
    assert second == {"right": True, "devices": 1, "early": fork == "1", "worker": second["worker"]}
    assert second["worker"] != first["worker"]
    assert drawn != first_drawn


def test_tensors_of_the_device_come_back_to_callers_with_a_gpu_and_without(place: Place) -> None:
    body = """
import torch
found = on_gpu.remote("tensor")
print(json.dumps([str(found.device), float(found.sum()), on_gpu.remote("device", found)]))
"""
    whole = 100_000 * 99_999
    device, total, there = said(place, body)
    assert device == "cuda:0"
    assert total == pytest.approx(whole)
    assert there == ["cuda:0", pytest.approx(whole)]
    # The control plane stands already, so only this caller is without a GPU.
    device, total, there = said(place, body, {"CUDA_VISIBLE_DEVICES": ""})
    assert device == "cpu"
    assert total == pytest.approx(whole)
    assert there == ["cpu", pytest.approx(whole)]


def test_memory_of_the_device_that_does_not_suffice_is_an_error_and_a_killed_worker_leaves_none_taken(
    place: Place,
) -> None:
    body = """
def error_of(what):
    try:
        on_gpu.remote(what)
    except Exception as error:
        return [type(error).__name__, str(error)[:300]]
found = [error_of("too much"), on_gpu.remote("fill"), error_of("die"), on_gpu.remote("fill")]
print(json.dumps(found))
"""
    much, free, death, after = said(place, body)
    assert "out of memory" in much[1], much
    assert death is not None
    assert "SIGKILL" in death[1], death
    assert after > 0.9 * free


def test_a_module_that_starts_cuda_when_it_is_imported_is_no_reason_to_fork(place: Place) -> None:
    place.write("eager_cuda.py", "import torch\nHERE = torch.ones(3, device='cuda')\n")
    script = """
import json, sys
from worker_runtime.preloading import Packages, preload
sys.path.insert(0, ".")
print(json.dumps([preload(Packages(preload=(name,))).unfit for name in ("torch", "eager_cuda")]))
"""
    torch, eager = json.loads(place.run_script(script, timeout_s=START_S).good().stdout)
    assert torch == ""
    assert "importing" in eager
