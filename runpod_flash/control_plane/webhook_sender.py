"""One POST of a webhook, to an address that the rules allow and that is not looked up a second time."""

import asyncio
import contextlib
import hashlib
import io
import secrets
import socket
import threading
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.webhook_guard import AddressRefused, refuse_address, refuse_addresses, target
from runpod_flash.release import VERSION


class WebhookSender:
    """Sends webhooks, as an async context manager: it has no connection open after its end."""

    def __init__(self, limits: Limits) -> None:
        self._timeout_s = limits.webhook_timeout_s
        self._private = limits.webhook_private

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=_GuardedResolver(self._private),
            socket_factory=self._socket,
            use_dns_cache=False,
            force_close=True,  # an old connection that the receiver is about to close would cost a try
            limit=0,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            auto_decompress=False,
            trust_env=False,  # a proxy would look the host up by itself
            headers={"User-Agent": f"runpod-flash/{VERSION}", "Content-Type": "application/json"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes, *, trace: str) -> str | None:
        """Send it once. None where the receiver has accepted it (2xx), else why not, in words that hold no secret.

        `trace` is the same for all tries of one webhook. Never takes longer than the time for a try.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(url, body, trace)
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except Problem as problem:
            return problem.detail
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause = getattr(error, "os_error", error)
            return str(cause) if isinstance(cause, AddressRefused) else type(error).__name__

    async def _post(self, url: str, body: bytes, trace: str) -> str | None:
        where = target(url, private=self._private)
        headers = {"traceparent": traceparent(trace)}
        posting = self._session.post(where, data=io.BytesIO(body), headers=headers, allow_redirects=False)
        async with posting as response:
            return None if 200 <= response.status < 300 else f"answered {response.status}"

    def _socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """The last word: this is the address that is connected to, however it was found."""
        family, kind, protocol, _, address = info
        refuse_address(str(address[0]), private=self._private)
        return socket.socket(family, kind, protocol)


class _GuardedResolver(AbstractResolver):
    """Finds the addresses of a host, and refuses it where one of them is not allowed."""

    def __init__(self, private: bool) -> None:
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await _addresses(host, port, family)
        refuse_addresses([str(address[0]) for *_, address in found], private=self._private)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def _addresses(host: str, port: int, family: int) -> list[tuple[Any, ...]]:
    """What the system's resolver says. It can take its time: in the executor it would hold up all others' work, and
    a stop of the control plane, so it has a thread that nobody waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

    def answer(found: list[tuple[Any, ...]] | OSError) -> None:
        if future.done():  # nobody waits any more
            return
        if isinstance(found, OSError):
            future.set_exception(found)
        else:
            future.set_result(found)

    def look_up() -> None:
        found: list[tuple[Any, ...]] | OSError
        try:
            found = list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))
        except OSError as error:
            found = error
        except UnicodeError:
            found = OSError("not the name of a host")
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(answer, found)

    threading.Thread(target=look_up, name="webhook-lookup", daemon=True).start()
    return await future


def traceparent(trace: str) -> str:
    """A W3C trace context: the same trace for the same text, a new span each time."""
    span = secrets.randbits(64) or 1
    return f"00-{hashlib.sha256(trace.encode()).hexdigest()[:32]}-{span:016x}-01"
