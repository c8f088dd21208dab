"""What workers of the session's endpoints write, whoever called them, and what becomes of workers."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from runpod_flash.backends.base import Json, Look
from runpod_flash.errors import EndpointNotFound, FlashError

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 1.0

Write = Callable[[Mapping[str, Any]], None]
"""Gets each line as an event: `name`, `stream`, `lines`, `job`, `worker`."""


class Writings:
    """Follows endpoints as they come and go."""

    def __init__(self, look: Look, write: Write) -> None:
        self._look, self._write = look, write
        self._following: dict[str, asyncio.Task[None]] = {}

    def follow(self, ids: Mapping[str, str]) -> None:
        """Follow these endpoints, by name, and no others."""
        names = {endpoint_id: name for name, endpoint_id in ids.items()}
        for gone in self._following.keys() - names.keys():
            self._following.pop(gone).cancel()
        for endpoint_id in names.keys() - self._following.keys():
            task = asyncio.create_task(self._read(endpoint_id, names[endpoint_id]), name=f"dev-lines-{endpoint_id}")
            self._following[endpoint_id] = task

    async def close(self) -> None:
        """Follow none."""
        tasks = list(self._following.values())
        self.follow({})
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, endpoint_id: str, name: str) -> None:
        last = 0.0

        def take(line: Json) -> None:
            nonlocal last
            last = max(last, float(line.get("time") or 0.0))
            text, stream = str(line.get("line", "")), str(line.get("stream") or "")
            by = {"job": line.get("job"), "worker": line.get("worker")}
            self._write({"event": "log", "name": name, "stream": stream, "lines": [text], **by})

        while True:
            try:
                await self._look.lines_of_endpoint(endpoint_id, take, since=last, follow=True)
            except EndpointNotFound:
                return
            except FlashError as error:  # that the target is away, the session tells
                logger.debug("endpoint %s is not followed now: %s", name, error)
            await asyncio.sleep(_AGAIN_S)
