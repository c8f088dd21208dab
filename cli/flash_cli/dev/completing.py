"""Adds to a build what only the target knows: its default scaling, its ids of network volumes."""

from dataclasses import replace

from flash_cli.manifest import BuildManifest, BuiltEndpoint
from runpod_flash.agreement import VolumeIds, provision_volume
from runpod_flash.backends.base import Backend
from runpod_flash.output import Output
from runpod_flash.volumes import NetworkVolume


async def completed(manifest: BuildManifest, backend: Backend, output: Output) -> BuildManifest:
    """The manifest with whole bodies; volumes that are not there are made. Raises VolumeNotFound, BackendError."""
    known: VolumeIds = {}
    endpoints = [await _completed(endpoint, backend, output, known) for endpoint in manifest.endpoints]
    return replace(manifest, endpoints=tuple(endpoints))


async def _completed(endpoint: BuiltEndpoint, backend: Backend, output: Output, known: VolumeIds) -> BuiltEndpoint:
    ids = []
    for said in endpoint.volumes:
        if said.get("id") is not None:
            volume = NetworkVolume(id=str(said["id"]))
        else:
            volume = NetworkVolume(said["name"], size=said["size"], datacenter=said["dataCenter"])
        ids.append(known.get(volume) or await provision_volume(backend, volume, output, known))
    default = {"type": "QUEUE_DELAY", "queueDelay": backend.default_queue_delay}
    body = {"scaling": default, **endpoint.body, "networkVolumes": ids}
    return replace(endpoint, body=body)
