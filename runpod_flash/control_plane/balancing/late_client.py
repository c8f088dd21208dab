"""The client, made when it is first needed: aiohttp takes 150 ms to import, which only load balancing shall pay."""

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from runpod_flash import lazy

if TYPE_CHECKING:
    from runpod_flash.control_plane.balancing.forwarding import Forwarding


class Probe(Protocol):
    """Asks a worker for its health."""

    async def status(self, url: str, seconds: float) -> int | None:
        """The status that a GET of this URL is answered with; None where no answer comes in time."""


class LateClient:
    """Loads and opens the way to workers at the first use, without holding up the loop."""

    def __init__(self) -> None:
        self._forwarding: Forwarding | None = None

    async def get(self) -> "Forwarding":
        """The way to workers."""
        if self._forwarding is None:
            module = await asyncio.to_thread(lazy.load, "runpod_flash.control_plane.balancing.forwarding")
            if self._forwarding is None:  # another one may have been faster
                self._forwarding = cast("Forwarding", module.Forwarding())
        return self._forwarding

    async def status(self, url: str, seconds: float) -> int | None:
        """The status that a GET of this URL is answered with; None where no answer comes in time."""
        return await (await self.get()).client.status(url, seconds)

    async def close(self) -> None:
        """Close all connections to workers; what runs over them is broken off."""
        forwarding, self._forwarding = self._forwarding, None
        if forwarding is not None:
            await forwarding.client.close()
