"""One HTTP request goes to the target and its answer comes back, both in parts as they come."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from starlette.types import Message, Send

from flash_cli.dev import headers
from flash_cli.dev.inbound import Inbound
from flash_cli.dev.problems import Refused
from flash_cli.dev.upstream import FAULTS, Request, Upstream
from flash_cli.dev.visits import GONE, Passed
from runpod_flash.errors import FlashError

KEPT_BYTES: Final = 4 * 1024**2
"""An answer of more is not looked into."""


class Forwarding:
    """Passes requests on; one that the client leaves is ended at the target, too."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def forward(self, asked: Request, inbound: Inbound, send: Send, *, keep: bool) -> Passed:
        """Send a request and its answer. `keep`: the answer is needed afterwards, if it is not too large.

        Raises:
            Refused: 502 or 503, there is no answer; nothing was sent to the client.
        """
        exchange = asyncio.ensure_future(self._exchange(asked, send, keep=keep))
        gone = asyncio.ensure_future(inbound.gone.wait())
        try:
            await asyncio.wait({exchange, gone}, return_when=asyncio.FIRST_COMPLETED)
            return exchange.result() if exchange.done() else Passed(GONE)
        finally:
            exchange.cancel()
            gone.cancel()
            await asyncio.gather(exchange, gone, return_exceptions=True)

    async def _exchange(self, asked: Request, send: Send, *, keep: bool) -> Passed:
        started = False
        try:
            async with self._upstream.request(asked) as answer:
                worker = headers.value_of(answer.raw_headers, headers.WORKER)
                await send(_head(answer))
                started = True
                return Passed(answer.status, worker, await _relay(answer, send, keep=keep))
        except FlashError as error:
            raise Refused(503, str(error), type(error).__name__) from error
        except FAULTS as error:
            if started:
                raise ConnectionError(f"the answer broke off: {error}") from error
            raise Refused(502, f"the target gave no answer: {error or type(error).__name__}") from error


def _head(answer: aiohttp.ClientResponse) -> Message:
    told = headers.to_client(answer.raw_headers)
    return {"type": "http.response.start", "status": answer.status, "headers": told}


async def _relay(answer: aiohttp.ClientResponse, send: Send, *, keep: bool) -> bytes | None:
    """Pass the body on as it comes; gives it back where it is to be kept and not too large."""
    kept: list[bytes] | None = [] if keep else None
    size = 0
    async for part in _parts(answer):
        size += len(part)
        if kept is not None:
            kept.append(part)
            if size > KEPT_BYTES:
                kept = None
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    return None if kept is None else b"".join(kept)


def _parts(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    return answer.content.iter_any()
