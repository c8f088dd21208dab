"""What the NVIDIA driver of this machine says of its GPUs."""

import contextlib
import ctypes
import logging
from typing import Any

from runpod_flash import lazy
from runpod_flash.control_plane.inventory import Gpu

logger = logging.getLogger(__name__)

_LIBRARY = "libnvidia-ml.so.1"  # of the driver; what speaks to it takes long to load, and most machines have none


def load() -> Any:
    """What speaks to the driver, ready; `nvmlShutdown` ends that. None where there is no driver."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    driver = lazy.load("pynvml")
    try:
        driver.nvmlInit()
    except driver.NVMLError:
        return None
    return driver


def detect() -> tuple[Gpu, ...]:
    """The devices that the NVIDIA driver reports; none where there is no driver."""
    driver = load()
    if driver is None:
        return ()
    try:
        found = [_device(driver, index) for index in range(driver.nvmlDeviceGetCount())]
    except driver.NVMLError as error:
        logger.warning("the GPUs of this machine cannot be listed: %s", error)
        return ()
    finally:
        driver.nvmlShutdown()
    return tuple(gpu for gpu in found if gpu is not None)


def driver_cuda() -> str | None:
    """The newest CUDA version that the NVIDIA driver supports, as "12.8"; None where there is no driver."""
    driver = load()
    if driver is None:
        return None
    try:
        number = int(driver.nvmlSystemGetCudaDriverVersion())
    except driver.NVMLError as error:
        logger.warning("the driver does not say which CUDA version it supports: %s", error)
        return None
    finally:
        driver.nvmlShutdown()
    return f"{number // 1000}.{number % 1000 // 10}"


def _device(driver: Any, index: int) -> Gpu | None:
    """The device with this number; None for one that has fallen off the bus."""
    try:
        handle = driver.nvmlDeviceGetHandleByIndex(index)
        name = driver.nvmlDeviceGetName(handle)
    except driver.NVMLError as error:
        logger.warning("GPU %d cannot be used: %s", index, error)
        return None
    total = 0
    with contextlib.suppress(driver.NVMLError):  # one that shares the machine's memory does not say
        total = driver.nvmlDeviceGetMemoryInfo(handle).total
    return Gpu(index, name if isinstance(name, str) else name.decode(), round(total / 1024**3))
