"""What was agreed: the checked, frozen description of an endpoint, and its form in the platform's API."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runpod_flash.hardware import (
    CpuInstanceType,
    CudaVersion,
    DataCenter,
    GpuGroup,
    GpuType,
    ServerlessScalerType,
    ServerlessType,
    pools_and_exclusions,
    preference,
)
from runpod_flash.retries import Retries
from runpod_flash.template import DEFAULT_DISK_GB, PodTemplate
from runpod_flash.volumes import NetworkVolume
from worker_runtime.wire.batch import Batch

DEFAULT_WORKERS_MIN = 0
DEFAULT_WORKERS_MAX = 1
"""How many workers there are at least and at most where the user names no number."""

DEFAULT_IDLE_TIMEOUT_S = 60

DEFAULT_SCALER_VALUE = 4
"""Seconds of waiting (QUEUE_DELAY) or jobs per worker (REQUEST_COUNT) where the user names a scaler without a value."""

OPTIONAL = ("args", "startScript", "disk", "ports", "registry")
"""The keys of a body that stand in it only where there is something to say; null takes them back."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A checked endpoint; made by `options.check`. `name` is "" until the decorated object gives one.

    Exactly one of `gpu` and `cpu` is not empty. With an `image` the workers are containers of it. `scaler_type` and
    `scaler_value` are None where the user named none. Times are in seconds, but for `execution_timeout_ms`, where 0 is
    no limit.
    """

    name: str
    gpu: tuple[GpuGroup | GpuType, ...]
    cpu: tuple[CpuInstanceType, ...]
    python_version: str
    kind: ServerlessType = ServerlessType.QB
    image: str = ""
    workers_min: int = DEFAULT_WORKERS_MIN
    workers_max: int = DEFAULT_WORKERS_MAX
    idle_timeout: int = DEFAULT_IDLE_TIMEOUT_S
    dependencies: tuple[str, ...] = ()
    system_dependencies: tuple[str, ...] = ()
    accelerate_downloads: bool = True
    volume: tuple[NetworkVolume, ...] = ()
    datacenter: tuple[DataCenter, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    gpu_count: int = 1
    execution_timeout_ms: int = 0
    flashboot: bool = True
    scaler_type: ServerlessScalerType | None = None
    scaler_value: float | None = None
    template: PodTemplate | None = None
    min_cuda_version: CudaVersion | None = CudaVersion.V12_8
    max_concurrency: int = 1
    retries: int | Retries | None = None
    batch: Batch | None = None
    preload: tuple[str, ...] = ()

    @property
    def concurrency(self) -> int:
        """How many calls one worker has at a time."""
        return self.max_concurrency * (self.batch.max_size if self.batch is not None else 1)

    def named(self, name: str) -> "EndpointSpec":
        """This spec, with `name` where it has none yet."""
        return self if self.name else replace(self, name=name)


def to_body(
    spec: EndpointSpec,
    *,
    default_queue_delay: float,
    volume_ids: Sequence[str] = (),
    artifact: str | None = None,
) -> dict[str, Any]:
    """The spec as the body of `POST|PATCH /v2/serverless`; all keys but the `OPTIONAL` ones are present.

    Args:
        default_queue_delay: `queueDelay` in seconds where the user named no scaler; a platform's own choice.
        volume_ids: of the spec's volumes, on that platform.
        artifact: the id of the code whose routes the endpoint serves; None: it takes jobs, or is an image's.
    """
    balanced = spec.kind is ServerlessType.LB or artifact is not None
    scaling = _scaling(spec, default_queue_delay, balanced=balanced)
    workers = {"min": spec.workers_min, "max": spec.workers_max}
    if balanced or scaling["type"] == ServerlessScalerType.QUEUE_DELAY.value:
        workers["idleTimeout"] = spec.idle_timeout  # the API refuses it for queues with REQUEST_COUNT
    return {
        "name": spec.name,
        "type": "LOAD_BALANCER" if balanced else "QUEUE",
        **({} if artifact is None else {"artifact": artifact}),
        "image": spec.image or ("runpod/flash-cpu" if spec.cpu else "runpod/flash"),
        **_hardware(spec),
        "workers": workers,
        "scaling": scaling,
        "env": {**dict(spec.template.env if spec.template else ()), **spec.env},
        "dataCenterIds": [center.value for center in spec.datacenter],
        "networkVolumes": list(volume_ids),
        "timeout": spec.execution_timeout_ms,
        "flashboot": "FLASHBOOT" if spec.flashboot else "OFF",
        **_template(spec),
    }


def disk_limit_gb(instances: Iterable[CpuInstanceType]) -> int:
    """The largest disk in GB that containers of all these sizes may have."""
    return min(instance.vcpu * (15 if instance.flavor.startswith("cpu5") else 10) for instance in instances)


def _template(spec: EndpointSpec) -> dict[str, Any]:
    template = spec.template
    if template is None:
        return {}
    disk = template.containerDiskInGb
    if spec.cpu and disk == DEFAULT_DISK_GB:
        disk = min(disk, disk_limit_gb(spec.cpu))
    said = (template.dockerArgs, template.startScript, disk, list(template.exposed), template.containerRegistryAuthId)
    return {key: value for key, value in zip(OPTIONAL, said, strict=True) if value}


def _hardware(spec: EndpointSpec) -> dict[str, Any]:
    if spec.cpu:
        return {"cpu": [{"id": instance.flavor, "vcpuCount": instance.vcpu} for instance in spec.cpu]}
    pools, excluded = pools_and_exclusions(spec.gpu)
    floor = spec.min_cuda_version.value if spec.min_cuda_version else ""  # "" clears it
    gpu = {"pools": list(pools), "count": spec.gpu_count, "excludedTypes": list(excluded), "minCudaVersion": floor}
    order = preference(spec.gpu)
    return {"gpu": {**gpu, "preferredTypes": list(order)} if order else gpu}  # an extension, so only where it is needed


def _scaling(spec: EndpointSpec, default_queue_delay: float, *, balanced: bool) -> dict[str, Any]:
    if spec.scaler_type is None and spec.scaler_value is None and not balanced:
        return {"type": ServerlessScalerType.QUEUE_DELAY.value, "queueDelay": default_queue_delay}
    value = DEFAULT_SCALER_VALUE if spec.scaler_value is None else spec.scaler_value
    if balanced or spec.scaler_type is ServerlessScalerType.REQUEST_COUNT:
        return {"type": ServerlessScalerType.REQUEST_COUNT.value, "requestCount": int(value)}
    return {"type": ServerlessScalerType.QUEUE_DELAY.value, "queueDelay": value}
