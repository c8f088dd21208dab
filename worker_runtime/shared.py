"""Shared memory as the child uses it: arguments are read where they lie, results are written where they stay."""

import socket
import threading
from collections.abc import Iterable

from worker_runtime.wire.arena_link import ArenaLink, ArenaLost
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.pieces import Pieces
from worker_runtime.wire.ranges import Range

Key = tuple[str, int]
"""A call: its job and attempt."""


class SharedMemory:
    """Is opened when something large comes or goes for the first time. May be used from several threads.

    Args:
        sock: on which the parent has said hello; None: no memory is shared.
    """

    def __init__(self, sock: socket.socket | None) -> None:
        if sock is not None:
            sock.set_inheritable(False)  # programs that user code starts do not get it
        self._socket = sock
        self._link: ArenaLink | None = None
        self._lock = threading.Lock()
        self._ranges: dict[Key, list[Range]] = {}

    @property
    def is_shared(self) -> bool:
        """Whether there is any, as far as is known."""
        return self._socket is not None or (self._link is not None and not self._link.lost)

    def begin(self, key: Key, names: Iterable[str]) -> None:
        """A call has come whose values lie in these ranges. Raises WireError."""
        ranges = [Range.parse(name) for name in names]
        if ranges:
            self._ranges[key] = ranges
            if (link := self._opened()) is not None:
                link.lent.update(found.number for found in ranges)

    def end(self, key: Key) -> list[str]:
        """A call has ended; the names of its ranges that are still in use. Of each of them the end is told later."""
        ranges, link = self._ranges.pop(key, ()), self._link
        if link is None or not ranges:
            return []
        link.lent.difference_update(found.number for found in ranges)
        return [found.name for found in ranges if link.in_use(found)]

    def go_on(self, name: str) -> bool:
        """Use a range on that is somebody else's, and wait until that is known. False: it is not there any more."""
        link = self._opened()
        return link is not None and link.keep(Range.parse(name))

    def __getitem__(self, name: str) -> memoryview:
        """The bytes of a value. Raises KeyError where they cannot be had."""
        link = self._opened()
        try:
            if link is not None:
                return link.view(Range.parse(name))
        except WireError as error:
            raise KeyError(str(error)) from None
        raise KeyError(name)

    def tidy(self) -> None:
        """There is time now to give up what user code has changed of arguments."""
        if self._link is not None:
            self._link.tidy()

    def place(self, pieces: Pieces) -> Range | None:
        """Write an encoded value. None: there is no room, or no shared memory."""
        link = self._opened()
        return None if link is None else link.place(pieces)

    def fill(self, target: Range, pieces: Pieces, *, fresh: bool) -> bool:
        """Write an encoded value where somebody has made room for it; see `ArenaLink.fill`. False: it cannot be."""
        link = self._opened()
        return link is not None and link.has(target) and link.fill(target, pieces, fresh=fresh)

    def _opened(self) -> ArenaLink | None:
        with self._lock:
            if self._link is None and self._socket is not None:
                sock, self._socket = self._socket, None
                try:
                    self._link = ArenaLink(sock)
                    self._link.tidy_later()
                except ArenaLost:
                    return None
            return None if self._link is None or self._link.lost else self._link
