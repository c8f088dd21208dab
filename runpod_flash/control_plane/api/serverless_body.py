"""The body of `/v2/serverless`: what is allowed in it, what holds where something is left out, and how PATCH works."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import is_ours
from runpod_flash.hardware import POOLS, RAM_GB_PER_VCPU, types_in

TIMEOUT_DEFAULT_MS = 600_000
"""How long a job may run where neither it nor its endpoint says anything; 0 is no limit."""

_IDLE_TIMEOUT_S = 10
_NOT_YET: Final = ("mounts", "templateId")
_MERGED: Final = ("gpu", "scaling", "workers")  # PATCH changes single keys of these
_FAMILIES: Final = ("gpu", "cpu")

VCPUS_LIMIT = 1024
"""The most CPUs that a worker may ask for."""

_COUNT_LIMIT = 2**31 - 1  # what is larger is a mistake, and no arithmetic here has to expect it
_TIMEOUT_LIMIT_MS = 2**53 - 1  # the largest whole number that JSON's readers agree on

Text = Annotated[str, Field(min_length=1, max_length=191)]
CudaVersion = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Gpu(_Part):
    """GPUs of a worker: `count` of one type, from the pools in order of preference.

    `preferredTypes`, an extension, says which types come first where that is not the order of the pools.
    """

    pools: Annotated[list[str], Field(min_length=1)]
    count: Annotated[int, Field(ge=1, le=_COUNT_LIMIT)] = 1
    excludedTypes: list[str] = []
    preferredTypes: list[str] | None = None
    allowedCudaVersions: list[CudaVersion] = []
    minCudaVersion: CudaVersion | Literal[""] = ""

    @field_validator("pools")
    @classmethod
    def _known(cls, pools: list[str]) -> list[str]:
        known = [group.value for group in POOLS]
        if unknown := [pool for pool in pools if pool not in known]:
            raise ValueError(f"there is no GPU pool {unknown[0]!r}; there are {', '.join(sorted(known))}")
        return pools

    @field_validator("excludedTypes", "preferredTypes")
    @classmethod
    def _unique(cls, types: list[str] | None) -> list[str] | None:
        return types if types is None else _without_repetition(types)


class Cpu(_Part):
    """A size of CPU worker."""

    id: str
    vcpuCount: Annotated[int, Field(ge=1, le=VCPUS_LIMIT)]

    @field_validator("id")
    @classmethod
    def _known(cls, flavor: str) -> str:
        if flavor not in RAM_GB_PER_VCPU:
            raise ValueError(f"there is no CPU flavor {flavor!r}; there are {', '.join(RAM_GB_PER_VCPU)}")
        return flavor

    @field_validator("vcpuCount")
    @classmethod
    def _power_of_two(cls, count: int) -> int:
        if count & (count - 1):
            raise ValueError(f"{count} is no power of two")
        return count


class Workers(_Part):
    """How many workers, and after how many idle seconds one stops. REQUEST_COUNT has no idle timeout."""

    min: Annotated[int, Field(ge=0, le=_COUNT_LIMIT)] = 0
    max: Annotated[int, Field(ge=0, le=_COUNT_LIMIT)] = 3
    idleTimeout: Annotated[int, Field(ge=1, le=3600)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min} and max is {self.max}; min must not be above max")
        return self


class QueueDelay(_Part):
    """Another worker when a job has waited so many seconds; 0, an extension, scales to the need at once."""

    type: Literal["QUEUE_DELAY"]
    queueDelay: Annotated[float, Field(ge=0, le=_COUNT_LIMIT)]

    @field_validator("queueDelay")
    @classmethod
    def _not_tiny(cls, seconds: float) -> float:
        if 0 < seconds < 0.5:
            raise ValueError(f"{seconds} is too short; it must be 0.5 seconds or more, or 0")
        return seconds


class RequestCount(_Part):
    """A worker for every so many queued and running jobs."""

    type: Literal["REQUEST_COUNT"]
    requestCount: Annotated[int, Field(ge=1, le=_COUNT_LIMIT)]


class Serverless(_Part):
    """An endpoint as it is asked for.

    `command` (a shell command that each worker runs) and `directory` (where), extensions, stand in for an image. So
    does `artifact`, the id of uploaded code: each worker serves its routes, or its calls are the endpoint's jobs, and
    no job brings code. Another is
    `startScript`, a shell script that runs in place of the image's entry point. `disk` (GB), `ports` and `registry` are
    kept and shown; containers of this machine do not need them.
    """

    name: Text
    type: Literal["QUEUE", "LOAD_BALANCER"]
    image: Annotated[str, Field(min_length=1)] = ""
    command: Annotated[str, Field(min_length=1, max_length=32_768)] | None = None
    directory: Annotated[str, Field(pattern=r"^/", max_length=4096)] | None = None
    artifact: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    args: Annotated[str, Field(max_length=32_768)] | None = None
    startScript: Annotated[str, Field(min_length=1, max_length=32_768)] | None = None
    disk: Annotated[int, Field(ge=1, le=_COUNT_LIMIT)] | None = None
    ports: Annotated[list[Annotated[str, Field(pattern=r"^[0-9]{1,5}/(http|tcp)$")]], Field(max_length=64)] | None = (
        None
    )
    registry: Text | None = None
    gpu: Gpu | None = None
    cpu: Annotated[list[Cpu], Field(min_length=1)] | None = None
    workers: Workers = Workers()
    scaling: Annotated[QueueDelay | RequestCount, Field(discriminator="type")]
    env: dict[str, str] = {}
    dataCenterIds: list[str] = []
    networkVolumes: list[str] = []
    timeout: Annotated[int, Field(ge=0, le=_TIMEOUT_LIMIT_MS)] = TIMEOUT_DEFAULT_MS
    flashboot: Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"] = "OFF"

    @field_validator("image")
    @classmethod
    def _a_name(cls, text: str) -> str:
        if text.startswith("-") or not text.isprintable() or " " in text:
            raise ValueError(f"{text!r:.80} is no name of an image")
        return text

    @field_validator("args")
    @classmethod
    def _words(cls, text: str | None) -> str | None:
        try:
            shlex.split(text or "")
        except ValueError as error:
            raise ValueError(f"the arguments cannot be split as a shell does it: {error}") from None
        return text

    @field_validator("name", "image", "command", "directory", "args", "startScript", "registry")
    @classmethod
    def _no_zero(cls, text: str | None) -> str | None:
        if text is not None and "\0" in text:
            raise ValueError("a zero character cannot be in it")
        return text

    @field_validator("env")
    @classmethod
    def _settable(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if not name or "=" in name or "\0" in name + value:
                raise ValueError(f"variable {name!r:.80} cannot be set: no '=' and no zero character, and not empty")
        return env

    @field_validator("cpu")
    @classmethod
    def _unique(cls, cpu: list[Cpu] | None) -> list[Cpu] | None:
        return cpu if cpu is None else _without_repetition(cpu)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.gpu is None) == (self.cpu is None):
            raise ValueError("exactly one of 'gpu' and 'cpu' is needed")
        if not self.image and self.command is None and self.artifact is None:
            raise ValueError("'image' is needed, or 'command', which this machine runs without an image")
        if self.directory is not None and self.command is None:
            raise ValueError("'directory' is where a 'command' runs, and there is none")
        self._check_artifact()
        if self.command is not None and (self.args or self.startScript):
            raise ValueError("'args' and 'startScript' are for an image, and a 'command' runs without one")
        if self.type == "LOAD_BALANCER" and not isinstance(self.scaling, RequestCount):
            raise ValueError("a load-balanced endpoint scales by REQUEST_COUNT")
        by_count = self.type == "QUEUE" and isinstance(self.scaling, RequestCount)
        if by_count and self.workers.idleTimeout is not None:
            raise ValueError("'workers.idleTimeout' is not allowed with scaling by REQUEST_COUNT")
        return self

    def _check_artifact(self) -> None:
        if self.artifact is not None and self.command is not None:
            raise ValueError("'artifact' and 'command' exclude each other")
        if self.artifact is not None and not is_ours(self.image):
            raise ValueError("'artifact' and 'image' exclude each other")
        if self.type == "LOAD_BALANCER" and self.command is None and self.artifact is None and is_ours(self.image):
            raise ValueError(
                "a load-balanced endpoint needs a 'command' or an 'artifact' here, or another 'image' than "
                f"{self.image}"
            )


def created(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a new endpoint, checked, defaults filled in (also for what is null).

    Raises:
        Problem: 422 with every fault in `errors`, or 400 where hardware options contradict each other.
    """
    return _checked(_merged({}, body))


