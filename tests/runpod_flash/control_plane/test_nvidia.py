"""What a driver says, over stand-ins for it; and that nothing that speaks to one is loaded where there is none."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pynvml
import pytest

from runpod_flash.control_plane import nvidia
from runpod_flash.control_plane.inventory import Gpu


def test_the_drivers_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "load", lambda: SimpleNamespace(
        NVMLError=pynvml.NVMLError, nvmlShutdown=lambda: None,
        nvmlSystemGetCudaDriverVersion=lambda: 12040,
    ))  # fmt: skip
    assert nvidia.driver_cuda() == "12.4"


class Driver:
    """A stand-in for the NVIDIA driver: a good device, one that does not tell its memory, one off the bus."""

    NVMLError = pynvml.NVMLError

    def __init__(self, *, lists: bool = True) -> None:
        self.lists, self.open = lists, 0

    def opened(self) -> "Driver":
        self.open += 1
        return self

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        if not self.lists:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return "NVIDIA H200" if handle == 0 else b"NVIDIA GB10"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        if handle == 2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(total=143771 * 1024**2)


def test_the_devices_that_work_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(nvidia, "load", driver.opened)
    assert nvidia.detect() == (Gpu(0, "NVIDIA H200", 140), Gpu(2, "NVIDIA GB10", 0))
    assert driver.open == 0


def test_a_driver_that_fails_is_a_machine_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(lists=False)
    monkeypatch.setattr(nvidia, "load", driver.opened)
    assert (nvidia.detect(), driver.open) == ((), 0)


def test_without_a_driver_there_are_no_gpus_and_nothing_is_loaded_for_them() -> None:
    program = (
        "import sys; from runpod_flash.control_plane import nvidia; nvidia._LIBRARY = 'libnone.so.1'; "
        "print(nvidia.detect(), nvidia.driver_cuda(), 'pynvml' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["()", "None", "False"]


def test_a_driver_that_cannot_be_spoken_to_is_as_if_there_were_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert nvidia.load() is None
