"""The keywords of `Endpoint`, checked, become an `EndpointSpec`. Every message about a bad option is here.

A message names the option, says what was given, what is allowed and, where there is one, the nearest right value.
"""

import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, NoReturn, TypeAlias, TypeVar

from runpod_flash import lazy
from runpod_flash.errors import ConfigError, UnknownOption
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
from runpod_flash.option_patterns import APT_PACKAGE, IDENTIFIER, IMAGE, REQUIREMENT
from runpod_flash.retries import check_retries
from runpod_flash.spec import DEFAULT_WORKERS_MIN, EndpointSpec, disk_limit_gb
from runpod_flash.template import DEFAULT_DISK_GB, PodTemplate
from runpod_flash.volumes import NetworkVolume
from runpod_flash.wording import name_to_import, nearest, refusal
from worker_runtime.wire.batch import Batch

E = TypeVar("E", bound=Enum)

GpuOption: TypeAlias = GpuGroup | GpuType | str | Sequence[GpuGroup | GpuType | str]
CpuOption: TypeAlias = CpuInstanceType | str | Sequence[CpuInstanceType | str]
DataCenterOption: TypeAlias = DataCenter | str | Sequence[DataCenter | str]

NAME_LIMIT = 191
PYTHONS = ("3.11", "3.12", "3.13")

_HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
_MIN_QUEUE_DELAY_S = 0.5
_MAX_IDLE_S = 3600
_MANY_CALLS = 100  # in one worker
_OF_SHIPPED_CODE = {
    "dependencies": (), "system_dependencies": (), "max_concurrency": 1, "retries": None, "batch": None, "preload": (),
}  # fmt: skip
_MAX_BATCH = 1024
_MAX_BATCH_WAIT_MS = 60_000


def check(given: Mapping[str, Any]) -> EndpointSpec:
    """Check the keywords that a user gave and return what they mean; a missing keyword has its default.

    Raises:
        UnknownOption: a keyword that no endpoint has.
        ConfigError: a value that is not allowed, or two options that exclude each other.
    """
    for option in given:
        _known(option)
    fields: dict[str, Any] = {"name": "", "gpu": (), "cpu": (), "python_version": _HERE}
    for option, read in _READERS.items():
        if option in given:
            fields.update(read(given[option]))
    _hardware(fields, given)
    _scaler(fields)
    _places(fields)
    _image(fields)
    return EndpointSpec(**fields)


