"""What is in network volumes: listed, read, put in place as a whole, deleted; and how much of a volume is used."""

import asyncio
import contextlib
import os
import shutil
import stat
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Final

from runpod_flash.control_plane.blobs import gathered, new_file, on_disk, write_all
from runpod_flash.control_plane.store import disk_error
from runpod_flash.control_plane.volume_paths import Place, found, parts_of
from runpod_flash.control_plane.volumes import VolumeRecord, Volumes
from runpod_flash.errors import ConfigError, PayloadTooLarge, VolumeFileNotFound

GB: Final = 1024**3

LIST_LIMIT: Final = 10_000
"""The most entries of a folder that are listed at once."""

_PIECE: Final = 1024**2
_FRESH_S: Final = 30.0  # how long a count of what is used holds
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # of a pipe that nobody writes, nothing
_MODE: Final = 0o644


@dataclass(frozen=True, slots=True)
class Entry:
    """What is in a folder. `kind`: file, folder, link or other; `size` in bytes; `modified`: seconds since 1970."""

    name: str
    kind: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Listing:
    """What a path leads to: its `kind`, a folder's entries by name or that of a file, and whether there are more."""

    kind: str
    entries: Sequence[Entry]
    more: bool = False


class VolumeFiles:
    """The files of network volumes. Paths are those of `volume_paths`.

    Attributes:
        volumes: the volumes themselves.
        admit: raises StoreFull where nothing new can be taken from clients.
    """

    def __init__(self, volumes: Volumes) -> None:
        self.volumes = volumes
        self._counts: dict[str, tuple[float, int]] = {}
        self.admit: Callable[[], object] = lambda: None

    async def used(self, volume: VolumeRecord) -> int:
        """Bytes of a volume's files, counted in the last half minute, with what was put since. Raises StoreError."""
        counted, size = self._counts.get(volume.id, (0.0, 0))
        if time.monotonic() - counted > _FRESH_S or not counted:
            size = await on_disk(self._said(volume), _size_below, self.volumes.files(volume.id))
            self._counts[volume.id] = time.monotonic(), size
        return size

    async def entries(self, volume: VolumeRecord, path: str, after: str = "") -> "Listing":
        """What is in a folder, by name, from the first name after `after` on; of a file, itself.

        Raises VolumeFileNotFound, ConfigError, StoreError.
        """
        found: Listing = await self._do(volume, path, lambda place: _entries(place, after), follow=True)
        return found

    async def read(self, volume: VolumeRecord, path: str) -> tuple[int, AsyncIterator[bytes]]:
        """The size of a file and its bytes. Raises as `entries` does, and ConfigError where it is no file."""
        file = await self._do(volume, path, _opened, follow=True)
        return os.fstat(file.fileno()).st_size, _bytes_of(file)

    async def put(self, volume: VolumeRecord, path: str, stream: AsyncIterable[bytes], announced: int | None) -> int:
        """Put a file in place, with the folders above it, when all of it has come; returns its size in bytes.

        One that was there is replaced; whoever reads it meanwhile reads the old one. `announced`: bytes that will come.

        Raises:
            PayloadTooLarge: the volume would be larger than its size.
            ConfigError: a folder is there, or the path leads out of the volume or to nowhere.
            StoreFull, StoreError: as named.
        """
        self.admit()
        if not parts_of(path):
            raise ConfigError("path is that of the whole volume; name a file in it, such as 'models/a.bin'")
        room = volume.size * GB - await self.used(volume)
        if (announced or 0) > room:
            raise _full(volume, room)
        file, temporary = await on_disk(self._said(volume), new_file, self.volumes.incoming(volume.id))
        size = 0
        try:
            async for piece in gathered(stream):
                size += len(piece)
                if size > room:
                    raise _full(volume, room)
                await on_disk(self._said(volume), write_all, file, piece)
            os.fchmod(file.fileno(), _MODE)
            grown = await self._do(volume, path, lambda place: size - _publish(temporary, place), make=True)
            self._count(volume, grown)
        finally:
            file.close()
            temporary.unlink(missing_ok=True)
        return size

    async def make_folder(self, volume: VolumeRecord, path: str) -> None:
        """Make a folder and those above it; one that is there is left. Raises as `put` does."""
        self.admit()
        await self._do(volume, path, _make_folder, follow=True, make=True)

    async def delete(self, volume: VolumeRecord, path: str) -> None:
        """Delete a file, a link, or a folder with all that is in it. Raises as `entries` does."""
        if not parts_of(path):
            raise ConfigError("path is that of the whole volume; delete what is in it, or the volume itself")
        await self._do(volume, path, _delete)
        self._counts.pop(volume.id, None)

    async def _do(
        self, volume: VolumeRecord, path: str, act: Callable[[Place], Any], *, follow: bool = False, make: bool = False
    ) -> Any:
        """Find a path and do something there, off the loop. The errors of the system become ours."""
        root = self.volumes.files(volume.id)

        def work() -> Any:
            with found(root, path, follow=follow, make=make) as place:
                return act(place)

        try:
            return await asyncio.to_thread(work)
        except FileNotFoundError:
            raise VolumeFileNotFound(f"volume {volume.name!r} has no {path!r:.200}") from None
        except NotADirectoryError:
            raise ConfigError(f"path {path!r:.200} of volume {volume.name!r} leads through what is no folder") from None
        except IsADirectoryError:
            raise ConfigError(f"{path!r:.200} of volume {volume.name!r} is a folder; name a file") from None
        except OSError as error:
            raise disk_error(error, f"{path!r:.200} of {self._said(volume)}") from error

    def _count(self, volume: VolumeRecord, grown: int) -> None:
        if volume.id in self._counts:
            counted, size = self._counts[volume.id]
            self._counts[volume.id] = counted, size + grown

    def _said(self, volume: VolumeRecord) -> str:
        return f"volume {volume.name!r}"


