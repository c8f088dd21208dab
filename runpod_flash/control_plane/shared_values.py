"""Values as jobs need them: in the arena while somebody reads them there, else in files under the same names."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import Any, Final, Protocol

from runpod_flash.control_plane.arena import Arena, Talker
from runpod_flash.control_plane.arena_file import ArenaFile
from runpod_flash.control_plane.arena_server import ArenaServer
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.errors import BackendError, ContentNotFound
from worker_runtime.wire.jobs import Call, JobStatus, Payload
from worker_runtime.wire.ranges import Range

logger = logging.getLogger(__name__)

AGAIN_S: Final = 5.0
"""Seconds between two tries to keep a value as a file, where the disk was full."""

_RETRIED: Final = (JobStatus.FAILED, JobStatus.TIMED_OUT)


class Memory(Protocol):
    """What the dispatcher needs of the memory that it shares with workers."""

    def keep(self, call: Call, job: str) -> None:
        """A job will need the values of its call. Raises ContentNotFound where they are not there any more."""

    def shares(self, name: str) -> bool:
        """Whether a value is in memory."""
        ...

    def lend(self, worker: str, name: str) -> bool:
        """A worker is about to read a value where it lies. False: it cannot."""
        ...

    def read_now(self, name: str) -> bytes:
        """The bytes of a value in memory, for a worker that cannot read it there. Raises FileNotFoundError."""
        ...

    def holds(self, worker: str, names: Sequence[str]) -> None:
        """A worker goes on using these values when the call for which they were lent has ended. Raises WireError."""

    def returned(self, worker: str, call: Call) -> None:
        """The call has ended for which values were lent."""

    def has_left(self, worker: str) -> bool:
        """Whether a worker shares no memory any more: its process has ended, and what it had written is free."""
        ...

    def received(self, worker: str, found: Range) -> Payload | None:
        """A worker has written a result. None: not there."""
        ...

    def discard(self, worker: str, found: Range) -> None:
        """Nobody wants what a worker has written."""

    def borrowed(self, worker: str, client: str) -> bool:
        """A worker is lent to a program: what that holds stays until `returned_from`. False: nothing is shared."""
        ...

    def returned_from(self, client: str) -> None:
        """A loan is over that was `borrowed`."""

    def filled(self, worker: str, found: Range) -> None:
        """A worker has written a result into a range of the program to which it is lent; `received` follows."""

    def unnamed(self, name: str) -> Range:
        """What to call a value of such a program, which nobody else gets. Raises WireError."""
        ...

    def inherit(self, client: str, found: Range, named: Range) -> None:
        """The last result that such a program was given may not have been read: if it ends now, it is kept."""

    def ended(self, record: JobRecord) -> None:
        """A job has ended, and that is on disk."""

    def unneeded(self, job: str) -> None:
        """There will be no such job."""


class NoMemory:
    """A control plane that shares no memory."""

    def keep(self, call: Call, job: str) -> None: ...

    def shares(self, name: str) -> bool:
        return False

    def lend(self, worker: str, name: str) -> bool:
        return False

    def read_now(self, name: str) -> bytes:
        raise FileNotFoundError(name)

    def holds(self, worker: str, names: Sequence[str]) -> None: ...

    def returned(self, worker: str, call: Call) -> None: ...

    def has_left(self, worker: str) -> bool:
        return False

    def received(self, worker: str, found: Range) -> Payload | None:
        return None

    def discard(self, worker: str, found: Range) -> None: ...

    def borrowed(self, worker: str, client: str) -> bool:
        return False

    def returned_from(self, client: str) -> None: ...

    def filled(self, worker: str, found: Range) -> None: ...

    def unnamed(self, name: str) -> Range:
        return Range.parse(name)

    def inherit(self, client: str, found: Range, named: Range) -> None: ...

    def ended(self, record: JobRecord) -> None: ...

    def unneeded(self, job: str) -> None: ...


class SharedValues:
    """Finds values by their names, wherever they are, and moves those that stay from memory to files."""

    def __init__(self, blobs: Blobs, arena: Arena, server: ArenaServer) -> None:
        self._blobs, self._arena, self._server = blobs, arena, server
        self._left = _Left()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[str] = []  # jobs whose arguments are let go once their ends were told
        arena.on_overdue = self._overdue

    # ---- by name

    def has(self, name: str) -> bool:
        """Whether the value is here."""
        return self.shares(name) or self._blobs.has(name)

    async def read(self, name: str) -> bytes:
        """The value's bytes. Raises FileNotFoundError."""
        found = self._arena.find(name)
        if found is None:
            return await self._blobs.read(name)
        with self._held(found):
            return await asyncio.to_thread(self._arena.file.read, found)

    async def put_bytes(self, sha256: str, data: bytes) -> None:
        """See `Blobs.put_bytes`."""
        await self._blobs.put_bytes(sha256, data)

    def pieces(self, name: str) -> AsyncIterator[bytes] | None:
        """The bytes of a value that is in memory, in pieces; None: it is not there."""
        found = self._arena.find(name)
        return None if found is None else self._read_in_pieces(found)

    async def _read_in_pieces(self, found: Range) -> AsyncIterator[bytes]:
        pieces = self._arena.file.pieces(found)
        with self._held(found):
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece

    @contextlib.contextmanager
    def _held(self, found: Range) -> Iterator[None]:
        """Let nobody else have a range while it is read."""
        self._arena.lend(self, found)
        try:
            yield
        finally:
            self._arena.free(self, found)

    def room(self, found: Range, until: float) -> None:
        """See `arena.Talker`: what is only read here is never given back as room."""

    # ---- for jobs (see `Memory`)

    def keep(self, call: Call, job: str) -> None:
        for name in _ranges_of(call):
            if not self._arena.keep(Range.parse(name), job) and not self._blobs.has(name):
                self._arena.let_go(job)
                raise ContentNotFound(f"there is no value {name} in shared memory any more; submit the call again")

    def shares(self, name: str) -> bool:
        return self._arena.find(name) is not None

    def read_now(self, name: str) -> bytes:
        found = self._arena.find(name)
        if found is None:
            raise FileNotFoundError(name)
        return self._arena.file.read(found)

    def lend(self, worker: str, name: str) -> bool:
        found, talker = self._arena.find(name), self._server.worker(worker)
        if found is None or talker is None:
            return False
        self._arena.lend(talker, found)
        return True

    def holds(self, worker: str, names: Sequence[str]) -> None:
        for name in names:
            self.lend(worker, str(name))

    def returned(self, worker: str, call: Call) -> None:
        talker = self._server.worker(worker)
        for name in _ranges_of(call):
            if talker is not None:
                self._arena.free(talker, Range.parse(name))

    def has_left(self, worker: str) -> bool:
        return self._server.worker(worker) is None

    def received(self, worker: str, found: Range) -> Payload | None:
        until = self._arena.deliver(self._holder(worker), found)
        return None if until is None else Payload.in_range(found, until)

    def discard(self, worker: str, found: Range) -> None:
        self._arena.free(self._holder(worker), found)

    def borrowed(self, worker: str, client: str) -> bool:
        if not client or self._server.worker(worker) is None:
            return False
        self._server.pin(client)
        return True

    def returned_from(self, client: str) -> None:
        self._server.unpin(client)

    def filled(self, worker: str, found: Range) -> None:
        self._arena.lease(self._holder(worker), found)

    def _holder(self, worker: str) -> Talker:
        """Who holds what a worker has written, until it is received; it may have ended meanwhile."""
        return self._server.worker(worker) or self._left

    def unnamed(self, name: str) -> Range:
        return self._arena.unnamed(Range.parse(name))

    def inherit(self, client: str, found: Range, named: Range) -> None:
        self._server.when_left(client, lambda: self._arena.inherit(found, named))

    def ended(self, record: JobRecord) -> None:
        if not self._arena.ranges_of(record.id):
            return
        if record.status in _RETRIED:
            self._spawn(self._file_arguments(record.id))
            return
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._let_go)
        self._ended.append(record.id)

    def _let_go(self) -> None:
        ended, self._ended = self._ended, []
        for job in ended:
            self._arena.let_go(job)

    def unneeded(self, job: str) -> None:
        self._arena.let_go(job)

    # ---- from memory to files

    def _overdue(self, found: Range) -> None:
        self._spawn(self._file_result(found))

    async def _file_result(self, found: Range) -> None:
        if await self._filed(found):
            self._arena.drop_result(found)

    async def _file_arguments(self, job: str) -> None:
        """Somebody may want a failed job to be tried again."""
        for found in self._arena.ranges_of(job):
            await self._filed(found)
        self._arena.let_go(job)

    async def _filed(self, found: Range) -> bool:
        """Keep a value as a file, however long that takes. False: it was not needed any more."""
        while self._arena.find(found.name) is not None:
            try:
                with self._held(found):
                    await self._blobs.put_copy(found.name, lambda: self._arena.file.pieces(found))
                return True
            except (OSError, BackendError) as error:
                logger.warning("a value of %d bytes stays in memory: %s", found.size, error)
            await asyncio.sleep(AGAIN_S)
        return False

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End all conversations, and keep what jobs need as files."""
        self._server.close()
        self._let_go()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await adopt([self._arena.file], self._blobs)


class _Left:
    """Workers whose processes have ended, while what they said before is read."""

    def room(self, found: Range, until: float) -> None:
        """See `arena.Talker`: they write no more."""


def _ranges_of(call: Call) -> list[str]:
    return [payload.range for payload in call.payloads if payload.range is not None]


async def adopt(former: Sequence[ArenaFile], blobs: Blobs) -> None:
    """Keep what jobs need of arenas that nobody uses any more as files, and remove those.

    One of which that fails stays for the next start.
    """
    for file in former:
        needed = file.noted()
        kept = [await _adopted(file, found, blobs) for found in needed]
        if needed:
            logger.info("%d values were in shared memory, and are files now", sum(kept))
        file.close(remove=all(kept))


async def _adopted(file: ArenaFile, found: Range, blobs: Blobs) -> bool:
    try:
        await blobs.put_copy(found.name, lambda: file.pieces(found))
    except (OSError, BackendError) as error:
        logger.warning("a value of %d bytes stays in %s: %s", found.size, file.path, error)
        return False
    return True
