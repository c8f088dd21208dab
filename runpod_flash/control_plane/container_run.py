"""How a container of an image is started: the command line that a worker holds, and what its parent does at the end."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runpod_flash.control_plane.containers import Engine, container_name
from runpod_flash.control_plane.inventory import Grant
from runpod_flash.control_plane.records import EndpointRecord

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PORT = re.compile(r"\$(?:PORT\b|\{PORT\})")
# What the engine's program itself, or the shell before it, would take for its own.
_OF_PROGRAMS = re.compile(
    r"PATH|HOME|TMPDIR|IFS|ENV|PWD|LD_.*|XDG_.*|CONTAINERS_.*|CONTAINER_HOST|GO(?:DEBUG|GC|MAXPROCS|MEMLIMIT|TRACEBACK)"
    r"|DOCKER_(?:HOST|CONTEXT|CONFIG|TLS.*|CERT_PATH|API_VERSION|CONTENT_.*|DEFAULT_PLATFORM|CLI_.*)|(?i:.*_proxy)"
)


@dataclass(frozen=True, slots=True)
class ContainerRun:
    """A shell command line with its environment, and the program that removes the container."""

    command: str
    env: Mapping[str, str]
    farewell: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What a container has of the machine: devices, cores (empty: all), memory (0: no limit), a network volume."""

    grant: Grant
    cpus: Sequence[int] = ()
    memory_mb: int = 0
    volume: str | None = None  # the folder that it sees at /runpod-volume


def container_run(
    engine: Engine, worker: str, endpoint: EndpointRecord, env: Mapping[str, str], share: Share
) -> ContainerRun:
    """How a worker runs the endpoint's image.

    The container shares the machine's network: it reaches the control plane at its address, and a load-balanced one
    answers at its port. Variables go by their names, so that no secret is in a command line.
    """
    assert endpoint.image is not None
    name = container_name(worker)
    named = [key for key in env if _PLAIN.fullmatch(key) and not _OF_PROGRAMS.fullmatch(key)]
    words = [*engine.words, "run", "--rm", "--init", "--name", name, "--label", engine.label, "--network", "host"]
    words += ["--cap-drop", "NET_RAW"]  # on the machine's network it would hear the keys of others
    for key, value in env.items():
        words += ["--env", key if key in named else f"{key}={value}"]
    if share.cpus:
        words += ["--cpuset-cpus", ",".join(map(str, share.cpus))]
    if share.memory_mb:
        words += ["--memory", f"{share.memory_mb}m"]
    if share.volume is not None:
        words += ["--volume", f"{share.volume}:/runpod-volume"]
    words += [*_devices(engine, share.grant), *_started(endpoint, env)]
    return ContainerRun(
        command=f"exec {shlex.join(words)}",
        env={**engine.env, **{key: env[key] for key in named}},
        farewell=(*engine.words, "rm", "--force", name),
    )


def _devices(engine: Engine, grant: Grant) -> list[str]:
    if not grant.gpus:
        return []
    if engine.is_podman:
        return [word for gpu in grant.gpus for word in ("--device", f"nvidia.com/gpu={gpu.index}")]
    return ["--gpus", f'"device={grant.visible_devices}"']  # quoted for the engine, to which a comma ends a value


def _started(endpoint: EndpointRecord, env: Mapping[str, str]) -> list[str]:
    """The image and what it is given: its arguments, after a script where that takes the place of its entry point."""
    assert endpoint.image is not None
    text = str(endpoint.body.get("args") or "")
    arguments = shlex.split(_PORT.sub(env.get("PORT", "$PORT"), text))
    script = endpoint.body.get("startScript")
    if script is None:
        return [endpoint.image, *arguments]
    return ["--entrypoint", "/bin/sh", endpoint.image, "-c", str(script), "sh", *arguments]
