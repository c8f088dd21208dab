"""The file behind an arena, in memory (tmpfs), and what of it jobs need, noted in the file itself.

    <folder>/<plane>-<number>       for this user alone; `plane` stands for the state folder of its control plane
    <folder>/<plane>.home           a link to that state folder: where that has gone, what is left here is nobody's

    0          mark
    4096       slots of 32 bytes: arena, number, offset and size of a range that a job needs; zeros: free
    1 MB       a mark of 8 bytes for each 64 KB of the file: by it the writer of a range says that it uses it
    then       values

The file outlives processes and ends with the machine. A control plane makes a new one at each start: processes of
before may still read what they have of the old one.
"""

import contextlib
import hashlib
import logging
import mmap
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ranges import GRAIN, MARK, Range, mark_of

logger = logging.getLogger(__name__)

SHARED_MEMORY: Final = Path("/dev/shm")
_MARK: Final = b"flash arena 2\n"
_TABLE, _MARKS = 4096, 1024**2
_SLOT: Final = struct.Struct("<QQQQ")
SLOTS: Final = (_MARKS - _TABLE) // _SLOT.size
"""How many ranges jobs may need at a time."""

_PIECE: Final = 8 * 1024**2


def default_folder(user: int) -> Path:
    """Where the arenas of a user are."""
    return SHARED_MEMORY / f"flash-{user}"


class ArenaFile:
    """An open file. `number` is its own; marks lie from `marks`, values from `start` to `size`."""

    def __init__(self, descriptor: int, path: Path, number: int, size: int) -> None:
        self.descriptor, self.path, self.number, self.size = descriptor, path, number, size
        self.marks = _MARKS
        self.start = min(-(-(_MARKS + mark_of(size)) // GRAIN) * GRAIN, size)
        self._whole: mmap.mmap | None = None
        self._unused = list(range(SLOTS - 1, -1, -1))
        self._markable: set[int] = set()  # pages of marks with memory behind them

    @classmethod
    def create(cls, folder: Path, state: Path, size: int) -> "ArenaFile":
        """Make a file of `size` bytes, of which none takes memory yet. Raises OSError."""
        own_folder(folder)
        number = secrets.randbits(64) | 1
        path = folder / f"{_plane(state)}-{number:016x}"
        home = folder / f"{_plane(state)}.home"
        with contextlib.suppress(FileExistsError):
            home.symlink_to(state)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(descriptor, size)
            os.pwrite(descriptor, _MARK, 0)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        return cls(descriptor, path, number, size)

    @classmethod
    def open(cls, path: Path) -> "ArenaFile":
        """Open a file that is there. Raises OSError, WireError."""
        number = int(path.name.rpartition("-")[2], 16)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        if os.pread(descriptor, len(_MARK), 0) != _MARK:
            os.close(descriptor)
            raise WireError(f"{path} is no arena")
        return cls(descriptor, path, number, os.fstat(descriptor).st_size)

    def close(self, *, remove: bool) -> None:
        """Close it; `remove`: nobody needs what is in it."""
        if self._whole is not None:
            self._whole.close()
            self._whole = None
        os.close(self.descriptor)
        if remove:
            self.path.unlink(missing_ok=True)
            plane = self.path.name.rpartition("-")[0]
            if not any(self.path.parent.glob(f"{plane}-*")):
                self.path.with_name(f"{plane}.home").unlink(missing_ok=True)

    # ---- what jobs need

    def note(self, found: Range) -> int | None:
        """Note that a job needs a range; gives the slot. None: there are too many."""
        if not self._unused:
            return None
        slot = self._unused.pop()
        facts = _SLOT.pack(found.arena, found.number, found.offset, found.size)
        os.pwrite(self.descriptor, facts, _TABLE + slot * _SLOT.size)
        return slot

    def forget(self, slot: int) -> None:
        """Nothing needs it any more."""
        os.pwrite(self.descriptor, bytes(_SLOT.size), _TABLE + slot * _SLOT.size)
        self._unused.append(slot)

    def noted(self) -> list[Range]:
        """The ranges that jobs need."""
        table = os.pread(self.descriptor, SLOTS * _SLOT.size, _TABLE)
        slots = _SLOT.iter_unpack(table[: len(table) // _SLOT.size * _SLOT.size])
        return [each for each in (Range(*facts) for facts in slots if facts[0] == self.number) if self.contains(each)]

    # ---- what is in use

    def make_markable(self, found: Range) -> bool:
        """See to it that its writer can mark a range, whatever memory there is then. False: there is none."""
        place = self.marks + mark_of(found.offset)
        page = place // mmap.PAGESIZE
        if page not in self._markable:
            try:
                os.posix_fallocate(self.descriptor, page * mmap.PAGESIZE, mmap.PAGESIZE)
            except OSError:
                return False
            self._markable.add(page)
        return True

    def is_marked(self, found: Range) -> bool:
        """Whether its writer has marked a range."""
        return os.pread(self.descriptor, MARK.size, self.marks + mark_of(found.offset)) == MARK.pack(found.number)

    # ---- values

    def contains(self, found: Range) -> bool:
        """Whether a range lies where values are."""
        return found.size > 0 and self.start <= found.offset and found.end <= self.size

    def read(self, found: Range) -> bytes:
        """The bytes of a range."""
        return b"".join(self.pieces(found))

    def pieces(self, found: Range) -> Iterator[bytes]:
        """The bytes of a range, in pieces. Raises WireError, OSError."""
        if found.arena != self.number or not self.contains(found):
            raise WireError(f"range {found.name} is none of this arena")
        for offset in range(found.offset, found.end, _PIECE):
            yield os.pread(self.descriptor, min(_PIECE, found.end - offset), offset)

    def punch(self, start: int, end: int) -> None:
        """Give the memory behind a stretch to the system; it reads as zeros then."""
        if self._whole is None:
            self._whole = mmap.mmap(self.descriptor, self.size)
        self._whole.madvise(mmap.MADV_REMOVE, start, end - start)


def own_folder(folder: Path) -> None:
    """Make a folder for this user alone. Raises OSError where it is somebody else's or others may see into it."""
    folder.mkdir(mode=0o700, parents=False, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{folder} is not this user's alone")


def former(folder: Path, state: Path) -> list[ArenaFile]:
    """The arenas that an earlier control plane of a state folder has left."""
    return [each for each in map(_opened, sorted(folder.glob(f"{_plane(state)}-*"))) if each is not None]


def _opened(path: Path) -> ArenaFile | None:
    try:
        return ArenaFile.open(path)
    except (OSError, WireError, ValueError) as error:
        logger.warning("%s cannot be read: %s", path, error)
        return None


def sweep(folder: Path) -> None:
    """Remove what was left for control planes whose state folders have gone."""
    with contextlib.suppress(OSError):
        for home in folder.glob("*.home"):
            if not home.exists():
                for path in folder.glob(f"{home.stem}-*"):
                    path.unlink(missing_ok=True)
                home.unlink(missing_ok=True)


def _plane(state: Path) -> str:
    return hashlib.sha256(str(state.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
