"""What is done with network volumes: made, filled, read, emptied. Each in two forms: blocking, and for event loops."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from runpod_flash.agreement import provision_volume
from runpod_flash.backends.base import VolumeStore
from runpod_flash.duals import dual
from runpod_flash.errors import ConfigError, PayloadTooLarge, VolumeFileNotFound, VolumeNotFound
from runpod_flash.session import Session
from runpod_flash.volumes import NetworkVolume, VolumeEntry

LocalPath = str | os.PathLike[str]

_SHOWN = 3  # paths that a message names


class VolumeCalls:
    """The methods of a `NetworkVolume`; what they do and raise is described there."""

    def __init__(self, volume: NetworkVolume, session: Session) -> None:
        self._volume, self._session = volume, session
        self._label = f"volume {volume.name or volume.id}"

    @dual
    async def provision(self) -> NetworkVolume:
        await self._provisioned()
        return self._volume

    @dual
    async def put(self, local: LocalPath, remote: str) -> None:
        source, target = Path(local), _remote(remote)
        whole = source.is_dir()
        files = list(_files_below(source)) if whole else [(source, None)]
        if not whole:
            _check_file(source)
            target = f"{target}/{source.name}" if _names_folder(remote) else target
        volume_id = await self._provisioned()
        store = await self._store()
        await self._check_room(store, volume_id, sum(path.stat().st_size for path, _ in files if not path.is_dir()))
        with self._session.output.waiting(self._label, f"putting {source.name}"):
            for path, below in files:
                place = target if below is None else f"{target}/{below}"
                if path.is_dir():
                    await store.make_folder(volume_id, place)
                else:
                    await store.write(volume_id, place, path)

    @dual
    async def get(self, remote: str, local: LocalPath) -> None:
        source, volume_id, store = _remote(remote), await self._id(), await self._store()
        target, left_out = Path(local), list[str]()
        with self._session.output.waiting(self._label, f"getting {source or '/'}"):
            kind, _ = await store.entries(volume_id, source or "/")
            if kind != "folder":
                inside = target.is_dir() or _names_folder(os.fspath(local))
                await _fetch(store, volume_id, source, target / PurePosixPath(source).name if inside else target)
                return
            folders = [(source, target)]
            while folders:
                below, here = folders.pop()
                _make_folder(here)
                for each in (await store.entries(volume_id, below or "/"))[1]:
                    path, place = f"{below}/{each['name']}", here / _local_name(str(each["name"]))
                    if each["kind"] == "folder":
                        folders.append((path, place))
                    elif each["kind"] == "other" or not await _fetched(store, volume_id, path, place, each["kind"]):
                        left_out.append(path)
        if left_out:
            more = f" and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
            said = f"not copied from {self._label}: {', '.join(left_out[:_SHOWN])}{more}"
            self._session.output.say(f"{said}; those are links that lead to no file of it, pipes, or have just gone")

    @dual
    async def list(self, path: str = "/") -> list[VolumeEntry]:
        place, volume_id, store = _remote(path), await self._id(), await self._store()
        kind, found = await store.entries(volume_id, place or "/")
        return [
            VolumeEntry(
                f"{place}/{each['name']}" if kind == "folder" else place,
                str(each["kind"]),
                int(each["size"]),
                float(each["modified"]),
            )
            for each in found
        ]

    @dual
    async def delete(self, path: str) -> None:
        await (await self._store()).delete(await self._id(), _remote(path))

    async def _provisioned(self) -> str:
        session = self._session
        if session.deployed is not None:  # where nothing is made but by a deploy
            return await self._id()
        return await provision_volume(await session.backend(), self._volume, session.output, session.volume_ids)

    async def _store(self) -> VolumeStore:
        return (await self._session.backend()).volumes

    async def _id(self) -> str:
        """The volume's id. Raises VolumeNotFound where it is not there: only what puts something there makes it."""
        volume, store = self._volume, await self._store()
        if volume.given_id is not None:
            return volume.given_id
        assert volume.name is not None
        assert volume.datacenter is not None
        if (deployed := self._session.deployed) is not None:
            return await deployed.volume_id(await self._session.backend(), volume)
        found = await store.find(volume.name, volume.datacenter.value)
        if found is None:
            raise VolumeNotFound(
                f"there is no network volume {volume.name!r} in {volume.datacenter.value}; it is made by put(), by "
                "provision(), or by the first call of an endpoint that has it"
            )
        self._session.volume_ids[volume] = str(found["id"])
        return str(found["id"])

    async def _check_room(self, store: VolumeStore, volume_id: str, size: int) -> None:
        use = await store.use(volume_id)
        room = max(int(use["size"]) - int(use["used"]), 0)
        if size > room:
            raise PayloadTooLarge(
                f"{self._label} has room for {room} bytes more, and {size} are to be put there; delete something in "
                f"it, or let it grow: PATCH /v2/network-volumes/{volume_id}"
            )


def _remote(path: str) -> str:
    """A path in the volume, beginning with one slash; "" for the volume itself. Raises ConfigError."""
    if not isinstance(path, str):
        raise ConfigError(f"remote= is {path!r:.80}; it must be the path of a file or folder in the volume, as text")
    mounted = "/runpod-volume"
    inside = path.removeprefix(mounted) if path == mounted or path.startswith(f"{mounted}/") else path
    parts = [part for part in inside.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f"remote= is {path!r:.80}; it must be a path in the volume, without '..'")
    return "".join(f"/{part}" for part in parts)


def _names_folder(path: str) -> bool:
    return path.endswith("/") or path in ("", ".")


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ConfigError(f"local= is {os.fspath(path)!r}, and there is no such file or folder here")
    if not path.is_file():
        raise ConfigError(f"{os.fspath(path)!r} is neither a file nor a folder, so it cannot be put into a volume")


def _files_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """The folders and files below a folder, with their paths there, a folder before what is in it."""
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        for name in folders:
            path = Path(place, name)
            if path.is_symlink():
                raise ConfigError(f"{os.fspath(path)!r} is a link to a folder; put that folder by itself")
            yield path, path.relative_to(folder).as_posix()
        for name in sorted(names):
            path = Path(place, name)
            _check_file(path)
            yield path, path.relative_to(folder).as_posix()


def _raise(error: OSError) -> None:
    raise ConfigError(f"{error.filename!r} cannot be read: {error.strerror}") from error


def _local_name(name: str) -> str:
    if "/" in name or name in ("", ".", ".."):
        raise ConfigError(f"the volume has a file that is called {name!r:.80}, which cannot be the name of one")
    return name


async def _fetched(store: VolumeStore, volume_id: str, path: str, target: Path, kind: object) -> bool:
    """Copy a file, or the file that a link leads to; False where it leads to none."""
    try:
        await _fetch(store, volume_id, path, target)
    except VolumeFileNotFound:
        return False
    except ConfigError:
        if kind == "link":
            return False
        raise
    return True


async def _fetch(store: VolumeStore, volume_id: str, path: str, target: Path) -> None:
    _make_folder(target.parent)
    with _replacing(target) as temporary:
        await store.read(volume_id, path, temporary)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A file beside another, which takes its place at a good end."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if isinstance(error, VolumeFileNotFound):
            raise
        raise ConfigError(f"local= {os.fspath(target)!r} cannot be written: {error.strerror or error}") from error


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder {os.fspath(path)!r} cannot be made: {error.strerror or error}") from error
