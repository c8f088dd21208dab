"""Network volumes: folders that workers see at /runpod-volume. They outlive workers, endpoints and versions.

    <root>/<id>/volume.json      what it is called, whose it is, how large it may be
    <root>/<id>/files/           what workers see
    <root>/<id>/incoming/        what is still being written by `put`
    <root>/lock                  held by whoever makes, changes, deletes or attaches one

All control planes of a home share them, so they are read anew each time.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import string
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.store import StoreError, disk_error
from runpod_flash.errors import BackendError, ConfigError, VolumeNotFound
from runpod_flash.state_folder import write_private
from worker_runtime.commands import file_lock

logger = logging.getLogger(__name__)

SIZES_GB: Final = (10, 4096)
"""The smallest and the largest size."""

LOCK_S = 5.0
"""Seconds for which others may hold the lock."""

_ID_LENGTH = 10
_DELETED = ".deleted-"
_NEW = ".new-"


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A network volume. `size` is in GB; `datacenter` is where it is said to be: workers see that of their own."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    id: Annotated[str, Field(pattern=r"^[a-z0-9]{10}$")]
    owner: str  # the user whose it is; "" is whoever runs the control plane
    project: str  # scope of the name; "" where names are global
    name: str
    size: Annotated[int, Field(ge=0)]
    datacenter: str
    created_at: float  # seconds since the epoch


_RECORD: Final = TypeAdapter(VolumeRecord)


class VolumeTaken(BackendError):
    """The user's project has a volume of this name in this data center already, or the volume is in use."""


