"""Whether this control plane shares memory with programs and workers of its machine, and how much."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from runpod_flash.control_plane import arena_file
from runpod_flash.control_plane.arena import Arena
from runpod_flash.control_plane.arena_file import ArenaFile
from runpod_flash.control_plane.arena_server import ArenaServer
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.shared_values import SharedValues, adopt
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ranges import GRAIN

logger = logging.getLogger(__name__)

FULL: Final = (
    "no shared memory is left for a result: it goes by a file, which is slower; raise FLASH_ARENA_MB, or keep fewer "
    "large values at a time"
)
"""What is said, once, where a result goes by a file."""

_SHARE: Final = 0.5  # of the memory that is free
_LEAST: Final = 16 * 1024**2
_MEMORY: Final = Path("/proc/meminfo")
_GROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")


class Sharing:
    """The arena of a control plane, from its start to its end.

    Attributes:
        folder: where its file is, which user code must not see.
        values: finds values; `blobs` where no memory is shared.
        socket: where processes ask for memory; "": nowhere.
        on_full: see `ArenaServer`.
    """

    def __init__(self, blobs: Blobs, state: Path, *, megabytes: int | None, folder: Path | None = None) -> None:
        """`megabytes`: how large it may get, 0: there is none, None: half of the memory that is free. `state`: the
        control plane's own folder. Raises nothing: where memory cannot be shared, values go their plain way.
        """
        self._blobs, self._state = blobs, state
        self.folder = folder or arena_file.default_folder(os.getuid() if hasattr(os, "getuid") else 0)
        self._former = arena_file.former(self.folder, state)
        self._file = self._made(megabytes)
        self.arena = None if self._file is None else Arena(self._file)
        self.values: SharedValues | None = None
        self.socket = ""
        self.on_full: Callable[[str], None] = lambda worker_id: None

    def open(self, key: str, token_of: Callable[[str], str | None]) -> SharedValues | None:
        """Make what talks about it; None where no memory is shared. See `ArenaServer`."""
        if self.arena is not None:
            self._server = ArenaServer(self.arena, key, token_of)
            self._server.on_full = lambda worker_id: self.on_full(worker_id)
            self.values = SharedValues(self._blobs, self.arena, self._server)
        return self.values

    async def start(self, path: Path) -> None:
        """Take over what earlier control planes have left, and listen at `path`."""
        arena_file.sweep(self.folder)
        await adopt(self._former, self._blobs)
        if self.values is not None:
            self._server.start(str(path))
            self.socket = str(path)

    async def close(self) -> None:
        """End it; what jobs still need stays for the next control plane."""
        if self.values is not None:
            self._file = None
            await self.values.close()

    def release(self) -> None:
        """Let go of the file where the control plane did not come so far as to `close`."""
        file, self._file = self._file, None
        if file is not None:
            file.close(remove=not file.noted())

    def _made(self, megabytes: int | None) -> ArenaFile | None:
        size = _size(self.folder.parent, megabytes)
        if size < _LEAST or not hasattr(socket, "SOCK_SEQPACKET") or sys.platform != "linux":
            return None
        try:
            return ArenaFile.create(self.folder, self._state, size)
        except (OSError, WireError) as error:
            logger.warning("no memory is shared: %s", error)
            return None


def _size(parent: Path, megabytes: int | None) -> int:
    """How many bytes an arena may get."""
    if megabytes is not None:
        return megabytes * 1024**2 // GRAIN * GRAIN
    try:
        space = os.statvfs(parent)
        free = [space.f_bavail * space.f_frsize, _meminfo(_MEMORY.read_text()).get("MemAvailable", 0)]
        if _GROUP_LIMIT.exists() and (limit := _GROUP_LIMIT.read_text().strip()).isdigit():
            free.append(int(limit))
    except (OSError, ValueError):
        return 0
    return int(min(free) * _SHARE) // GRAIN * GRAIN


def _meminfo(text: str) -> Mapping[str, int]:
    """The sizes in /proc/meminfo, in bytes."""
    lines = (line.split() for line in text.splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}
