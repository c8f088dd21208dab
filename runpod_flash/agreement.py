"""What program and platform agree on: an endpoint as it is declared here is there, found, changed or made."""

import weakref
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from runpod_flash.backends.base import Backend, Json, VolumeStore
from runpod_flash.confighash import config_hash
from runpod_flash.errors import BackendError, ConfigError
from runpod_flash.output import Output
from runpod_flash.spec import DEFAULT_IDLE_TIMEOUT_S, OPTIONAL, EndpointSpec, to_body
from runpod_flash.volumes import NetworkVolume

VolumeIds: TypeAlias = MutableMapping[NetworkVolume, str]
"""Which ids network volumes have on a platform."""


@dataclass(frozen=True, slots=True)
class _Declaration:
    """Who declared an endpoint of this program: a function or class, by its name and itself."""

    spec: EndpointSpec
    place: tuple[str, str]
    target: "weakref.ref[Any]"


class Declarations:
    """The endpoints that this program has declared and used, by name."""

    def __init__(self) -> None:
        self._known: dict[str, _Declaration] = {}

    def add(self, spec: EndpointSpec, target: Callable[..., Any]) -> None:
        """Remember that `target` declares a name; the same function declared again replaces itself.

        Raises:
            ConfigError: another one has declared it with other options.
        """
        place = target.__module__, target.__qualname__
        known = self._known.get(spec.name)
        if known is not None and known.spec != spec and known.place != place and known.target() is not None:
            raise ConfigError(
                f"endpoint '{spec.name}' is declared twice with different options, by {'.'.join(known.place)} and "
                f"{'.'.join(place)}; give one of them another name="
            )
        self._known[spec.name] = _Declaration(spec, place, weakref.ref(target))


@dataclass(frozen=True, slots=True)
class Provisioned:
    """An endpoint as the platform has it. `url`: where its requests go; "" where the platform does not say.

    `version` grows with each change of what a load-balanced endpoint's workers serve; 0: it was not told.
    """

    id: str
    url: str
    version: int = 0

    @classmethod
    def of(cls, described: Json) -> "Provisioned":
        """Read the platform's description."""
        urls = described.get("requestUrls") or {}
        version = int(described.get("endpointVersion") or 0)
        return cls(str(described["id"]), str(urls.get("base") or urls.get("run", "")).removesuffix("/run"), version)


async def provision_volume(backend: Backend, volume: NetworkVolume, output: Output, known: VolumeIds) -> str:
    """Bring a network volume to the platform, unless it is there; its id, which `known` gets as well.

    Raises:
        VolumeNotFound, BackendError: as named.
    """
    known[volume] = await bring_volume(backend.volumes, volume, output)
    return known[volume]


async def bring_volume(volumes: VolumeStore, volume: NetworkVolume, output: Output) -> str:
    """Find a network volume among those of a scope, or make it there; its id. Raises as `provision_volume`."""
    if volume.given_id is not None:
        return str((await volumes.get(volume.given_id))["id"])
    assert volume.name is not None
    assert volume.datacenter is not None
    found = await volumes.find(volume.name, volume.datacenter.value)
    if found is None:
        try:
            return str((await volumes.create(volume.name, volume.size, volume.datacenter.value))["id"])
        except BackendError:
            found = await volumes.find(volume.name, volume.datacenter.value)  # another one was quicker
            if found is None:
                raise
    if int(found.get("size", volume.size)) != volume.size:
        kept = f"network volume '{volume.name}' has {found['size']} GB already and keeps them"
        output.notice({"key": f"volume {found['id']}", "message": f"{kept}; size={volume.size} changes nothing"})
    return str(found["id"])


async def provision(
    backend: Backend,
    spec: EndpointSpec,
    output: Output,
    known: VolumeIds | None = None,
    artifact: str | None = None,
) -> Provisioned:
    """Bring the endpoint to the platform as it is declared, and before it its volumes, whose ids `known` gets.

    `artifact`: the id of the routes that it serves.

    Raises:
        VolumeNotFound, BackendError, ConfigError: as named.
    """
    ids = {} if known is None else known
    volume_ids = [await provision_volume(backend, volume, output, ids) for volume in spec.volume]
    body = to_body(spec, default_queue_delay=backend.default_queue_delay, volume_ids=volume_ids, artifact=artifact)
    if "idleTimeout" not in body["workers"] and spec.idle_timeout != DEFAULT_IDLE_TIMEOUT_S:
        without = "has none for queues that scale by REQUEST_COUNT: the platform's own holds"
        message = f"idle_timeout={spec.idle_timeout} of endpoint '{spec.name}' is not sent; the API {without}"
        output.notice({"key": f"idle-timeout {spec.name}", "message": message})
    found = await backend.find(spec.name)
    if found is None:
        try:
            return Provisioned.of(await backend.create(body))
        except BackendError:
            found = await backend.find(spec.name)  # another program may have been quicker
            if found is None:
                raise
    if (kept := _kept(found, body)) is not None:
        output.say(f"endpoint '{spec.name}' changes {kept}, so it is made anew")
        await backend.delete(str(found["id"]))
        return Provisioned.of(await backend.create(body))
    if config_hash(found) != config_hash(body) or dict(found.get("env") or {}) != body["env"]:
        change = {key: value for key, value in body.items() if key != "type"}  # which no endpoint can change
        change |= {key: None for key in OPTIONAL if key in found and key not in body}
        found = await backend.update(str(found["id"]), change)
    return Provisioned.of(found)


def _kept(found: Json, body: Json) -> str | None:
    """What no endpoint can change, and this one would have to; None where that is nothing."""
    if bool(found.get("cpu")) != ("cpu" in body):
        return "between gpu= and cpu="
    if str(found.get("type", "QUEUE")) != body["type"]:
        return "between jobs and HTTP requests"
    return None