class Volumes:
    """All network volumes below one folder.

    Attributes:
        users: gives the names of the endpoints that use a volume.
        datacenter: where this machine is said to be; "": nowhere, so that workers see the first volume that is listed.
    """

    def __init__(self, root: Path, datacenter: str = "") -> None:
        self._root = root
        self.datacenter = datacenter
        self.users: Callable[[str], Sequence[str]] = lambda volume_id: ()

    def list(self, project: str | None = None, owner: str | None = None) -> "list[VolumeRecord]":
        """The volumes of a project and of a user, of all projects and of everybody without; the oldest first."""
        found = [
            record for record in self._all() if project in (None, record.project) and owner in (None, record.owner)
        ]
        return sorted(found, key=lambda record: (record.created_at, record.id))

    def get(self, volume_id: str) -> VolumeRecord:
        """The volume. Raises VolumeNotFound, StoreError: its record cannot be read."""
        record = self._read(volume_id) if _is_id(volume_id) else None
        if record is None:
            raise absent(volume_id)
        return record

    def files(self, volume_id: str) -> Path:
        """The folder that workers see."""
        return self._root / volume_id / "files"

    def incoming(self, volume_id: str) -> Path:
        """The folder for what is still being written, on the same file system."""
        return self._root / volume_id / "incoming"

    async def create(self, project: str, name: str, size: int, datacenter: str, owner: str = OWNER) -> VolumeRecord:
        """Make an empty volume. Raises VolumeTaken, StoreError, StoreFull: nothing was made."""
        async with self.changing():
            self._check_name(project, name, datacenter, owner)
            letters = string.ascii_lowercase + string.digits
            volume_id = "".join(secrets.choice(letters) for _ in range(_ID_LENGTH))
            record = VolumeRecord(volume_id, owner, project, name, size, datacenter, time.time())
            try:
                self._make(record)
            except OSError as error:
                raise disk_error(error, f"folder {self._root}") from error
            return record

    async def change(self, volume_id: str, *, name: str | None = None, size: int | None = None) -> VolumeRecord:
        """Rename or enlarge a volume.

        Raises:
            ConfigError: it would become smaller.
            VolumeNotFound, VolumeTaken, StoreError, StoreFull: as named; nothing was changed.
        """
        async with self.changing():
            old = self.get(volume_id)
            if name is not None and name != old.name:
                self._check_name(old.project, name, old.datacenter, old.owner)
            if size is not None and size < old.size:
                raise ConfigError(
                    f"size is {size} GB and volume {old.name!r} has {old.size} GB; a volume only grows, so ask for "
                    f"{old.size} GB or more, or make another one"
                )
            record = replace(old, name=old.name if name is None else name, size=old.size if size is None else size)
            try:
                write_private(self._root / volume_id / "volume.json", _RECORD.dump_json(record), durable=True)
            except OSError as error:
                raise disk_error(error, f"folder {self._root / volume_id}") from error
            return record

    async def delete(self, volume_id: str) -> None:
        """Delete a volume with all that is in it.

        Raises:
            VolumeTaken: endpoints use it.
            VolumeNotFound, StoreError: as named.
        """
        gone = self._root / f"{_DELETED}{volume_id}"
        async with self.changing():
            record = self.get(volume_id)
            if users := self.users(volume_id):
                raise VolumeTaken(
                    f"volume {record.name!r} ({volume_id}) is used by {_listed(users)}; delete what uses it, or take "
                    "the volume from it, first"
                )
            try:
                (self._root / volume_id).rename(gone)
            except OSError as error:
                raise disk_error(error, f"folder {self._root / volume_id}") from error
        await asyncio.to_thread(shutil.rmtree, gone, True)

    def sweep(self) -> None:
        """Remove what a killed control plane has left half made or half deleted. Takes its time."""
        for path in (*self._root.glob(f"{_DELETED}*"), *self._root.glob(f"{_NEW}*"), *self._root.glob("*/incoming/*")):
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Nobody else makes, changes, deletes or attaches a volume meanwhile. Raises StoreError: not to be had."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            async with asyncio.timeout(LOCK_S) as waiting, file_lock(self._root / "lock"):
                waiting.reschedule(None)
                yield
        except TimeoutError:
            raise StoreError(
                f"network volumes in {self._root} are held by another process for {LOCK_S:.0f} s; try again"
            ) from None
        except OSError as error:
            raise disk_error(error, f"folder {self._root}") from error

    def of_worker(self, endpoint: EndpointRecord) -> VolumeRecord | None:
        """The volume that workers of an endpoint see here: that of this data center, else the first that is listed.

        Raises:
            VolumeNotFound: it has been deleted.
        """
        ids = endpoint.body.get("networkVolumes") or []
        records = [self.get(volume_id) for volume_id in ids]
        return next((record for record in records if record.datacenter == self.datacenter), next(iter(records), None))

    def _check_name(self, project: str, name: str, datacenter: str, owner: str) -> None:
        for record in self.list(project, owner):
            if (record.name, record.datacenter) == (name, datacenter):
                raise VolumeTaken(
                    f"there is a network volume {name!r} in {datacenter} already, with id {record.id}; use that one "
                    "or take another name"
                )

    def _make(self, record: VolumeRecord) -> None:
        folder = self._root / f"{_NEW}{record.id}"
        for path in (folder, folder / "files", folder / "incoming"):
            path.mkdir(mode=0o700)
        write_private(folder / "volume.json", _RECORD.dump_json(record), durable=True)
        folder.rename(self._root / record.id)

    def _all(self) -> Iterable[VolumeRecord]:
        names = os.listdir(self._root) if self._root.is_dir() else []
        for name in filter(_is_id, names):
            try:
                record = self._read(name)
            except StoreError as error:
                logger.warning("%s", error)
                continue
            if record is not None:
                yield record

    def _read(self, volume_id: str) -> VolumeRecord | None:
        path = self._root / volume_id / "volume.json"
        try:
            record = _RECORD.validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise disk_error(error, f"file {path}") from error
        except ValidationError as error:
            first: Any = error.errors(include_url=False, include_input=False)[0]
            raise StoreError(
                f"the record of a network volume {path} is damaged ({first['msg']}); put an earlier copy back: the "
                f"files are in {path.parent / 'files'}"
            ) from None
        return record if record.id == volume_id else None


_ABANDONED_S: Final = 24 * 3600.0


def absent(volume_id: str) -> VolumeNotFound:
    """The error for a volume that is not there, or not for the one who asks."""
    return VolumeNotFound(f"there is no network volume {volume_id!r:.80}; it may have been deleted")


def _is_id(text: str) -> bool:
    return len(text) == _ID_LENGTH and text.isascii() and text.isalnum() and text == text.lower()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"endpoint {name!r}" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
