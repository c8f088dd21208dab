"""Workers for code that is about to be called start before the call comes."""

import asyncio
import contextlib
import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from flash_cli.builds.manifest import BuiltEndpoint
from flash_cli.dev.state import State
from flash_cli.dev.table import is_balanced
from flash_cli.dev.upstream import FAULTS, Request, Upstream
from runpod_flash.errors import FlashError
from worker_runtime.wire import PROTOCOL

_TTL_MS: Final = 60_000
_LONGEST_S: Final = 60.0


class Warming:
    """Asks endpoints to load their code. What comes of it, the calls tell."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._asking: set[asyncio.Task[None]] = set()

    def warm(self, state: State, names: Iterable[str]) -> None:
        """Start a worker for each of these endpoints that has code which can be used."""
        for name in names:
            endpoint, endpoint_id = state.table.endpoints.get(name), state.ids.get(name)
            if endpoint is None or endpoint_id is None or name in state.broken or endpoint.artifact is None:
                continue
            task = asyncio.create_task(self._ask(endpoint, endpoint_id), name=f"dev-warming-{name}")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def close(self) -> None:
        """Stop asking."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def _ask(self, endpoint: BuiltEndpoint, endpoint_id: str) -> None:
        with contextlib.suppress(FlashError, TimeoutError, *FAULTS):  # nobody waits for it
            async with asyncio.timeout(_LONGEST_S), self._upstream.request(_request(endpoint, endpoint_id)) as answer:
                await answer.read()


def _request(endpoint: BuiltEndpoint, endpoint_id: str) -> Request:
    if is_balanced(endpoint):
        return Request("GET", f"/lb/{quote(endpoint_id)}/ping")
    job = {"input": {"flash": {"protocol": PROTOCOL, "check": True}}, "policy": {"ttl": _TTL_MS}}
    body = json.dumps(job).encode()
    return Request("POST", f"/v2/{quote(endpoint_id)}/run", [("Content-Type", "application/json")], body)
