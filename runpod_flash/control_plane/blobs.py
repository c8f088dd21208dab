"""Bytes on disk, named by what they are: values by their sha256, artifacts by the id of their manifest.

    <root>/<ab>/<sha256>         values: arguments and results too large for the JSON
    <root>/<ab>/<range>          such that were in shared memory, by the name of their range there
    <root>/artifacts/<id>        shipped code
    <root>/incoming/…            what is still being written

A file appears under its name complete and checked, or not at all. Several control planes may share one root.
"""

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from io import BytesIO, FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from runpod_flash.control_plane.store import disk_error
from runpod_flash.errors import PayloadTooLarge
from worker_runtime.wire import paths
from worker_runtime.wire.errors import VersionMismatch, WireError

P = ParamSpec("P")
T = TypeVar("T")

VALUE_LIMIT = 4 * 1024**3
ARTIFACT_LIMIT = 256 * 1024**2

_PIECE = 1024**2  # bytes that are written in one go, off the loop
_ID = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """Values and artifacts below one folder. Ids are 64 lower-case hexadecimal digits; others raise WireError.

    Asking for a blob (`has`, `path`, `read`) marks it as used; `collect` removes what nobody has used for long.

    Attributes:
        admit: raises StoreFull where nothing new can be taken from clients.
        size: bytes of all blobs as `collect` last counted them, and of what has come since.
    """

    def __init__(self, root: Path, *, value_limit: int = VALUE_LIMIT, artifact_limit: int = ARTIFACT_LIMIT) -> None:
        self._root = root
        self.value_limit = value_limit
        self.artifact_limit = artifact_limit
        self.size = 0
        self.admit: Callable[[], object] = lambda: None

    @property
    def incoming(self) -> Path:
        """The folder of what is still being written. What nobody goes on with is collected there, too."""
        return self._root / "incoming"

    @staticmethod
    def check_id(name: str) -> None:
        """Raise WireError where a name is no id of a blob."""
        _checked(name)

    # ---- values

    def has(self, sha256: str) -> bool:
        """Whether the value is here."""
        return _touch(self._value(sha256))

    def path(self, sha256: str) -> Path:
        """The value's file. Raises FileNotFoundError."""
        return _present(self._value(sha256))

    async def read(self, sha256: str) -> bytes:
        """The value's bytes. Raises FileNotFoundError."""
        return await asyncio.to_thread(self.path(sha256).read_bytes)

    async def put(self, sha256: str, stream: AsyncIterable[bytes]) -> int:
        """Take a value from a stream; returns its size in bytes.

        Raises:
            WireError: the bytes have another hash.
            PayloadTooLarge, StoreFull, StoreError: as named.
        """
        self.admit()
        return await self._put(sha256, stream)

    async def _put(self, sha256: str, stream: AsyncIterable[bytes]) -> int:
        target = self._value(sha256)

        def check(file: FileIO, digest: str) -> None:
            if digest != sha256:
                raise WireError(
                    f"the value was announced as {sha256} and its bytes have sha256 {digest}; send it again"
                )

        return await self._receive(target, stream, self.value_limit, check)

    async def put_bytes(self, sha256: str, data: bytes) -> None:
        """Take a result, even where nothing new is accepted. Raises as `put` does."""
        await self._put(sha256, _pieces(data))

    async def put_copy(self, name: str, pieces: Callable[[], Iterable[bytes]]) -> None:
        """Take a value from memory, under the name that it had there, even where nothing new is accepted.

        Raises:
            StoreFull, StoreError: as named.
        """
        target = self._value(name)
        if not target.exists():
            self.size += await on_disk(f"file {target}", self._copy, target, pieces)

    def _copy(self, target: Path, pieces: Callable[[], Iterable[bytes]]) -> int:
        file, temporary = _new_incoming(self._root)
        try:
            with file:
                for piece in pieces():
                    write_all(file, piece)
                size = file.tell()
            _publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return size

    # ---- artifacts

    def has_artifact(self, artifact_id: str) -> bool:
        """Whether the artifact is here."""
        return _touch(self._artifact(artifact_id))

    def artifact_path(self, artifact_id: str) -> Path:
        """The artifact's file. Raises FileNotFoundError."""
        return _present(self._artifact(artifact_id))

    def read_artifact(self, artifact_id: str) -> bytes:
        """The artifact's bytes. Raises FileNotFoundError."""
        return self.artifact_path(artifact_id).read_bytes()

    async def put_artifact(self, artifact_id: str, stream: AsyncIterable[bytes]) -> int:
        """Take an artifact from a stream; returns its size in bytes.

        Raises:
            WireError: it is no artifact, or that of another manifest.
            VersionMismatch: its client speaks another protocol version.
            PayloadTooLarge, StoreFull, StoreError: as named.
        """
        self.admit()
        target = self._artifact(artifact_id)

        def check(file: FileIO, digest: str) -> None:
            file.seek(0)
            found = _manifest_id(file.read())
            if found != artifact_id:
                raise WireError(f"the artifact was announced as {artifact_id} and its manifest has id {found}")

        return await self._receive(target, stream, self.artifact_limit, check)

    # ---- all of them

    async def collect(self, now: float, keep_s: float, keep: Collection[str] = ()) -> int:
        """Delete what nobody has used for `keep_s` seconds, but for the ids in `keep`; returns how many.

        Those in `keep` count as used: another control plane that shares the folder does not know of them.
        """
        return await asyncio.to_thread(self._collect, now - keep_s, frozenset(keep))

    def _collect(self, older_than: float, keep: Collection[str]) -> int:
        removed = size = 0
        for path in self._root.glob("*/*"):
            abandoned = path.parent.name == "incoming"  # if it is that old: its process was killed
            try:
                found = path.stat()
                size += found.st_size
                if path.name in keep:
                    _touch(path)
                    continue
                if not (abandoned or _ID.fullmatch(path.name)):
                    continue
                if found.st_mtime < older_than:
                    path.unlink()
                    removed += 1
                    size -= found.st_size
            except FileNotFoundError:  # another control plane was faster
                continue
        self.size = size
        return removed

    def _value(self, sha256: str) -> Path:
        return self._root / _checked(sha256)[:2] / sha256

    def _artifact(self, artifact_id: str) -> Path:
        return self._root / "artifacts" / _checked(artifact_id)

    async def _receive(
        self, target: Path, stream: AsyncIterable[bytes], limit: int, check: Callable[[FileIO, str], None]
    ) -> int:
        what = f"file {target}"
        file, temporary = await on_disk(what, _new_incoming, self._root)
        digest, size = hashlib.sha256(), 0
        try:
            async for piece in gathered(stream):
                size += len(piece)
                if size > limit:
                    raise PayloadTooLarge(f"{target.name} has more than {limit} bytes, the most that is taken here")
                await on_disk(what, _append, file, digest.update, piece)
            await on_disk(what, check, file, digest.hexdigest())
            await on_disk(what, _publish, temporary, target)
            self.size += size
        finally:
            file.close()
            temporary.unlink(missing_ok=True)
        return size


