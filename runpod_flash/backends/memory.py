"""Shared memory as a program uses it: large arguments are written where its workers read them, results read in place.

Both need the embedded control plane on this machine, and room there. Where one is missing, values go their plain way.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runpod_flash import lazy
from worker_runtime.wire import PROTOCOL
from worker_runtime.wire.jobs import Payload
from worker_runtime.wire.pieces import Pieces
from worker_runtime.wire.ranges import Range

if TYPE_CHECKING:
    from worker_runtime.wire.arena_link import ArenaLink

_AGAIN_S: Final = 5.0  # between two tries to reach it


@dataclass(frozen=True, slots=True)
class Room:
    """A range of this program's, for a worker that is lent. `is_fresh`: there may be no memory behind it yet."""

    found: Range
    is_fresh: bool
    link: "ArenaLink"

    def written(self, size: int, *, again: bool) -> memoryview:
        """What a worker has written: so many bytes, to be read and changed where they lie.

        The range is given back when nothing refers to them any more; `again`: as by `reuse`.
        """
        return self.link.own(self.found.beginning(size), again=again)

    def reuse(self) -> None:
        """It is free, and nobody but that worker has known it."""
        self.link.reuse(self.found)

    def free(self, *, unbacked: bool = False) -> None:
        """It is free. `unbacked`: there may be no memory behind it."""
        self.link.give_back(self.found, unbacked=unbacked)


class SharedMemory:
    """What one program shares with a control plane. Opened by the first large value; follows it over its restarts.

    Args:
        path: the socket where the control plane shares memory, if it does.
        key: gives the key of this user.
        on_full: called with a message when there was no room for a value.

    Attributes:
        name: its own, under which the control plane keeps it for workers that are lent to this program.
    """

    def __init__(self, path: Path, key: Callable[[], str | None], on_full: Callable[[str], None]) -> None:
        self._path, self._key, self._on_full = path, key, on_full
        self.name = os.urandom(16).hex()
        self._link: ArenaLink | None = None
        self._next_try = 0.0

    def place(self, pieces: Pieces) -> Payload | None:
        """Write an encoded value at once, without waiting for the event loop. None: it has to go another way."""
        link = self._opened()
        found = None if link is None else link.place(pieces)
        if link is not None and link.lost:  # the control plane was started anew
            link = self._opened()
            found = None if link is None else link.place(pieces)
        if found is not None:
            return Payload.in_range(found)
        if link is not None and link.full:
            self._on_full(
                f"no shared memory is left for a value of {pieces.size / 1024**2:.0f} MB: it goes by a file, which is "
                "slower; raise FLASH_ARENA_MB, or keep fewer large values at a time"
            )
        return None

    def give_back(self, payload: Payload) -> None:
        """A value that was placed is not submitted after all."""
        if payload.range is not None and (link := self._link) is not None:
            found = Range.parse(payload.range)
            if link.has(found):
                link.give_back(found)

    # ---- for a worker that is lent

    def offer(self, size: int) -> Room | None:
        """A range of this program's, into which a worker may write so many bytes. None: there is no room."""
        link = self._opened()
        found = None if link is None else link.offer(size)
        return None if link is None or found is None else Room(*found, link)

    def reuse(self, payload: Payload) -> None:
        """A value that was placed is of no use to anybody, and nobody but a lent worker has known it."""
        if payload.range is not None and (link := self._link) is not None:
            found = Range.parse(payload.range)
            if link.has(found):
                link.reuse(found)

    def source(self, payload: Payload) -> Callable[[], Payload]:
        """What gives a value that was placed, where the control plane can find it that there is then."""
        link, found = self._link, Range.parse(payload.range or "")

        def anew() -> Payload:
            if link is not None:
                link.look()
            self._next_try = 0.0  # whoever asks has just reached a control plane
            now = self._opened()
            if link is None or now is None or now is link or not link.has(found):
                return payload
            return self.place(Pieces([link.view(found)])) or payload

        return anew

    # ---- results

    def view(self, payload: Payload) -> memoryview | None:
        """The bytes of a result, to be read and changed where they lie. None: they are not there any more, or not here.

        Whoever reads them does so in this memory until nothing refers to the view any more.
        """
        link = self._opened()
        return None if link is None or payload.range is None else link.lease(Range.parse(payload.range), payload.until)

    def taken(self, payload: Payload) -> None:
        """The one whom a result was for has read it, so that nobody keeps it any longer."""
        if payload.range is not None and (link := self._link) is not None:
            found = Range.parse(payload.range)
            if link.has(found):
                link.taken(found)

    def _opened(self) -> "ArenaLink | None":
        if self._link is not None and self._link.lost:
            self._link, self._next_try = None, 0.0
        if self._link is None and time.monotonic() >= self._next_try:
            self._next_try = time.monotonic() + _AGAIN_S
            arenas, key = lazy.load("worker_runtime.wire.arena_link"), self._key()
            if key is not None and self._path.exists():
                try:
                    hello = {"protocol": PROTOCOL, "key": key, "name": self.name}
                    self._link = arenas.ArenaLink(arenas.greeted(str(self._path), hello))
                except arenas.ArenaLost:
                    return None
        return self._link
