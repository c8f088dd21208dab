"""`flash server add` and `flash server remove`: endpoints whose workers run a command, such as `python handler.py`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flash_cli import console, plane
from runpod_flash import hardware, settings
from runpod_flash.backends import daemon
from runpod_flash.errors import ConfigError, EndpointNotFound

PATH = "/v2/serverless"
_OF_THE_SHELL = ("PATH", "VIRTUAL_ENV")  # so that `python` is the one that the user means


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was said on the command line. `cpu` is a size like cpu3c-2-4; empty: a GPU where the machine has one."""

    name: str
    command: str
    directory: Path
    env: Sequence[str]
    workers: tuple[int, int]
    idle_timeout: int
    cpu: str
    load_balanced: bool
    timeout_ms: int


def add(wanted: Wanted, *, as_json: bool) -> None:
    """Make the endpoint, on the control plane of this user, which is started if it does not run; print its URLs.

    Raises:
        ConfigError: a variable is no NAME=VALUE, the folder or the size is not there.
        BackendError: there is an endpoint of this name, or the control plane refuses; the message says why.
    """
    chosen = settings.load()
    body = body_of(wanted, chosen.environ)
    asyncio.run(daemon.ensure(plane.state_folder(chosen), dict(chosen.environ)))
    made = plane.ask("POST", PATH, body)
    if as_json:
        console.data(made)
        return
    console.say(f"endpoint {made['id']} ({made['name']})")
    for name, url in made["requestUrls"].items():
        console.say(f"  {name}: {url}")


def remove(name: str) -> None:
    """Delete an endpoint, by its id or its name, with its jobs and workers.

    Raises:
        EndpointNotFound: there is none.
        ConfigError: several have this name.
    """
    listed = plane.ask("GET", PATH)["endpoints"]
    found = [each for each in listed if each["id"] == name] or [each for each in listed if each["name"] == name]
    if not found:
        raise EndpointNotFound(f"there is no endpoint {name!r}; `flash status` lists them")
    if len(found) > 1:
        ids = ", ".join(each["id"] for each in found)
        raise ConfigError(f"{len(found)} endpoints are called {name!r}; say which: {ids}")
    plane.ask("DELETE", f"{PATH}/{quote(found[0]['id'], safe='')}")
    console.say(f"endpoint {found[0]['id']} ({found[0]['name']}) is removed")


def body_of(wanted: Wanted, environ: Mapping[str, str]) -> dict[str, Any]:
    """The body of `POST /v2/serverless`. `environ`: the caller's variables. Raises ConfigError."""
    directory = wanted.directory.absolute()
    if not directory.is_dir():
        raise ConfigError(f"--directory is {directory}; there is no such folder")
    least, most = wanted.workers
    by_count = {"type": "REQUEST_COUNT", "requestCount": 4}
    return {
        "name": wanted.name,
        "type": "LOAD_BALANCER" if wanted.load_balanced else "QUEUE",
        "command": wanted.command,
        "directory": str(directory),
        "env": {name: environ[name] for name in _OF_THE_SHELL if environ.get(name)} | _variables(wanted.env),
        "workers": {"min": least, "max": most, "idleTimeout": wanted.idle_timeout},
        "scaling": by_count if wanted.load_balanced else {"type": "QUEUE_DELAY", "queueDelay": 0},
        "timeout": wanted.timeout_ms,
        **_hardware(wanted.cpu),
    }


def _variables(texts: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--env is {text!r}; it must be NAME=VALUE")
        found[name] = value
    return found


def _hardware(cpu: str) -> dict[str, Any]:
    if not cpu:
        return {"gpu": {"pools": [group.value for group in hardware.POOLS]}}
    sizes = {size.value: size for size in hardware.CpuInstanceType}
    if cpu not in sizes:
        raise ConfigError(f"--cpu is {cpu!r}; it must be one of {', '.join(sizes)}")
    return {"cpu": [{"id": sizes[cpu].flavor, "vcpuCount": sizes[cpu].vcpu}]}
