"""The endpoints: in memory for those who ask, in the store for the next start."""

import asyncio
import secrets
import string
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from runpod_flash.confighash import config_hash
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.store import Store
from runpod_flash.errors import EndpointNotFound, NameTaken

ROLLING_FIELDS: Final = (
    "image",
    "command",
    "directory",
    "artifact",
    "args",
    "startScript",
    "disk",
    "registry",
    "env",
    "gpu",
    "cpu",
    "dataCenterIds",
    "networkVolumes",
    "flashboot",
)
"""The fields of a body whose change needs new workers; all others change in place."""

RESERVED: Final = frozenset(
    {
        "serverless", "templates", "network-volumes", "registries", "pods", "clusters", "catalog", "billing", "account",
        "openapi.json", "flash",
    }
)  # fmt: skip
"""What follows `/v2/` and is no endpoint."""

_ID_LENGTH = 14


def rolls(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether an endpoint whose body changes so needs new workers."""
    return any(new.get(field) != old.get(field) for field in ROLLING_FIELDS)


class Catalog:
    """All endpoints. Changes are made one after the other and are told after their commit.

    Attributes:
        on_change: called with each new or changed endpoint, and whether it needs new workers.
        on_delete: called with the id of each endpoint that is gone.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._endpoints = {record.id: record for record in store.endpoints()}
        self._changing = asyncio.Lock()
        self.on_change: Callable[[EndpointRecord, bool], None] = lambda record, rolled: None
        self.on_delete: Callable[[str], None] = lambda endpoint_id: None

    def get(self, endpoint_id: str) -> EndpointRecord:
        """The endpoint. Raises EndpointNotFound."""
        try:
            return self._endpoints[endpoint_id]
        except KeyError:
            raise EndpointNotFound(f"there is no endpoint {endpoint_id!r:.80}; it may have been deleted") from None

    def owner(self, endpoint_id: str) -> str | None:
        """The user whose endpoint it is, None where there is none."""
        record = self._endpoints.get(endpoint_id)
        return None if record is None else record.owner

    def list(self, project: str | None = None, owner: str | None = None) -> "list[EndpointRecord]":
        """The endpoints of a project and of a user, of all projects and of everybody without; the oldest first."""
        return [
            record
            for record in self._endpoints.values()
            if project in (None, record.project) and owner in (None, record.owner)
        ]

    def find(self, project: str, name: str, owner: str = OWNER) -> EndpointRecord | None:
        """The user's endpoint of this name."""
        return next((record for record in self.list(project, owner) if record.name == name), None)

    def content(self) -> set[str]:
        """The ids of the artifacts that endpoints name."""
        return {record.artifact for record in self._endpoints.values() if record.artifact is not None}

    def users_of_volume(self, volume_id: str) -> Sequence[str]:
        """The names of the endpoints whose workers see this network volume."""
        return [record.name for record in self.list() if volume_id in (record.body.get("networkVolumes") or ())]

    async def create(self, project: str, body: Mapping[str, Any], owner: str = OWNER) -> EndpointRecord:
        """Make a user's endpoint from a checked body.

        Raises:
            NameTaken, StoreError: as named; nothing was made.
        """
        async with self._changing:
            self._check_name(project, body["name"], owner)
            record = EndpointRecord(
                id=self._new_id(),
                project=project,
                name=body["name"],
                body=body,
                config_hash=config_hash(body),
                generation=1,
                created_at=time.time(),
                owner=owner,
            )
            await self._store.save_endpoint(record)
            self._endpoints[record.id] = record
        self.on_change(record, False)
        return record

    async def adopt(self, record: EndpointRecord) -> None:
        """Take an endpoint as it was elsewhere, before this platform is used. Raises NameTaken, StoreError."""
        async with self._changing:
            self._check_name(record.project, record.name, record.owner)
            await self._store.save_endpoint(record)
            self._endpoints[record.id] = record

    async def update(
        self, endpoint_id: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> EndpointRecord:
        """Replace an endpoint's body by what `change` makes of it. What `change` raises leaves everything as it was.

        Raises:
            EndpointNotFound, NameTaken, StoreError: as named; nothing was changed.
        """
        async with self._changing:
            old = self.get(endpoint_id)
            body = change(old.body)
            if body == old.body:
                return old
            if body["name"] != old.name:
                self._check_name(old.project, body["name"], old.owner)
            rolled = rolls(old.body, body)
            record = replace(
                old,
                name=body["name"],
                body=body,
                config_hash=config_hash(body),
                generation=old.generation + rolled,
            )
            await self._store.save_endpoint(record)
            self._endpoints[record.id] = record
        self.on_change(record, rolled)
        return record

    async def delete(self, endpoint_id: str) -> None:
        """Forget an endpoint and its finished jobs. Raises EndpointNotFound, StoreError."""
        async with self._changing:
            self.get(endpoint_id)
            await self._store.delete_endpoint(endpoint_id)
            del self._endpoints[endpoint_id]
        self.on_delete(endpoint_id)

    def _check_name(self, project: str, name: str, owner: str) -> None:
        if (taken := self.find(project, name, owner)) is not None:
            raise NameTaken(
                f"there is an endpoint {name!r} already, with id {taken.id}; change that one or take another name"
            )

    def _new_id(self) -> str:
        letters = string.ascii_lowercase + string.digits
        while True:
            found = "".join(secrets.choice(letters) for _ in range(_ID_LENGTH))
            if found not in self._endpoints and found not in RESERVED:
                return found
