"""Decorate a function, call it, and it runs on a worker. Public names are loaded when they are first asked for."""

from typing import TYPE_CHECKING, Any

from runpod_flash import lazy

if TYPE_CHECKING:
    from runpod_flash.endpoint import Endpoint
    from runpod_flash.errors import (
        AuthError,
        BackendError,
        BackendUnavailable,
        CallError,
        ConfigError,
        ContentNotFound,
        EndpointNotFound,
        FlashError,
        InstallError,
        JobCancelled,
        JobError,
        JobExpired,
        JobNotFound,
        JobTimedOut,
        NotPicklable,
        PayloadTooLarge,
        RemoteError,
        ShippingError,
        UnknownOption,
        WaitTimedOut,
        WireMismatch,
        WorkerLost,
    )
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
    from runpod_flash.release import VERSION as __version__

__all__ = [
    "CPU_DATACENTERS",
    "AuthError",
    "BackendError",
    "BackendUnavailable",
    "CallError",
    "ConfigError",
    "ContentNotFound",
    "CpuInstanceType",
    "CudaVersion",
    "DataCenter",
    "Endpoint",
    "EndpointJob",
    "EndpointNotFound",
    "FlashError",
    "GpuGroup",
    "GpuType",
    "InstallError",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobNotFound",
    "JobTimedOut",
    "NotPicklable",
    "PayloadTooLarge",
    "RemoteError",
    "ServerlessScalerType",
    "ServerlessType",
    "ShippingError",
    "UnknownOption",
    "WaitTimedOut",
    "WireMismatch",
    "WorkerLost",
    "__version__",
]

_HARDWARE = frozenset(
    {
        "CPU_DATACENTERS",
        "CpuInstanceType",
        "CudaVersion",
        "DataCenter",
        "GpuGroup",
        "GpuType",
        "ServerlessScalerType",
        "ServerlessType",
    }
)
_HOMES = {"Endpoint": "endpoint", "EndpointJob": "job"}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value = lazy.load("runpod_flash.release").VERSION
    elif name in __all__:
        home = _HOMES.get(name) or ("hardware" if name in _HARDWARE else "errors")
        value = getattr(lazy.load(f"runpod_flash.{home}"), name)
    else:
        raise AttributeError(f"module 'runpod_flash' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
