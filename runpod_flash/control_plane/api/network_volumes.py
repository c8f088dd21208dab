"""Runpod's REST API v2 as far as network volumes go: list, create, read, change and delete them."""

from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from runpod_flash.control_plane.api import volume_body
from runpod_flash.control_plane.api.access import Access, principal_of
from runpod_flash.control_plane.api.bodies import json_object
from runpod_flash.control_plane.api.volume_access import VolumeAccess, check_project
from runpod_flash.control_plane.principals import Need
from runpod_flash.control_plane.volumes import VolumeRecord, Volumes

BODY_LIMIT = 64 * 1024


class NetworkVolumesApi:
    """The routes below `/v2/network-volumes`.

    The header X-Flash-Project is the scope of names, as for endpoints. Everybody has volumes of their own and sees no
    others; the owner of the control plane reaches all by their ids.
    """

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self._access = VolumeAccess(volumes)

    def routes(self) -> list[BaseRoute]:
        """All routes of this face. They stand before those of the job API, whose `{endpoint}` would match too."""
        return [
            Route("/v2/network-volumes", self._collection, methods=["GET", "POST"]),
            Route("/v2/network-volumes/{id}", self._one, methods=["GET", "PATCH", "DELETE"]),
        ]

    async def _collection(self, request: Request) -> Response:
        principal, header = principal_of(request), request.headers.get("X-Flash-Project")
        project = None if header is None else unquote(header)
        if request.method == "POST":
            Access.check(principal, Need.MANAGE)
            check_project(principal, project or "")
            asked = volume_body.created(await json_object(request, BODY_LIMIT))
            made = await self._volumes.create(project or "", asked.name, asked.size, asked.dataCenter, principal.user)
            return JSONResponse(volume_object(made), status_code=201)
        records = self._volumes.list(project, principal.user)
        seen = [volume_object(record) for record in records if principal.sees_volumes_of(record.owner)]
        return JSONResponse({"networkVolumes": seen})

    async def _one(self, request: Request) -> Response:
        need = Need.READ if request.method in ("GET", "HEAD") else Need.MANAGE
        record = self._access.volume(request, need)
        if request.method == "DELETE":
            await self._volumes.delete(record.id)
            return Response(status_code=204)
        if request.method == "PATCH":
            change = volume_body.changed(await json_object(request, BODY_LIMIT))
            record = await self._volumes.change(record.id, name=change.name, size=change.size)
        return JSONResponse(volume_object(record))


def volume_object(record: VolumeRecord) -> dict[str, Any]:
    """A network volume as it is published."""
    return {
        "id": record.id,
        "name": record.name,
        "size": record.size,
        "dataCenter": record.datacenter,
        "type": "STANDARD",
    }
