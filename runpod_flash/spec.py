"""What was agreed: the checked, frozen description of an endpoint, and its form in the platform's API."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runpod_flash.hardware import (
    CpuInstanceType,
    CudaVersion,
    DataCenter,
    GpuGroup,
    GpuType,
    ServerlessScalerType,
    pools_and_exclusions,
)

DEFAULT_SCALER_VALUE = 4
"""Seconds of waiting (QUEUE_DELAY) or jobs per worker (REQUEST_COUNT) where the user names a scaler without a value."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A checked endpoint; made by `options.check`. `name` is "" until the decorated object gives one.

    Exactly one of `gpu` and `cpu` is not empty. `scaler_type` and `scaler_value` are None where the user named none.
    Times are in seconds, but for `execution_timeout_ms`, where 0 is no limit.
    """

    name: str
    gpu: tuple[GpuGroup | GpuType, ...]
    cpu: tuple[CpuInstanceType, ...]
    python_version: str
    workers_min: int = 0
    workers_max: int = 1
    idle_timeout: int = 60
    dependencies: tuple[str, ...] = ()
    system_dependencies: tuple[str, ...] = ()
    accelerate_downloads: bool = True
    datacenter: tuple[DataCenter, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    gpu_count: int = 1
    execution_timeout_ms: int = 0
    flashboot: bool = True
    scaler_type: ServerlessScalerType | None = None
    scaler_value: float | None = None
    min_cuda_version: CudaVersion | None = CudaVersion.V12_8
    max_concurrency: int = 1
    retries: int | None = None

    def named(self, name: str) -> "EndpointSpec":
        """This spec, with `name` where it has none yet."""
        return self if self.name else replace(self, name=name)


def to_body(spec: EndpointSpec, *, default_queue_delay: float, artifact: str | None = None) -> dict[str, Any]:
    """The spec as the body of `POST|PATCH /v2/serverless`; all keys are present.

    Args:
        default_queue_delay: `queueDelay` in seconds where the user named no scaler; a platform's own choice.
        artifact: the id of the code whose routes the endpoint serves; None: it takes jobs.
    """
    scaling = _scaling(spec, default_queue_delay) if artifact is None else _by_requests(spec)
    workers = {"min": spec.workers_min, "max": spec.workers_max}
    if artifact is not None or scaling["type"] == ServerlessScalerType.QUEUE_DELAY.value:
        workers["idleTimeout"] = spec.idle_timeout  # the API refuses it with REQUEST_COUNT and jobs
    return {
        "name": spec.name,
        "type": "QUEUE" if artifact is None else "LOAD_BALANCER",
        **({} if artifact is None else {"artifact": artifact}),
        "image": "runpod/flash-cpu" if spec.cpu else "runpod/flash",
        **_hardware(spec),
        "workers": workers,
        "scaling": scaling,
        "env": dict(spec.env),
        "dataCenterIds": [center.value for center in spec.datacenter],
        "networkVolumes": [],
        "timeout": spec.execution_timeout_ms,
        "flashboot": "FLASHBOOT" if spec.flashboot else "OFF",
    }


def _hardware(spec: EndpointSpec) -> dict[str, Any]:
    if spec.cpu:
        return {"cpu": [{"id": instance.flavor, "vcpuCount": instance.vcpu} for instance in spec.cpu]}
    pools, excluded = pools_and_exclusions(spec.gpu)
    floor = spec.min_cuda_version.value if spec.min_cuda_version else ""  # "" clears it
    return {
        "gpu": {"pools": list(pools), "count": spec.gpu_count, "excludedTypes": list(excluded), "minCudaVersion": floor}
    }


def _scaling(spec: EndpointSpec, default_queue_delay: float) -> dict[str, Any]:
    if spec.scaler_type is None and spec.scaler_value is None:
        return {"type": ServerlessScalerType.QUEUE_DELAY.value, "queueDelay": default_queue_delay}
    value = DEFAULT_SCALER_VALUE if spec.scaler_value is None else spec.scaler_value
    if spec.scaler_type is ServerlessScalerType.REQUEST_COUNT:
        return _by_requests(spec)
    return {"type": ServerlessScalerType.QUEUE_DELAY.value, "queueDelay": value}


def _by_requests(spec: EndpointSpec) -> dict[str, Any]:
    value = DEFAULT_SCALER_VALUE if spec.scaler_value is None else spec.scaler_value
    return {"type": ServerlessScalerType.REQUEST_COUNT.value, "requestCount": int(value)}
