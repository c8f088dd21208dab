"""Results: inside the job's output, or stored as values; a disk that is full is given time to get room."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from runpod_flash.control_plane.records import PlainOutput
from runpod_flash.control_plane.store import StoreFull
from runpod_flash.errors import BackendError
from worker_runtime.wire import plain_json
from worker_runtime.wire.frames import Body
from worker_runtime.wire.jobs import (
    INLINE_LIMIT,
    PLAIN_LIMIT,
    Call,
    ErrorInfo,
    ErrorKind,
    Payload,
    checked_output,
    stream_output,
)
from worker_runtime.wire.ranges import Range

logger = logging.getLogger(__name__)

AGAIN_S = 0.5
PATIENCE_S = 10.0

INLINE_RESULT_LIMIT = 15 * 1024**2
"""The largest result that is put into the job's output where a call asks for that: 20 MiB of base64."""


class Values(Protocol):
    """What the dispatcher needs of the blobs."""

    def has(self, sha256: str) -> bool: ...

    def read(self, sha256: str) -> Awaitable[bytes]: ...

    def put_bytes(self, sha256: str, data: bytes) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Told:
    """The `output` of a job that ended well, as its record has it."""

    output: Any


def as_kept(body: Body | Range) -> bytes | Range:
    """A result as it is kept. A large one stays as it is: nobody changes it, so that it is as good as bytes."""
    if isinstance(body, Range):
        return body
    return bytes(body) if len(body) <= INLINE_LIMIT else cast(bytes, body)


def outcome_of(call: Call, body: bytes | Range, items: int, *, read: bool) -> Told | Payload | ErrorInfo | Range:
    """What becomes of the result of a call: told, stored first, left where it is, or that it is too large.

    Args:
        items: how many came of its stream.
        read: whether somebody has read some of them.
    """
    if call.check:
        return Told(checked_output())
    if call.stream:
        return Told(stream_output(items))
    if isinstance(body, Range):
        return _MISPLACED if call.plain or call.inline else body
    if call.plain:
        return _plain(body, items, read=read)
    payload = described(call, body)
    return Told(payload) if isinstance(payload, Payload) and payload.sha256 is None else payload


_MISPLACED = ErrorInfo(
    ErrorKind.PLATFORM, "WireError", "the worker has left a result in shared memory that must travel"
)


def _plain(body: bytes, items: int, *, read: bool) -> Told | ErrorInfo:
    """The result of a plain call; of a generator the list of its items, which a reader of its stream has anyway."""
    if not body and read:
        return Told(None)
    if body and len(body) <= PLAIN_LIMIT:
        try:
            return Told(_text_of(body))
        except (ValueError, RecursionError) as error:
            return ErrorInfo(ErrorKind.PLATFORM, "WireError", f"the worker has sent a result that is no JSON: {error}")
    size = f"{len(body)} bytes" if body else f"{items} items with more than {PLAIN_LIMIT} bytes"
    text = (
        f"the value was computed but has {size} of JSON, and a job's output carries up to {PLAIN_LIMIT}; return less, "
        "write it where the caller can read it, yield it piece by piece to a reader of /stream, or call the endpoint "
        "from Python"
    )
    return ErrorInfo(ErrorKind.TOO_LARGE, "PayloadTooLarge", text)


def _text_of(body: bytes) -> PlainOutput | None:
    """A plain result as its job has it; null is none. Raises ValueError, RecursionError: it is no JSON."""
    text = str(body, "utf-8")
    return None if plain_json.decode(text) is None else PlainOutput(text)


def described(call: Call, body: bytes) -> Payload | ErrorInfo:
    """How the result of a call is told: inside the job's output, as a value to be kept, or that it is too large."""
    if not call.inline:
        return Payload.of(body)
    if len(body) <= INLINE_RESULT_LIMIT:
        return Payload.inlined(body)
    text = (
        f"the value was computed but has {len(body)} bytes, and the published API carries results of up to "
        f"{INLINE_RESULT_LIMIT} bytes inside a job; return less, write it where the caller can read it, or use a "
        "platform that has /flash/v1/, which takes results of any size"
    )
    return ErrorInfo(ErrorKind.TOO_LARGE, "PayloadTooLarge", text)


class Results:
    """Keeps results. `patience_s`: how long one waits for room on a full disk before it is given up."""

    def __init__(self, values: Values, patience_s: float = PATIENCE_S) -> None:
        self._values = values
        self.patience_s = patience_s

    async def keep(self, sha256: str, body: bytes) -> ErrorInfo | None:
        """Store a result; the failure to tell where it cannot be stored."""
        end = time.monotonic() + self.patience_s
        while True:
            try:
                await self._values.put_bytes(sha256, body)
                return None
            except (OSError, BackendError) as error:
                if not isinstance(error, StoreFull) or time.monotonic() + AGAIN_S > end:
                    text = f"the result of {len(body)} bytes cannot be stored: {error}"
                    return ErrorInfo(ErrorKind.PLATFORM, type(error).__name__, text)
                logger.warning("a result of %d bytes waits for room on the disk", len(body))
            await asyncio.sleep(AGAIN_S)
