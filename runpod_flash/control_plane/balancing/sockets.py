"""A websocket goes to a worker: messages both ways, codes and reasons of the end, nothing else.

Pings and pongs are of one connection only: each of the two is kept alive by its own ends. Each message waits until the
other side has taken the one before, so a slow end slows the other one down. An end without a code (1005) goes on as
1000, as a code there must be; one without a close at all (1006) as 1001 to the worker and 1011 to the client.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import ClientWebSocketResponse, ClientWSTimeout, WSMsgType
from starlette.types import Scope, Send

from runpod_flash.control_plane.balancing import headers
from runpod_flash.control_plane.balancing.client import FAULTS, Client, Redirected, worker_url
from runpod_flash.control_plane.balancing.client_side import ClientSide
from runpod_flash.control_plane.balancing.picking import Upstream
from runpod_flash.control_plane.balancing.refusals import UpgradeRefused
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem

_CLOSING_S: Final = 5.0
_NORMAL, _AWAY, _NO_CODE, _TOO_BIG, _BROKEN = 1000, 1001, 1005, 1009, 1011
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_LONGEST_REASON: Final = 123


class Sockets:
    """Opens websockets to workers, and passes messages on."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def connect(self, scope: Scope, worker: Upstream, path: bytes, limits: Limits) -> ClientWebSocketResponse:
        """Open a websocket to a worker.

        Raises:
            UpgradeRefused: the worker refuses it.
            Problem: 502 or 504, there is no answer, or none that is HTTP.
        """
        try:
            async with asyncio.timeout(limits.balanced_s):
                return await self._client.session.ws_connect(
                    worker_url(worker.port, path, scope["query_string"]),
                    headers=headers.to_worker(scope),
                    protocols=scope["subprotocols"],
                    max_msg_size=limits.balanced_bytes + 1,
                    timeout=ClientWSTimeout(ws_close=_CLOSING_S),
                    autoclose=False,  # the client hears of an end first
                )
        except TimeoutError as error:
            raise Problem(504, f"the worker did not open the websocket within {limits.balanced_s:g} s") from error
        except (aiohttp.WSServerHandshakeError, Redirected) as error:
            if error.status == 101:
                raise Problem(502, f"the worker opens the websocket wrongly: {error}") from error
            told = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in error.headers.items()]  # type: ignore[union-attr]
            raise UpgradeRefused(error.status, told) from error
        except FAULTS as error:
            raise Problem(502, f"the worker did not open the websocket: {error or type(error)}") from error

    @staticmethod
    async def converse(
        socket: ClientWebSocketResponse, client: ClientSide, named: list[tuple[bytes, bytes]], limits: Limits
    ) -> None:
        """Accept with these headers, pass messages on until one side ends, then end the other one likewise."""
        try:
            with contextlib.suppress(OSError):  # the client has left just now; its first message says that, too
                await client.send({"type": "websocket.accept", "subprotocol": socket.protocol, "headers": named})
            await _relay(socket, client, limits)
        finally:
            await socket.close(code=_AWAY)


@dataclass(frozen=True, slots=True)
class _End:
    """How one side ended. `by_us`: it has not, but it must."""

    code: int
    reason: str = ""
    by_us: bool = False


async def _relay(socket: ClientWebSocketResponse, client: ClientSide, limits: Limits) -> None:
    to_worker = asyncio.ensure_future(_to_worker(socket, client, limits))
    to_client = asyncio.ensure_future(_to_client(socket, client.send))
    pumps = {to_worker, to_client}
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        if all(pump.result() is None for pump in pumps if pump.done()):  # it cannot write; the other one reads why
            await asyncio.wait(pumps)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)
    asked, told = (None if pump.cancelled() else pump.result() for pump in (to_worker, to_client))
    for_client = told or (asked if asked is not None and asked.by_us else None)
    if for_client is not None:
        with contextlib.suppress(OSError, RuntimeError):  # it may have left meanwhile; servers say that differently
            await client.send({"type": "websocket.close", "code": for_client.code, "reason": for_client.reason})
    for_worker = asked or told
    if for_worker is not None:
        await socket.close(code=for_worker.code, message=for_worker.reason.encode()[:_LONGEST_REASON])


async def _to_worker(socket: ClientWebSocketResponse, client: ClientSide, limits: Limits) -> _End | None:
    """Pass on what the client says; gives how it ended, None where the worker does not take it any more."""
    message = await client.first
    while message["type"] == "websocket.receive":
        text, data = message.get("text"), message.get("bytes")
        payload = text.encode() if text is not None else data or b""
        if len(payload) > limits.balanced_bytes:
            return _End(_TOO_BIG, f"more than {limits.balanced_bytes} bytes", by_us=True)
        try:
            await socket.send_frame(payload, WSMsgType.BINARY if text is None else WSMsgType.TEXT)
        except FAULTS:
            return None
        message = await client.receive()
    code = message.get("code", _NO_CODE)
    return _End(_sendable(code, _AWAY), message.get("reason") or "")


async def _to_client(socket: ClientWebSocketResponse, send: Send) -> _End | None:
    """Pass on what the worker says; gives how it ended, None where the client does not take it any more."""
    while True:
        message = await socket.receive()
        try:
            if message.type is WSMsgType.TEXT:
                await send({"type": "websocket.send", "text": message.data})
            elif message.type is WSMsgType.BINARY:
                await send({"type": "websocket.send", "bytes": message.data})
            elif message.type is WSMsgType.CLOSE:
                return _End(_sendable(message.data or _NO_CODE, _BROKEN), message.extra or "")
            elif message.type is WSMsgType.ERROR and socket.close_code == _TOO_BIG:
                return _End(_TOO_BIG, "the worker's message is too big")
            else:
                return _End(_BROKEN, "the worker's connection broke off")
        except OSError:  # as ASGI has it
            return None


def _sendable(code: int, otherwise: int) -> int:
    """A code that may be sent. Pure."""
    if code == _NO_CODE:
        return _NORMAL
    return code if code in _SENDABLE or 3000 <= code < 5000 else otherwise
