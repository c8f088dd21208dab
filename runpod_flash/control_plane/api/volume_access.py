"""Which network volumes there are for the one who asks, and which of them an endpoint may have."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import HTTPConnection

from runpod_flash.control_plane.api.access import Access, principal_of
from runpod_flash.control_plane.principals import Need, Principal
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.volumes import VolumeRecord, Volumes, absent
from runpod_flash.errors import VolumeNotFound


class VolumeAccess:
    """Finds network volumes for those who may have them."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def volume(self, connection: HTTPConnection, need: Need) -> VolumeRecord:
        """The volume that the path names.

        Raises:
            VolumeNotFound: there is none, or it is somebody else's: the two cannot be told apart.
            Problem: 403, the key is not for this, or a worker's and the volume is of another project.
        """
        asked = connection.path_params["id"]
        record, principal = self._volumes.get(asked), principal_of(connection)
        if not principal.sees_volumes_of(record.owner):
            raise absent(asked)
        Access.check(principal, need)
        if need is Need.MANAGE:
            check_project(principal, record.project)
        return record

    @contextlib.asynccontextmanager
    async def attaching(self, body: Mapping[str, Any]) -> AsyncIterator[None]:
        """While an endpoint is made or changed by this body: none of its volumes goes away meanwhile."""
        if body.get("networkVolumes"):
            async with self._volumes.changing():
                yield
        else:
            yield

    def check_attached(self, body: Mapping[str, Any], owner: str, principal: Principal) -> None:
        """Raise Problem (422) where an endpoint of this user cannot have the volumes that its checked body names."""
        centers, faults = dict[str, str](), list[str]()
        for number, volume_id in enumerate(body["networkVolumes"]):
            fault = self._fault(volume_id, owner, principal, centers, body["dataCenterIds"])
            if fault:
                faults.append(f"$.networkVolumes[{number}]: {fault}")
        if faults:
            raise Problem(422, "; ".join(faults), code="ConfigError", errors=faults)

    def _fault(
        self, volume_id: str, owner: str, principal: Principal, centers: dict[str, str], allowed: list[str]
    ) -> str:
        try:
            record = self._volumes.get(volume_id)
        except VolumeNotFound as error:
            return str(error)
        if record.owner != owner or principal.project not in (None, record.project):
            return str(absent(volume_id))
        if record.datacenter in centers:
            return (
                f"volume {record.name!r} is in {record.datacenter}, as {centers[record.datacenter]!r} is; an endpoint "
                "has one volume in each data center"
            )
        centers[record.datacenter] = record.name
        if allowed and record.datacenter not in allowed:
            return f"volume {record.name!r} is in {record.datacenter}, and the endpoint in {', '.join(allowed)} only"
        return ""


def check_project(principal: Principal, project: str) -> None:
    """Raise Problem (403) where a worker's code wants to make or change a volume of another project."""
    if principal.project not in (None, project):
        raise Problem(
            403, "the key of a worker makes and changes network volumes of its own project only", code="AuthError"
        )
