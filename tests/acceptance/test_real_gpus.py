"""With the GPUs that this machine really has: found, handed to workers, computed on inside the isolation."""

import json

import pytest

from runpod_flash.control_plane import nvidia
from tests.support.place import Place

GPUS = nvidia.detect()
pytestmark = pytest.mark.skipif(not GPUS, reason="this machine has no NVIDIA GPU")

CUDA = """
import ctypes, os

def compute():
    # Memory of the device, filled there and copied back: by the driver alone, no package is needed.
    cuda = ctypes.CDLL("libcuda.so.1")
    def do(result, what):
        assert result == 0, (what, result)
    do(cuda.cuInit(0), "init")
    count = ctypes.c_int()
    do(cuda.cuDeviceGetCount(ctypes.byref(count)), "count")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    do(cuda.cuDeviceGet(ctypes.byref(device), 0), "device")
    name = ctypes.create_string_buffer(100)
    do(cuda.cuDeviceGetName(name, 100, device), "name")
    do(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, device), "context")
    pointer, words = ctypes.c_uint64(), 1 << 20
    do(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(4 * words)), "alloc")
    do(cuda.cuMemsetD32_v2(pointer, ctypes.c_uint(7), ctypes.c_size_t(words)), "fill")
    back = (ctypes.c_uint * words)()
    do(cuda.cuMemcpyDtoH_v2(back, pointer, ctypes.c_size_t(4 * words)), "copy")
    do(cuda.cuCtxDestroy_v2(context), "end")
    return {"count": count.value, "name": name.value.decode(), "sum": sum(back), "of": words,
            "visible": os.environ["CUDA_VISIBLE_DEVICES"]}
"""

HANDLER = (
    CUDA
    + """
import json, urllib.request
take, done = os.environ["RUNPOD_WEBHOOK_GET_JOB"], os.environ["RUNPOD_WEBHOOK_POST_OUTPUT"]
worker, key = os.environ["RUNPOD_POD_ID"], os.environ["RUNPOD_AI_API_KEY"]

def ask(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    answer = urllib.request.urlopen(urllib.request.Request(url, data, {"Authorization": key}))
    text = answer.read()
    return json.loads(text) if text else None

while True:
    job = ask(take.replace("$ID", worker) + "&job_in_progress=0")
    if job:
        ask(done.replace("$RUNPOD_POD_ID", worker).replace("$ID", job["id"]) + "&isStream=false", {"output": compute()})
"""
)


def checked(found: dict[str, object]) -> None:
    assert found["count"] == 1
    assert found["name"] == GPUS[0].type
    assert found["sum"] == 7 * int(str(found["of"]))
    assert found["visible"] == "0"


def test_a_function_computes_on_one_device(place: Place) -> None:
    script = (
        "import json\nfrom runpod_flash import Endpoint, GpuGroup\n"
        + CUDA
        + """
@Endpoint(name="cuda", gpu=GpuGroup.ANY)
def f():
    return compute()
@Endpoint(name="none", cpu="cpu3c-1-2")
def none():
    return ctypes.CDLL("libcuda.so.1").cuInit(0)
print(json.dumps([f.remote(), none.remote()]))
"""
    )
    found, without = json.loads(place.run_script(script).good().stdout)
    checked(found)
    assert without != 0, "a cpu= endpoint sees a GPU"


def test_a_command_computes_on_one_device_and_the_server_for_others_isolates_it(place: Place) -> None:
    place.write("handler.py", HANDLER)
    place.flash("server", "start", "--listen", "127.0.0.1:0").good()
    place.flash("server", "add", "--name", "cuda", "--command", "python3 handler.py").good()
    script = """
import json, os, urllib.request
from pathlib import Path
plane = next(Path(os.environ["FLASH_HOME"]).glob("planes/*"))
record, key = json.loads((plane / "record.json").read_text()), (plane / "key").read_text().strip()
def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{record['port']}{path}", data, {"Authorization": key})
    return json.load(urllib.request.urlopen(request))
endpoint = ask("/v2/serverless")["endpoints"][0]["id"]
print(json.dumps(ask(f"/v2/{endpoint}/runsync", {"input": {"go": True}})))
"""
    job = json.loads(place.run_script(script).good().stdout)
    assert job["status"] == "COMPLETED", job
    checked(job["output"])


def test_an_idle_worker_gives_its_device_to_another_endpoint(place: Place) -> None:
    if len(GPUS) > 1:
        pytest.skip("this machine has more than one GPU")
    script = (
        "import json\nfrom runpod_flash import Endpoint, GpuGroup\n"
        + CUDA
        + """
@Endpoint(name="one", gpu=GpuGroup.ANY, idle_timeout=600)
def one():
    return compute()
@Endpoint(name="two", gpu=GpuGroup.ANY, idle_timeout=600)
def two():
    return compute()
print(json.dumps([one.remote(), two.remote(), one.remote()]))
"""
    )
    for found in json.loads(place.run_script(script).good().stdout):
        checked(found)