def _full(volume: VolumeRecord, room: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"volume {volume.name!r} has room for {max(room, 0)} bytes more, of its {volume.size} GB; delete something in "
        f"it, or let it grow: PATCH /v2/network-volumes/{volume.id}"
    )


def _entries(place: Place, after: str) -> Listing:
    state = os.stat(place.name, dir_fd=place.folder, follow_symlinks=False)
    entry = _entry(place.name, state)
    if not stat.S_ISDIR(state.st_mode):
        return Listing(entry.kind, [entry])
    folder = os.open(place.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.folder)
    try:
        names = sorted((name for name in os.listdir(folder) if _shown(name) > after), key=_shown)
        states = [(name, _state(folder, name)) for name in names[:LIST_LIMIT]]
    finally:
        os.close(folder)
    entries = [_entry(name, state) for name, state in states if state is not None]
    return Listing(entry.kind, entries, len(names) > LIST_LIMIT)


def _state(folder: int, name: str) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):  # it has just gone
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    return None


def _entry(name: str, state: os.stat_result) -> Entry:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(state.st_mode), "other")
    return Entry(_shown(name), kind, state.st_size if kind == "file" else 0, state.st_mtime)


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")


def _opened(place: Place) -> FileIO:
    file = FileIO(os.open(place.name, _READ, dir_fd=place.folder))
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    raise ConfigError(f"{place.name!r:.200} is no file")


async def _bytes_of(file: FileIO) -> AsyncIterator[bytes]:
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
    finally:
        file.close()


def _publish(temporary: Path, place: Place) -> int:
    """Give a file its name; the size of the one that had it."""
    if place.name == ".":
        raise IsADirectoryError
    before = _state(place.folder, place.name)
    os.rename(temporary, place.name, dst_dir_fd=place.folder)
    return before.st_size if before is not None and stat.S_ISREG(before.st_mode) else 0


def _make_folder(place: Place) -> None:
    if place.name == ".":
        return
    try:
        os.mkdir(place.name, dir_fd=place.folder)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(place.name, dir_fd=place.folder, follow_symlinks=False).st_mode):
            raise NotADirectoryError from None


def _delete(place: Place) -> None:
    if place.name == ".":
        raise ConfigError("the path ends in '..'; name what shall be deleted")
    if stat.S_ISDIR(os.stat(place.name, dir_fd=place.folder, follow_symlinks=False).st_mode):
        shutil.rmtree(place.name, dir_fd=place.folder)
    else:
        os.unlink(place.name, dir_fd=place.folder)


def _size_below(folder: Path) -> int:
    """Bytes of the files below a folder, those with several names once; what is under way is passed over."""
    seen, total = set[tuple[int, int]](), 0
    for place, _, names, there in os.fwalk(folder, onerror=None):
        del place
        for name in names:
            state = _state(there, name)
            if state is None or not stat.S_ISREG(state.st_mode) or (state.st_dev, state.st_ino) in seen:
                continue
            if state.st_nlink > 1:
                seen.add((state.st_dev, state.st_ino))
            total += state.st_size
    return total
