"""How apps, stages and versions look from outside. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any

from runpod_flash.control_plane.app_changes import Change
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.stage_table import AppRecord, StageRecord, VersionRecord
from runpod_flash.control_plane.views import iso_time, requests_url


def app_object(app: AppRecord, stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An app with its stages."""
    return {"name": app.name, "createdAt": iso_time(app.created_at), "owner": app.owner, "stages": list(stages)}


def stage_object(stage: StageRecord, endpoints: Sequence[EndpointRecord], base_url: str) -> dict[str, Any]:
    """A stage with its endpoints. `base_url` is where the client reaches this server."""
    return {
        "app": stage.app,
        "name": stage.name,
        "version": stage.version,
        "createdAt": iso_time(stage.created_at),
        "deployedAt": _time_or_none(stage.deployed_at),
        "expiresAt": _time_or_none(stage.expires_at),
        "label": stage.label,
        "owner": stage.owner,
        "endpoints": [_endpoint(endpoint, base_url) for endpoint in endpoints],
    }


def version_object(version: VersionRecord) -> dict[str, Any]:
    """A version in the list of a stage's."""
    return {
        "number": version.number,
        "createdAt": iso_time(version.created_at),
        "fingerprint": version.fingerprint,
        "state": str(version.state),
    }


def change_object(change: Change) -> dict[str, Any]:
    """What a deploy has done with an endpoint."""
    return {"endpoint": change.endpoint, "id": change.id, "change": str(change.kind)}


def _endpoint(endpoint: EndpointRecord, base_url: str) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "name": endpoint.name,
        "type": str(endpoint.body["type"]),
        "url": requests_url(endpoint.id, base_url, balanced=endpoint.is_load_balanced),
        "artifact": endpoint.artifact,
        "generation": endpoint.generation,
    }


def _time_or_none(seconds: float | None) -> str | None:
    return None if seconds is None else iso_time(seconds)
