"""Artifacts that come in pieces: what has arrived stays, over restarts too, until it is whole or nobody goes on.

Each piece is written at its own place, and what is whole is copied and checked before it is an artifact. So it does no
harm when two programs of a user bring the same one at a time, or a cut connection is noticed late.
"""

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from runpod_flash.control_plane.blobs import Blobs, gathered, on_disk, write_all
from runpod_flash.errors import FlashError, PayloadTooLarge
from worker_runtime.wire.errors import WireError

_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_BLOCK = 1024**2


class Gap(FlashError):
    """A piece begins beyond what has arrived.

    Attributes:
        received: how many bytes are here.
    """

    def __init__(self, received: int) -> None:
        super().__init__(f"{received} bytes of the artifact have arrived; go on from there")
        self.received = received


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes `first` to `last`, both included, of an artifact of `total` bytes."""

    first: int
    last: int
    total: int

    @classmethod
    def parse(cls, header: str) -> "Piece":
        """Read the header Content-Range. Raises WireError: it names no such piece."""
        match = _RANGE.fullmatch(header)
        piece = cls(*map(int, match.groups())) if match else None
        if piece is None or not piece.first <= piece.last < piece.total:
            raise WireError(
                f"Content-Range is {header!r:.80}; it must be 'bytes FIRST-LAST/TOTAL' with FIRST <= LAST < TOTAL"
            )
        return piece


class Pieces:
    """What has arrived of artifacts. Users do not see each other's beginnings."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def received(self, user: str, artifact_id: str) -> int:
        """How many bytes of an artifact have arrived that is not whole. Raises WireError: that is no id."""
        try:
            return self._begun(user, artifact_id).stat().st_size
        except FileNotFoundError:
            return 0

    async def put(self, user: str, artifact_id: str, piece: Piece, stream: AsyncIterable[bytes]) -> int:
        """Take a piece, from where the last one ended or before; returns how many bytes are here then.

        With all of them, the artifact is stored. Of a stream that breaks, what came before is kept.

        Raises:
            Gap: the piece begins beyond what has arrived.
            WireError, VersionMismatch, PayloadTooLarge, StoreFull, StoreError: as `Blobs.put_artifact`; or the stream
                has more than the piece.
        """
        self._blobs.admit()
        if piece.total > self._blobs.artifact_limit:
            limit = f"more than {self._blobs.artifact_limit} bytes, the most that is taken here"
            raise PayloadTooLarge(f"{artifact_id} has {piece.total} bytes, {limit}")
        path = self._begun(user, artifact_id)
        file = await on_disk(f"file {path}", _opened, path)
        try:
            here = await self._write(file, piece, stream, f"file {path}")
        finally:
            file.close()
        if here == piece.total:
            await self._finish(path, artifact_id)
        return here

    async def _write(self, file: FileIO, piece: Piece, stream: AsyncIterable[bytes], what: str) -> int:
        here, place = os.fstat(file.fileno()).st_size, piece.first
        if here > piece.total:  # it was begun with other bytes
            file.truncate(0)
            here = 0
        if place > here:
            raise Gap(here)
        async for block in gathered(stream):
            if place + len(block) > piece.last + 1:
                raise WireError(f"the piece has more than its {piece.last + 1 - piece.first} bytes; send it again")
            if place + len(block) > here:
                await on_disk(what, _write_at, file, here, block[here - place :])
                here = place + len(block)
            place += len(block)
        return here

    async def _finish(self, path: Path, artifact_id: str) -> None:
        """Store what is whole. What turns out to be none is forgotten, so that it can be sent anew."""
        try:
            await self._blobs.put_artifact(artifact_id, _blocks(path))
        except FileNotFoundError:
            if not self._blobs.has_artifact(artifact_id):  # else another program has just brought it
                raise WireError(f"the beginning of {artifact_id} is gone; send it anew") from None
        except WireError:
            path.unlink(missing_ok=True)
            raise
        path.unlink(missing_ok=True)

    def _begun(self, user: str, artifact_id: str) -> Path:
        self._blobs.check_id(artifact_id)
        name = hashlib.sha256(f"{user}/{artifact_id}".encode()).hexdigest()
        return self._blobs.incoming / f"{name}.part"


def _opened(path: Path) -> FileIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")


def _write_at(file: FileIO, place: int, block: bytes) -> None:
    file.seek(place)
    write_all(file, block)


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with contextlib.closing(await asyncio.to_thread(open, path, "rb")) as file:
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block
