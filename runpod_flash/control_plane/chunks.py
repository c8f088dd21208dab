"""What generators yield, until somebody has read it: on disk, each piece handed out once.

A reader either takes pieces, which are gone with that (`drain`), or looks at them (`after`) and says with its next
question what has arrived (`arrived`), so that a broken connection loses nothing.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from runpod_flash.control_plane.store import Store

_AT_ONCE: Final = 1000
_BYTES_AT_ONCE: Final = 8 * 1024**2

Numbered = tuple[int, Any]
"""A piece and its number: they grow from piece to piece, and none is used twice."""


class Chunks:
    """The streams of jobs. Pieces that nobody fetches are kept as long as their job.

    Attributes:
        on_read: called with a job's id and how many of its pieces a reader has got.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self.on_read: Callable[[str, int], None] = lambda job_id, number: None

    async def add(self, job_id: str, chunks: list[Any]) -> None:
        """Keep pieces of a stream, in their order; they are on disk when this returns. Raises StoreError."""
        sql = "INSERT INTO job_chunks (job, chunk) VALUES (?, ?)"
        await self._store.write(*((sql, [job_id, json.dumps(chunk)]) for chunk in chunks))
        self.changed(job_id)

    async def drain(self, job_id: str) -> tuple[list[Any], bool]:
        """The next pieces, which are gone after this, and whether there are more. Raises StoreError."""
        pieces, more = self.after(job_id, 0)
        if pieces:
            await self.arrived(job_id, pieces[-1][0])
        return [chunk for _, chunk in pieces], more

    def after(self, job_id: str, number: int) -> tuple[list[Numbered], bool]:
        """The next pieces after the one of this number, and whether there are more. They stay."""
        sql = "SELECT seq, chunk FROM job_chunks WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?"
        rows = self._store.read(sql, job_id, number, _AT_ONCE)
        taken, size = 0, 0
        while taken < len(rows) and (taken == 0 or size + len(rows[taken][1]) <= _BYTES_AT_ONCE):
            size += len(rows[taken][1])
            taken += 1
        more = taken < len(rows) or len(rows) == _AT_ONCE
        return [(seq, json.loads(chunk)) for seq, chunk in rows[:taken]], more

    async def arrived(self, job_id: str, number: int) -> None:
        """Those up to this number have reached their reader, and are gone after this. Raises StoreError."""
        removed = await self._store.write(("DELETE FROM job_chunks WHERE job = ? AND seq <= ?", [job_id, number]))
        if removed:
            self.on_read(job_id, removed)

    def has(self, job_id: str) -> bool:
        """Whether there are pieces that nobody has got."""
        return bool(self._store.read("SELECT 1 FROM job_chunks WHERE job = ? LIMIT 1", job_id))

    def clear(self, job_id: str) -> None:
        """Forget the pieces of an attempt that another one follows."""
        self._store.write(("DELETE FROM job_chunks WHERE job = ?", [job_id]))

    async def wait(self, job_id: str, timeout_s: float) -> None:
        """Wait until something has changed in the stream, at most so many seconds."""
        change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job_id, set()).add(change)
        try:
            await asyncio.wait([change], timeout=timeout_s)
        finally:
            waiting = self._waiting[job_id]
            waiting.discard(change)
            if not waiting:
                del self._waiting[job_id]

    def changed(self, job_id: str) -> None:
        """There are new pieces, or the job has ended: wake those who wait."""
        for change in self._waiting.get(job_id, ()):
            if not change.done():
                change.set_result(None)

    def wake_all(self) -> None:
        """Let nobody wait any more: the control plane ends."""
        for job_id in list(self._waiting):
            self.changed(job_id)
