"""What generators yield, until somebody fetches it: on disk, each piece handed out once."""

import asyncio
import json
from typing import Any, Final

from runpod_flash.control_plane.store import Store

_AT_ONCE: Final = 1000
_BYTES_AT_ONCE: Final = 8 * 1024**2


class Chunks:
    """The streams of jobs. Pieces that nobody fetches are kept as long as their job."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    async def add(self, job_id: str, chunks: list[Any]) -> None:
        """Keep pieces of a stream, in their order; they are on disk when this returns. Raises StoreError."""
        sql = "INSERT INTO job_chunks (job, chunk) VALUES (?, ?)"
        await self._store.write(*((sql, [job_id, json.dumps(chunk)]) for chunk in chunks))
        self.changed(job_id)

    async def drain(self, job_id: str) -> tuple[list[Any], bool]:
        """The next pieces, which are gone after this, and whether there are more. Raises StoreError."""
        sql = "SELECT seq, chunk FROM job_chunks WHERE job = ? ORDER BY seq LIMIT ?"
        rows = self._store.read(sql, job_id, _AT_ONCE)
        taken, size = 0, 0
        while taken < len(rows) and (taken == 0 or size + len(rows[taken][1]) <= _BYTES_AT_ONCE):
            size += len(rows[taken][1])
            taken += 1
        if taken:
            await self._store.write(("DELETE FROM job_chunks WHERE job = ? AND seq <= ?", [job_id, rows[taken - 1][0]]))
        return [json.loads(chunk) for _, chunk in rows[:taken]], taken < len(rows) or len(rows) == _AT_ONCE

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