def check_client(endpoint_id: Any, given: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Check the keywords of a client of an endpoint that is there already. `usual`: what each is without a word.

    Raises:
        UnknownOption: a keyword that no endpoint has.
        ConfigError: the id is none, or there are options of an endpoint to be declared.
    """
    if not isinstance(endpoint_id, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,191}", endpoint_id):
        near = re.search(r"/(?:v2|lb)/([A-Za-z0-9_-]+)", endpoint_id) if isinstance(endpoint_id, str) else None
        allowed = "the id of an endpoint, such as 'abc123': letters, digits, - and _"
        _refuse("id", endpoint_id, allowed, repr(near.group(1)) if near else None)
    if given.get("image") is not None:
        raise ConfigError(
            "id= and image= exclude each other: an endpoint is there already, or is made of an image; leave one out"
        )
    for option in given:
        if option not in usual:
            _known(option)
    said = [f"{option}=" for option in given if option != "name" and given[option] != usual.get(option)]
    if said:
        raise ConfigError(
            f"id= is a client of endpoint {endpoint_id!r}, which is there already, so {', '.join(said)} cannot be said "
            "here; leave that out, or leave out id= and declare an endpoint with name="
        )


def of_kind(spec: EndpointSpec, kind: ServerlessType) -> EndpointSpec:
    """The spec for an endpoint that takes jobs (QB) or HTTP requests (LB). Raises ConfigError where it cannot be."""
    if kind is ServerlessType.LB and spec.scaler_type is ServerlessScalerType.QUEUE_DELAY:
        raise ConfigError(
            f"scaler_type= of endpoint {spec.name!r} is QUEUE_DELAY, but HTTP requests wait in no queue; leave it out, "
            "or take REQUEST_COUNT"
        )
    return replace(spec, kind=kind)


def check_requirements(spec: EndpointSpec) -> None:
    """Check every dependency against the whole of PEP 508; raises ConfigError. (`check` does it in a light way.)"""
    if not spec.dependencies:
        return
    requirements = lazy.load("packaging.requirements")
    for text in spec.dependencies:
        try:
            requirements.Requirement(text)
        except requirements.InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"dependencies= of endpoint {spec.name!r} holds {text!r}, which is no valid requirement: {reason}"
            ) from None


def _known(option: str) -> None:
    if option in _READERS:
        return
    names = (*_READERS, "id")
    near = nearest(option, names)
    hint = f"did you mean {near}=?" if near else f"there are {', '.join(names)}"
    raise UnknownOption(f"Endpoint has no option {option}=; {hint}")


def _refuse(option: str, given: Any, allowed: str, near: str | None = None) -> NoReturn:
    raise refusal(option, given, allowed, near)


def _name(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    allowed = f"text of 1 to {NAME_LIMIT} characters without '/' and control characters"
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > NAME_LIMIT
        or "/" in value
        or not value.isprintable()
    ):
        _refuse("name", value, allowed)
    return {"name": value}


def _gpu(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items:
        _refuse("gpu", value, "a GpuGroup, a GpuType, the name of one, or a list of them that is not empty")
    return {"gpu": tuple(_one_gpu(item) for item in items)}


def _one_gpu(item: Any) -> GpuGroup | GpuType:
    if isinstance(item, GpuGroup | GpuType):
        return item
    names: dict[str, GpuGroup | GpuType] = {}
    for kind in (*GpuType, *GpuGroup):  # "any" and "ANY" are the group
        names |= {kind.name: kind, kind.value: kind}
    if isinstance(item, str) and item in names:
        return names[item]
    near = nearest(item, [*GpuType._value2member_map_, *GpuGroup._value2member_map_]) if isinstance(item, str) else None
    _refuse(
        "gpu",
        item,
        "a GpuGroup, a GpuType or the name of one, such as 'NVIDIA L4' or 'AMPERE_24'",
        repr(near) if near else None,
    )


def _cpu(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    items = list(value) if isinstance(value, list | tuple) else [value]
    if not items:
        _refuse("cpu", value, "a CpuInstanceType, the name of one, or a list of them that is not empty")
    return {"cpu": tuple(_member("cpu", item, CpuInstanceType) for item in items)}


def _member(option: str, item: Any, kind: type[E]) -> E:
    """The member of an enum that `item` is, or is the name or value of."""
    if isinstance(item, kind):
        return item
    for member in kind:
        if isinstance(item, str) and item in (member.name, member.value):
            return member
    near = nearest(str(item), [str(member.value) for member in kind]) if isinstance(item, str | float) else None
    values = ", ".join(str(member.value) for member in kind)
    _refuse(option, item, f"a {kind.__name__} or one of {values}", repr(near) if near else None)


def _image_name(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, str) or not re.fullmatch(IMAGE, value):
        _refuse("image", value, "the name of a container image, such as 'vllm/vllm-openai:latest'")
    return {"image": value}


def _template(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, PodTemplate):
        _refuse("template", value, "a PodTemplate", f"PodTemplate({'**' if isinstance(value, Mapping) else ''}…)")
    return {"template": value}


def _workers(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    pair = value if isinstance(value, list | tuple) else (DEFAULT_WORKERS_MIN, value)
    low, high = pair if len(pair) == 2 else (-1, -1)
    if not (_is_int(low) and _is_int(high)) or low < 0 or high < 0:
        _refuse("workers", value, "a number of 0 or more (the most workers), or (least, most)")
    if low > high:
        _refuse("workers", value, "(least, most) with least not above most", repr((high, low)))
    return {"workers_min": low, "workers_max": high}


def _number(option: str, low: int, high: int | None = None, unit: str = "") -> Callable[[Any], dict[str, Any]]:
    allowed = f"a whole number {f'from {low} to {high}' if high is not None else f'of {low} or more'}{unit}"

    def read(value: Any) -> dict[str, Any]:
        if not _is_int(value) or value < low or (high is not None and value > high):
            _refuse(option, value, allowed)
        return {option: value}

    return read


def _flag(option: str) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, bool):
            _refuse(option, value, "True or False")
        return {option: value}

    return read


def _texts(option: str, value: Any, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        _refuse(option, value, f"a list of {what}", repr([value]))
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(item, str) for item in value):
        _refuse(option, value, f"a list of {what}")
    return tuple(sorted(value) if isinstance(value, set | frozenset) else value)


def _dependencies(value: Any) -> dict[str, Any]:
    found = _texts("dependencies", value, "requirements, such as 'numpy' or 'torch>=2'")
    for item in found:
        if not re.fullmatch(REQUIREMENT, item):
            allowed = "requirements such as 'numpy', 'torch>=2' or 'name @ https://…'"
            _refuse("dependencies", item, allowed, _requirement_hint(item))
    return {"dependencies": found}


def _requirement_hint(item: str) -> str | None:
    if re.fullmatch(rf"\s*{IDENTIFIER}\s*=\s*[^\s=]+\s*", item):
        return repr(re.sub(r"\s*=\s*", "==", item.strip()))
    if re.match(r"\s*(git\+|https?:)", item):
        return repr(f"name @ {item.strip()}")
    return None


def _preload(value: Any) -> dict[str, Any]:
    found = _texts("preload", value, "names of modules, such as 'torch'")
    for item in found:
        if (near := name_to_import(item)) != item or not item:
            _refuse("preload", item, "names of modules as in an import, such as 'torch' or 'PIL.Image'", near or None)
    return {"preload": found}


def _system_dependencies(value: Any) -> dict[str, Any]:
    found = _texts("system_dependencies", value, "names of apt packages, such as 'ffmpeg'")
    for item in found:
        if not re.fullmatch(APT_PACKAGE, item):
            _refuse("system_dependencies", item, "names of apt packages, such as 'ffmpeg' or 'libgl1=1.6.0-1'")
    return {"system_dependencies": found}


def _datacenter(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    items = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    return {"datacenter": tuple(dict.fromkeys(_one_datacenter(item) for item in items))}


def _one_datacenter(item: Any) -> DataCenter:
    try:
        return DataCenter.from_string(item) if isinstance(item, str) else _member("datacenter", item, DataCenter)
    except ConfigError:
        raise
    except ValueError:
        return _member("datacenter", item, DataCenter)


def _volume(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    allowed = "a NetworkVolume, or a list of them, one for each data center"
    if isinstance(value, str):
        _refuse("volume", value, allowed, f"NetworkVolume(name={value!r})")
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not items:
        _refuse("volume", value, f"{allowed}, that is not empty")
    for number, item in enumerate(items):
        if not isinstance(item, NetworkVolume):
            option = f"volume[{number}]" if isinstance(value, list | tuple) else "volume"
            _refuse(option, item, "a NetworkVolume", f"NetworkVolume(name={item!r})" if isinstance(item, str) else None)
    return {"volume": items}


def _env(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        _refuse("env", value, "a dict of names and values, both text")
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            _refuse("env", name, "a dict whose names are text that is not empty and has no '='")
        if not isinstance(text, str) or "\0" in text:
            raise ConfigError(
                f"env= gives {name!r} a value of type {type(text).__name__}; values are text, so write {name!r}: str(…)"
            )
    return {"env": dict(value)}


def _scaler_type(value: Any) -> dict[str, Any]:
    return {} if value is None else {"scaler_type": _member("scaler_type", value, ServerlessScalerType)}


def _scaler_value(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not (_is_int(value) or isinstance(value, float)) or not 0 <= value < float("inf"):
        _refuse("scaler_value", value, "a number: seconds (QUEUE_DELAY) or jobs per worker (REQUEST_COUNT)")
    return {"scaler_value": value}


def _min_cuda_version(value: Any) -> dict[str, Any]:
    return {"min_cuda_version": None if value is None else _member("min_cuda_version", value, CudaVersion)}


def _python_version(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if value not in PYTHONS:
        near = str(value) if str(value) in PYTHONS else None
        _refuse("python_version", value, f"one of {', '.join(map(repr, PYTHONS))}", repr(near) if near else None)
    return {"python_version": value}


def _max_concurrency(value: Any) -> dict[str, Any]:
    checked = _number("max_concurrency", 1)(value)
    if value > _MANY_CALLS:
        warnings.warn(
            f"max_concurrency={value} lets one worker run more than {_MANY_CALLS} calls at a time, which share its "
            "memory and its cores; more workers= is often the better way",
            UserWarning,
            stacklevel=4,  # of the declaration
        )
    return checked


def _retries(value: Any) -> dict[str, Any]:
    return {"retries": check_retries(value)}


def _batch(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    pair = value if isinstance(value, list | tuple) and len(value) == 2 else (0, 0)
    size, wait = pair
    if not (_is_int(size) and _is_int(wait)) or not 2 <= size <= _MAX_BATCH or not 0 <= wait <= _MAX_BATCH_WAIT_MS:
        _refuse(
            "batch",
            value,
            f"(max_size, max_wait_ms): from 2 to {_MAX_BATCH} calls, from 0 to {_MAX_BATCH_WAIT_MS} milliseconds",
        )
    return {"batch": Batch(size, wait)}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _hardware(fields: dict[str, Any], given: Mapping[str, Any]) -> None:
    if fields["gpu"] and fields["cpu"]:
        raise ConfigError(
            "gpu= and cpu= exclude each other; an endpoint has either GPU or CPU workers, so leave one out"
        )
    if not fields["cpu"]:
        fields["gpu"] = fields["gpu"] or (GpuGroup.ANY,)
        return
    for center in fields.get("datacenter", ()):
        if center not in CPU_DATACENTERS:
            allowed = ", ".join(sorted(CPU_DATACENTERS))
            _refuse(
                "datacenter",
                given["datacenter"],
                f"{allowed} for a cpu= endpoint; no other data center has CPU workers",
            )


def _image(fields: Mapping[str, Any]) -> None:
    """What an image and a template ask of the other options."""
    template: PodTemplate | None = fields.get("template")
    if template is not None and fields["cpu"]:
        limit = disk_limit_gb(fields["cpu"])
        if template.containerDiskInGb > limit and template.containerDiskInGb != DEFAULT_DISK_GB:
            sizes = ", ".join(f"{size.value}: {disk_limit_gb([size])}" for size in fields["cpu"])
            _refuse("containerDiskInGb", template.containerDiskInGb, f"at most {limit} GB with cpu= ({sizes})")
    if not fields.get("image"):
        return
    if not fields["name"]:
        raise ConfigError("image= needs a name for the endpoint: Endpoint(name=…, image=…)")
    for option, usual in _OF_SHIPPED_CODE.items():
        if fields.get(option, usual) != usual:
            raise ConfigError(
                f"{option}= has no effect with image=: an image holds what it needs, and what it runs decides how; "
                "leave one of the two out"
            )


def _scaler(fields: dict[str, Any]) -> None:
    value, kind = fields.get("scaler_value"), fields.get("scaler_type")
    if value is None:
        return
    if kind is ServerlessScalerType.REQUEST_COUNT:
        if value < 1 or value != int(value):
            _refuse("scaler_value", value, "a whole number of 1 or more with REQUEST_COUNT (jobs per worker)")
    elif 0 < value < _MIN_QUEUE_DELAY_S:
        _refuse("scaler_value", value, f"0 or at least {_MIN_QUEUE_DELAY_S} with QUEUE_DELAY (seconds)")


def _places(fields: dict[str, Any]) -> None:
    """Each volume is in a data center of its own, where the endpoint has workers."""
    centers, taken = fields.get("datacenter", ()), dict[DataCenter, NetworkVolume]()
    for volume in fields.get("volume", ()):
        center = volume.datacenter
        if center is None:  # of one that is known by its id, the platform knows it
            continue
        if center in taken:
            raise ConfigError(
                f"volume= has {taken[center]!r} and {volume!r}, both in {center}; workers see the one of their data "
                "center, so give one for each"
            )
        taken[center] = volume
        if centers and center not in centers:
            raise ConfigError(
                f"volume= is {volume!r}, in {center}, but datacenter= is {', '.join(centers)}, where workers cannot "
                f"reach it; add {center} to datacenter=, or take a volume from there"
            )


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "name": _name,
    "gpu": _gpu,
    "cpu": _cpu,
    "workers": _workers,
    "idle_timeout": _number("idle_timeout", 1, _MAX_IDLE_S, " (seconds)"),
    "dependencies": _dependencies,
    "system_dependencies": _system_dependencies,
    "accelerate_downloads": _flag("accelerate_downloads"),
    "volume": _volume,
    "datacenter": _datacenter,
    "env": _env,
    "gpu_count": _number("gpu_count", 1),
    "execution_timeout_ms": _number("execution_timeout_ms", 0, None, " (milliseconds; 0: no limit)"),
    "flashboot": _flag("flashboot"),
    "image": _image_name,
    "scaler_type": _scaler_type,
    "scaler_value": _scaler_value,
    "template": _template,
    "min_cuda_version": _min_cuda_version,
    "max_concurrency": _max_concurrency,
    "python_version": _python_version,
    "retries": _retries,
    "batch": _batch,
    "preload": _preload,
}