async def on_disk(what: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread and, even when cancelled, wait for its end: it must not write to a file that was closed.

    Raises:
        StoreError: for each OSError.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
    except OSError as error:
        raise disk_error(error, what) from error


def new_file(folder: Path) -> tuple[FileIO, Path]:
    """An empty file in a folder, for this user alone, and its path."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    return FileIO(descriptor, "r+b"), Path(name)


def write_all(file: FileIO, piece: bytes) -> None:
    """Write the whole of a piece: an unbuffered file may take a part only."""
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _new_incoming(root: Path) -> tuple[FileIO, Path]:
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    (root / "incoming").mkdir(mode=0o700, exist_ok=True)
    return new_file(root / "incoming")


def _append(file: FileIO, update: Callable[[bytes], None], piece: bytes) -> None:
    write_all(file, piece)
    update(piece)


def _publish(temporary: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, exist_ok=True)
    temporary.replace(target)


def _manifest_id(data: bytes) -> str:
    try:
        return paths.read_manifest(data).id
    except (WireError, VersionMismatch):
        raise
    except Exception as error:
        raise WireError(f"these bytes are no artifact ({type(error).__name__}: {error})") from error


async def gathered(stream: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The stream in pieces of about a megabyte: each is one trip to a thread."""
    buffer = BytesIO()
    async for chunk in stream:
        buffer.write(chunk)
        if buffer.tell() >= _PIECE:
            yield buffer.getvalue()
            buffer = BytesIO()
    if buffer.tell():
        yield buffer.getvalue()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _checked(name: str) -> str:
    if not _ID.fullmatch(name):
        raise WireError(f"{name!r:.80} is no id of a value or artifact: 64 lower-case hexadecimal digits")
    return name


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # a file system that cannot be written: then nothing is collected there either
        return path.exists()
    return True


def _present(path: Path) -> Path:
    if not _touch(path):
        raise FileNotFoundError(path)
    return path
