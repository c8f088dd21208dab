"""A websocket to an endpoint: messages both ways, and how it ended."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import aiohttp
from aiohttp import ClientWebSocketResponse, WSMsgType
from starlette.types import Receive, Scope, Send

from flash_cli.dev import headers
from flash_cli.dev.problems import Refused
from flash_cli.dev.upstream import FAULTS, Upstream
from runpod_flash.errors import FlashError

MOST_BYTES: Final = 32 * 1024**2
_NORMAL, _AWAY, _NO_CODE, _BROKEN = 1000, 1001, 1005, 1011
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_LONGEST_REASON: Final = 120


async def relay(
    upstream: Upstream, path: str, scope: Scope, receive: Receive, send: Send, added: Sequence[tuple[str, str]]
) -> int:
    """Connect a client's websocket to `path` of the target until one of the two ends; gives the status: 101.

    Raises:
        Refused: the target or the endpoint does not open it.
    """
    await receive()  # websocket.connect
    sent = headers.to_target(scope["headers"], added)
    try:
        socket = await upstream.websocket(path, sent, scope.get("subprotocols", ()), MOST_BYTES)
    except aiohttp.WSServerHandshakeError as error:
        raise Refused(
            error.status if error.status >= 400 else 502, f"the endpoint opens no websocket: {error.message}"
        ) from error
    except FlashError as error:
        raise Refused(503, str(error), type(error).__name__) from error
    except FAULTS as error:
        raise Refused(502, f"the target opens no websocket: {error}") from error
    try:
        await send({"type": "websocket.accept", "subprotocol": socket.protocol})
        await _converse(socket, receive, send)
    finally:
        await socket.close(code=_AWAY)
    return 101


async def _converse(socket: ClientWebSocketResponse, receive: Receive, send: Send) -> None:
    pumps = {asyncio.ensure_future(_inwards(socket, receive)), asyncio.ensure_future(_outwards(socket, send))}
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _inwards(socket: ClientWebSocketResponse, receive: Receive) -> None:
    """What the client says, and how it ends."""
    with contextlib.suppress(*FAULTS):  # the other side has ended: what it said tells how
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is not None:
                await socket.send_str(text)
            else:
                await socket.send_bytes(message.get("bytes") or b"")
        reason = (message.get("reason") or "").encode()[:_LONGEST_REASON]
        await socket.close(code=_sendable(message.get("code", _NO_CODE), _AWAY), message=reason)


async def _outwards(socket: ClientWebSocketResponse, send: Send) -> None:
    """What the endpoint says, and how it ends."""
    with contextlib.suppress(OSError, RuntimeError):  # the client has left
        while True:
            message = await socket.receive()
            if message.type is WSMsgType.TEXT:
                await send({"type": "websocket.send", "text": message.data})
            elif message.type is WSMsgType.BINARY:
                await send({"type": "websocket.send", "bytes": message.data})
            else:
                code = _sendable(message.data or _NO_CODE, _BROKEN) if message.type is WSMsgType.CLOSE else _BROKEN
                reason = str(message.extra or "") if message.type is WSMsgType.CLOSE else ""
                await send({"type": "websocket.close", "code": code, "reason": reason})
                return


def _sendable(code: int, otherwise: int) -> int:
    """A code that may be sent."""
    if code == _NO_CODE:
        return _NORMAL
    return code if code in _SENDABLE or 3000 <= code < 5000 else otherwise
