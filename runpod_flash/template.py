"""`PodTemplate`: what a container is started with beside the options of its endpoint."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

from runpod_flash.errors import ConfigError, UnknownOption
from runpod_flash.wording import nearest

DEFAULT_DISK_GB: Final = 64
"""What the disk of a container has where nobody says a size."""

_DISK_LIMIT_GB = 100_000
_PORT = re.compile(r"(\d{1,5})/(http|tcp)")
_NO_EFFECT = {"advancedStart": False, "config": {}, "readme": ""}
_DEFAULTS: Final[Mapping[str, Any]] = {
    "name": "", "imageName": "", "containerDiskInGb": DEFAULT_DISK_GB, "containerRegistryAuthId": "", "dockerArgs": "",
    "startScript": "", "ports": "", "env": (), **_NO_EFFECT,
}  # fmt: skip


class PodTemplate:
    """How containers of an endpoint are started. It cannot be changed; equal ones are equal.

        Endpoint(name="llm", image="vllm/vllm-openai", template=PodTemplate(dockerArgs="--port $PORT", ports="80/http"))

    Args:
        env: variables of the workers, of which those of the endpoint with the same name win: objects with `key` and
            `value`, as dicts too, or one dict of names and values.
        dockerArgs: arguments for the image's entry point, with quotes as in a shell. `$PORT` in them is the port on
            which a load-balanced container shall answer (this machine).
        startScript: a shell script that runs in place of the image's entry point (this machine).
        containerDiskInGb: size of a container's disk in GB (Runpod's cloud). With `cpu=` it is bounded by the size.
        ports: the ports that a container exposes, "8000/http,22/tcp" (Runpod's cloud).
        containerRegistryAuthId: id of the credentials for the image's registry (Runpod's cloud); this machine uses
            those of its container engine.
        name, imageName, advancedStart, config, readme: kept for programs that name them. `image=` of the endpoint says
            what runs.

    Raises:
        ConfigError, UnknownOption: a field is wrong, or there is none of that name.
    """

    name: str
    imageName: str
    containerDiskInGb: int
    containerRegistryAuthId: str
    dockerArgs: str
    startScript: str
    ports: str
    env: tuple[tuple[str, str], ...]
    advancedStart: bool
    config: Mapping[str, Any]
    readme: str

    def __init__(self, **fields: Any) -> None:
        for field in fields:
            if field not in _DEFAULTS:
                near = nearest(field, _DEFAULTS)
                hint = f"did you mean {near}=?" if near else f"there are {', '.join(_DEFAULTS)}"
                raise UnknownOption(f"PodTemplate has no field {field}=; {hint}")
        values = {field: fields.get(field, default) for field, default in _DEFAULTS.items()}
        for field, default in _DEFAULTS.items():
            if isinstance(default, str) and (not isinstance(values[field], str) or "\0" in values[field]):
                _refuse(field, values[field], "text")
        values["env"] = tuple(_pair(item) for item in _items(values["env"]))
        _check_disk(values["containerDiskInGb"])
        _check_ports(values["ports"])
        self.__dict__.update(values)

    @property
    def exposed(self) -> tuple[str, ...]:
        """The ports, each as "8000/http"."""
        return tuple(port.strip() for port in self.ports.split(",") if port.strip())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{name} of a PodTemplate cannot be changed; make another one")

    def _key(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in _DEFAULTS if field not in _NO_EFFECT)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, PodTemplate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        said = [f"{field}={value!r}" for field, value in self.__dict__.items() if value != _DEFAULTS[field]]
        hidden = [f"env=<{len(self.env)} variables>" if part.startswith("env=") else part for part in said]
        return f"PodTemplate({', '.join(hidden)})"


def _refuse(field: str, given: Any, allowed: str) -> NoReturn:
    raise ConfigError(f"{field}= of a PodTemplate is {given!r:.80}; it must be {allowed}")


def _check_disk(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _DISK_LIMIT_GB:
        _refuse("containerDiskInGb", value, f"a whole number from 1 to {_DISK_LIMIT_GB} (GB)")


def _check_ports(text: str) -> None:
    for port in (part.strip() for part in text.split(",") if part.strip()):
        found = _PORT.fullmatch(port)
        if found is None or not 0 < int(found[1]) < 65536:
            _refuse("ports", text, "ports with their kind, such as '8000/http' or '8000/http,22/tcp'")


def _items(env: Any) -> Iterable[Any]:
    if isinstance(env, Mapping):
        return env.items()
    if env is None:
        return ()
    if not isinstance(env, list | tuple):
        _refuse("env", env, "a list of objects with 'key' and 'value', or a dict of names and values")
    return env


def _pair(item: Any) -> tuple[str, str]:
    if isinstance(item, Mapping) and set(item) == {"key", "value"}:
        key, value = item["key"], item["value"]
    elif isinstance(item, tuple) and len(item) == 2:
        key, value = item
    else:
        key, value = getattr(item, "key", None), getattr(item, "value", None)
    good = (
        isinstance(key, str) and key and isinstance(value, str) and not ({"=", "\0"} & set(key)) and "\0" not in value
    )
    if not good:
        raise ConfigError(
            f"env= of a PodTemplate has the variable {key!r:.80}; a variable is an object with 'key' and 'value', both "
            "text, the key without '='"
        )
    return key, value