def patched(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`current` with what `patch` names changed. null gives a field its default; `cpu`, `env`, lists change whole.

    Raises:
        Problem: as `created`, and 400 where the patch changes the type or the compute family.
    """
    if "type" in patch and patch["type"] != current["type"]:
        raise Problem(400, f"an endpoint keeps its type; this one has {current['type']}")
    if (
        current["type"] == "QUEUE"
        and "artifact" in patch
        and ("artifact" in current) != (patch["artifact"] is not None)
    ):
        raise Problem(
            400, "an endpoint that takes jobs keeps whether it has an 'artifact' of its own; make another one"
        )
    for mine, other in (_FAMILIES, reversed(_FAMILIES)):
        if mine in current and patch.get(other) is not None:
            raise Problem(
                400, f"an endpoint keeps its compute family; this one has '{mine}', so '{other}' cannot be set"
            )
    gpu = _part(patch, "gpu")
    if "excludedTypes" in gpu and "pools" not in gpu:
        raise Problem(400, "'gpu.excludedTypes' can only be changed together with 'gpu.pools'")
    merged = _merged(current, patch)
    if "pools" in gpu and "preferredTypes" not in gpu:  # an order of types that was said of other pools
        merged["gpu"] = _without(merged.get("gpu"), "preferredTypes")
    by_count = merged.get("type") == "QUEUE" and _part(merged, "scaling").get("type") == "REQUEST_COUNT"
    if by_count and "idleTimeout" not in _part(patch, "workers"):
        merged["workers"] = _without(merged.get("workers"), "idleTimeout")
    return _checked(merged)


def _merged(current: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(current)
    for key, value in patch.items():
        old = current.get(key)
        if key in _MERGED and isinstance(value, dict) and isinstance(old, dict) and _same_type(old, value):
            value = _merged(old, value)
        if value is None:
            merged.pop(key, None)  # the model has the default
        else:
            merged[key] = value
    return merged


def _part(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`; an empty one where something else is there, of which the check will complain."""
    part = body.get(key)
    return part if isinstance(part, dict) else {}


def _without(part: Any, key: str) -> Any:
    return {name: value for name, value in part.items() if name != key} if isinstance(part, dict) else part


def _same_type(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(old.get("type") == new.get("type", old.get("type")))


def _checked(body: Mapping[str, Any]) -> dict[str, Any]:
    faults = [f"$: '{key}' is not supported by this control plane yet" for key in _NOT_YET if key in body]
    try:
        model = Serverless.model_validate({key: value for key, value in body.items() if key not in _NOT_YET})
    except ValidationError as error:
        faults += [said(fault) for fault in error.errors(include_url=False)]
    if faults:
        raise Problem(422, "; ".join(faults), code="ConfigError", errors=faults)
    _check_gpu(model.gpu)
    checked = model.model_dump(mode="json", exclude_none=True)
    if not model.image:
        del checked["image"]
    if isinstance(model.scaling, QueueDelay) or model.type == "LOAD_BALANCER":
        checked["workers"].setdefault("idleTimeout", _IDLE_TIMEOUT_S)
    return checked


def _check_gpu(gpu: Gpu | None) -> None:
    if gpu is None:
        return
    if gpu.allowedCudaVersions and gpu.minCudaVersion:
        raise Problem(400, "'gpu.allowedCudaVersions' and 'gpu.minCudaVersion' exclude each other", code="ConfigError")
    selected = [kind.value for kind in types_in(gpu.pools)]
    for field, kinds in (("excludedTypes", gpu.excludedTypes), ("preferredTypes", gpu.preferredTypes or [])):
        for kind in kinds:
            if kind not in selected:
                raise Problem(400, f"'gpu.{field}' has {kind!r}, which is in none of the pools", code="ConfigError")


def said(fault: ErrorDetails) -> str:
    """A fault of a body as the published API words it: the path, then what is wrong."""
    *parents, last = fault["loc"] or ("",)
    if fault["type"] == "extra_forbidden":
        return f"{_path(parents)}: additional properties '{last}' not allowed"
    if fault["type"] == "missing":
        return f"{_path(parents)}: missing properties '{last}'"
    return f"{_path(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"


def _path(location: Sequence[int | str]) -> str:
    """`$.gpu.pools[0]`; the names of union members, which pydantic adds, are left out."""
    steps = [step for step in location if isinstance(step, int) or re.fullmatch(r"[a-z][A-Za-z]*", step)]
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _without_repetition(items: list[Any]) -> list[Any]:
    if any(items.count(item) > 1 for item in items):
        raise ValueError("an item is named twice")
    return items
