"""Decorate a function, call it, and it runs on a worker. Public names are loaded when they are first asked for."""

from typing import TYPE_CHECKING, Any

from runpod_flash import lazy

if TYPE_CHECKING:
    from runpod_flash.endpoint import Endpoint
    from runpod_flash.hardware import (
        CPU_DATACENTERS,
        CpuInstanceType,
        CudaVersion,
        DataCenter,
        GpuGroup,
        GpuType,
        ServerlessScalerType,
        ServerlessType,
    )
    from runpod_flash.job import EndpointJob
    from runpod_flash.reporting import progress
    from runpod_flash.retries import Retries
    from runpod_flash.spec import DEFAULT_WORKERS_MAX, DEFAULT_WORKERS_MIN
    from runpod_flash.template import PodTemplate
    from runpod_flash.volumes import NetworkVolume

    __version__: str

__all__ = [
    "CPU_DATACENTERS",
    "DEFAULT_WORKERS_MAX",
    "DEFAULT_WORKERS_MIN",
    "CpuInstanceType",
    "CudaVersion",
    "DataCenter",
    "Endpoint",
    "EndpointJob",
    "GpuGroup",
    "GpuType",
    "NetworkVolume",
    "PodTemplate",
    "Retries",
    "ServerlessScalerType",
    "ServerlessType",
    "progress",
]

_HOMES = {  # of the others: hardware
    "DEFAULT_WORKERS_MAX": "spec",
    "DEFAULT_WORKERS_MIN": "spec",
    "Endpoint": "endpoint",
    "EndpointJob": "job",
    "NetworkVolume": "volumes",
    "PodTemplate": "template",
    "Retries": "retries",
    "progress": "reporting",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = lazy.load("runpod_flash.release").VERSION
    elif name in __all__:
        value = getattr(lazy.load(f"runpod_flash.{_HOMES.get(name, 'hardware')}"), name)
    else:
        raise AttributeError(f"module 'runpod_flash' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
