"""An arena in the memory of one process: values are written into it, and read where they lie.

It is mapped twice, for as long as anything of it is used. What is written goes through a shared view. What is read is
seen through a private one: user code may change what it was given, and changes a copy of those pages then, which is
given up with the value.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

from worker_runtime.wire import copying
from worker_runtime.wire.pieces import Pieces
from worker_runtime.wire.ranges import MARK, Range, mark_of

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE: many pages at once instead of a fault for each
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)

_PRESENT_OR_SWAPPED, _OF_FILE = (1 << 3) | (1 << 4), 1 << 2  # categories of pages
_REGIONS = 64
_REMEMBERED = 1000


class _Scan(ctypes.Structure):
    """What PAGEMAP_SCAN is asked with."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages",
            "category_inverted", "category_mask", "category_anyof_mask", "return_mask",
        )
    ]  # fmt: skip


_SCAN = (3 << 30) | (ctypes.sizeof(_Scan) << 16) | (ord("f") << 8) | 16


class _View:
    """What the bytes of a range belong to, beside an array of ctypes. It goes when nothing refers to them any more."""

    arena: "ArenaMap"
    found: Range

    def __del__(self) -> None:
        self.arena._ended(self.found)


class ArenaMap:
    """Maps the file of an arena. May be used from several threads.

    Args:
        descriptor: of the file; it is taken over.
        size: bytes of it.
        marks: where in it the table of marks begins (see `wire.ranges`).
        on_unused: called, in any thread, with the range of each view that nothing here refers to any more.

    Attributes:
        tidies_late: whether what user code has changed is given up by `tidy`, and not with the value.
    """

    def __init__(self, descriptor: int, size: int, marks: int, on_unused: Callable[[Range], None]) -> None:
        self._descriptor, self._size, self._marks, self._on_unused = descriptor, size, marks, on_unused
        both = mmap.PROT_READ | mmap.PROT_WRITE
        try:
            self._shared = mmap.mmap(descriptor, size, mmap.MAP_SHARED, both)
            self._private = mmap.mmap(descriptor, size, mmap.MAP_PRIVATE | _NO_RESERVE, both)
        except (OSError, ValueError):
            os.close(descriptor)
            raise
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._private))
        # One type for all views: to make one takes longer than all else of a view.
        self._view: Any = type("_ViewOfAll", (_View, ctypes.c_char * size), {})
        self._written = memoryview(self._shared)
        self._touched: dict[int, int] = {}  # offset → end of ranges whose pages are in this process's page tables
        self._views: Counter[int] = Counter()  # how many are in use, by number of the range
        self._lock = threading.RLock()  # taken by what ends a view, too, which may be anywhere
        self._process = os.getpid()
        self._untidy: list[Range] = []
        self.tidies_late = False
        self._pinned: set[int] = set()
        self._pages: int | None = None
        self._found = (ctypes.c_uint64 * (3 * _REGIONS))()
        self._asked = _Scan(
            ctypes.sizeof(_Scan), 0, 0, 0, 0, ctypes.addressof(self._found), _REGIONS,
            0, _OF_FILE, _OF_FILE, _PRESENT_OR_SWAPPED, _PRESENT_OR_SWAPPED,
        )  # fmt: skip
        _pin_at_forks(self)

    def contains(self, found: Range) -> bool:
        """Whether a range lies in the file."""
        return found.size > 0 and found.end <= self._size and found.offset % mmap.PAGESIZE == 0

    def mark(self, room: Range) -> None:
        """Let the control plane see that a room is in use; there is memory for its mark."""
        MARK.pack_into(self._shared, self._marks + mark_of(room.offset), room.number)

    def unmark(self, room: Range) -> None:
        """Take that back."""
        MARK.pack_into(self._shared, self._marks + mark_of(room.offset), 0)

    def write(self, target: Range, pieces: Pieces, *, fresh: bool) -> None:
        """Write an encoded value. `fresh`: there may be no memory behind the range yet.

        Raises:
            OSError: there is not so much memory. Without this the process would end by a signal.
        """
        if fresh:
            os.posix_fallocate(self._descriptor, target.offset, target.size)
        if fresh or self._touched.get(target.offset, 0) < target.end:
            self._touch(target)
        copying.write(pieces, self._written[target.offset : target.end])

    def _touch(self, target: Range) -> None:
        with contextlib.suppress(OSError):  # a kernel before 5.14: each page comes with its first write
            self._shared.madvise(_POPULATE_WRITE, target.offset, target.size)
        if len(self._touched) >= _REMEMBERED:
            self._touched.clear()
        self._touched[target.offset] = target.end

    def view(self, found: Range) -> memoryview:
        """The bytes of a range, to be read and changed. It is in use until nothing refers to them any more."""
        owner = self._view.from_buffer(self._private)
        with self._lock:
            self.tidy()
            self._views[found.number] += 1
            owner.arena, owner.found = self, found
        return memoryview(owner).cast("B")[found.offset : found.end]

    def in_use(self, found: Range) -> bool:
        """Whether something here refers to the bytes of a range."""
        with self._lock:
            return found.number in self._views

    def pin(self) -> None:
        """This process is about to fork: what is in use now is seen by both from then on, and stays in use."""
        with self._lock:
            self._pinned.update(self._views)

    def _ended(self, found: Range) -> None:
        if os.getpid() != self._process:  # the fork of one that has it
            return
        with self._lock:
            self._views[found.number] -= 1
            if found.number in self._pinned:
                return
            if not self._views[found.number]:
                del self._views[found.number]
                self._untidy.append(found)
                if not self.tidies_late:
                    self.tidy()
        self._on_unused(found)

    def tidy(self) -> None:
        """Give up what user code has changed of values that are not used any more."""
        with self._lock:
            while self._untidy:
                self._forget_changes(self._untidy.pop())

    def _forget_changes(self, found: Range) -> None:
        """Give up the copies of pages that user code has changed, so that the private view shows the file again."""
        pages = -(-found.size // mmap.PAGESIZE) * mmap.PAGESIZE
        start, end = found.offset, min(found.offset + pages, self._size)
        while start < end:
            changed, start = self._changed(start, end)
            for first, last in changed:
                self._private.madvise(mmap.MADV_DONTNEED, first, last - first)

    def _changed(self, start: int, end: int) -> tuple[list[tuple[int, int]], int]:
        """Parts of a range with pages that are not the file's, and how far it was looked at."""
        asked, vector, base = self._asked, self._found, self._address
        asked.start, asked.end, asked.walk_end = base + start, base + end, 0
        try:
            if self._pages is None:
                self._pages = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            count = fcntl.ioctl(self._pages, _SCAN, asked)
        except OSError:  # a kernel before 6.7, or no /proc: all of it is read anew
            return [(start, end)], end
        found = [(vector[3 * each] - base, vector[3 * each + 1] - base) for each in range(count)]
        return found, (asked.walk_end or base + end) - base

    def __del__(self) -> None:
        if self._pages is not None:
            os.close(self._pages)
        os.close(self._descriptor)


def _pin_at_forks(arena: ArenaMap) -> None:
    known = weakref.ref(arena)

    def pin() -> None:
        found = known()
        if found is not None:
            found.pin()

    os.register_at_fork(before=pin)
