"""The endpoints of a build as a platform shall have them: with its default scaling, and its ids of network volumes."""

import asyncio
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flash_cli.builds.manifest import BuildManifest
from runpod_flash.agreement import VolumeIds, bring_volume
from runpod_flash.backends.base import Backend, VolumeStore
from runpod_flash.errors import ConfigError
from runpod_flash.output import Output
from runpod_flash.volumes import NetworkVolume
from worker_runtime.wire import paths


@dataclass(frozen=True, slots=True)
class Whole:
    """A manifest whose bodies are complete. `new_volumes`: the names of those that are still to be made."""

    manifest: BuildManifest
    new_volumes: tuple[str, ...] = ()


async def whole(
    manifest: BuildManifest,
    artifacts: Mapping[str, Path],
    backend: Backend,
    output: Output,
    *,
    make: bool,
    volumes: VolumeStore | None = None,
) -> Whole:
    """Fill in what only the platform knows, and which files each artifact has.

    Args:
        artifacts: the file of each artifact, by its id.
        make: whether volumes that are not there are made; else they have a name of ours in place of an id.
        volumes: among which they are; None: those of the project.

    Raises:
        VolumeNotFound, BackendError: as named.
        ConfigError: a volume of the manifest cannot be.
    """
    known: VolumeIds = {}
    missing: list[str] = []
    store = backend.volumes if volumes is None else volumes
    endpoints = []
    for endpoint in manifest.endpoints:
        ids = [await _volume_id(_volume(each), store, output, known, missing, make=make) for each in endpoint.volumes]
        files = await asyncio.to_thread(_files, artifacts.get(endpoint.artifact or ""))
        body = {**_scaled(endpoint.body, backend.default_queue_delay), "networkVolumes": ids}
        endpoints.append(replace(endpoint, body=body, files=files))
    return Whole(replace(manifest, endpoints=tuple(endpoints)), tuple(dict.fromkeys(missing)))


def deployed(stage: Mapping[str, Any]) -> BuildManifest | None:
    """The manifest of a stage's active version, as it was deployed.

    None before the first, and where another version of this program, or another one, has deployed it.
    """
    try:
        return BuildManifest.from_json(stage.get("manifest") or {})
    except ConfigError:
        return None


def _scaled(body: Mapping[str, Any], default_queue_delay: float) -> dict[str, Any]:
    if "scaling" in body:
        return dict(body)
    return {**body, "scaling": {"type": "QUEUE_DELAY", "queueDelay": default_queue_delay}}


def _volume(said: Mapping[str, Any]) -> NetworkVolume:
    if said.get("id") is not None:
        return NetworkVolume(id=str(said["id"]))
    try:
        return NetworkVolume(said["name"], size=said["size"], datacenter=said["dataCenter"])
    except KeyError as error:
        raise ConfigError(f"a network volume of the manifest has no {error}; build the project anew") from None


async def _volume_id(
    volume: NetworkVolume, store: VolumeStore, output: Output, known: VolumeIds, missing: list[str], *, make: bool
) -> str:
    if volume in known:
        return known[volume]
    if make or volume.given_id is not None:
        known[volume] = await bring_volume(store, volume, output)
        return known[volume]
    assert volume.name is not None
    assert volume.datacenter is not None
    found = await store.find(volume.name, volume.datacenter.value)
    if found is None:
        missing.append(volume.name)
    known[volume] = f"new: {volume.name}" if found is None else str(found["id"])
    return known[volume]


def _files(artifact: Path | None) -> dict[str, str]:
    """The sha256 of each file in an artifact, by its path."""
    if artifact is None:
        return {}
    try:
        with zipfile.ZipFile(artifact) as archive:
            return dict(json.loads(archive.read(paths.MANIFEST)).get("files") or {})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(f"the artifact {artifact} cannot be read ({error}); build the project anew") from error
