"""Results that are too large for the JSON: stored as values; a disk that is full is given time to get room."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Protocol

from runpod_flash.control_plane.store import StoreFull
from runpod_flash.errors import BackendError
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind

logger = logging.getLogger(__name__)

AGAIN_S = 0.5
PATIENCE_S = 10.0


class Values(Protocol):
    """What the dispatcher needs of the blobs."""

    def has(self, sha256: str) -> bool: ...

    def read(self, sha256: str) -> Awaitable[bytes]: ...

    def put_bytes(self, sha256: str, data: bytes) -> Awaitable[None]: ...


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
