"""HTTP/1.1 to a platform on this machine, below httpx's clients: asyncio's own streams and h11.

httpx's own transport loads anyio and httpcore, which takes longer than a program's first call.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import h11
import httpx

_READ: Final = 64 * 1024
_NOTHING: Final = {"connect": None, "read": None, "write": None}
_HEAD_LIMIT: Final = 256 * 1024


class NearTransport(httpx.AsyncBaseTransport):
    """Makes requests on the running event loop. `kept`: how many idle connections stay, for `kept_s` seconds each."""

    def __init__(self, host: str, port: int, socket: str | None, kept: int, kept_s: float) -> None:
        """`socket`: the path of a unix socket, which goes before `host` and `port`."""
        self._host, self._port, self._socket = host, port, socket
        self._kept, self._kept_s = kept, kept_s
        self._idle: list[_Wire] = []
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body is read as it is asked for. Raises httpx.TransportError."""
        limits: dict[str, float | None] = request.extensions.get("timeout", _NOTHING)
        wire = self._take() or await self._connect(limits.get("connect"))
        try:
            with contextlib.suppress(httpx.WriteError):  # there may be an answer all the same, which says why
                await wire.send(request, limits.get("write"))
            head = await wire.head(limits.get("read"))
        except BaseException:
            await wire.close()
            raise
        body = _Body(self, wire, limits.get("read"))
        extensions = {"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason}
        return httpx.Response(head.status_code, headers=list(head.headers), stream=body, extensions=extensions)

    async def aclose(self) -> None:
        """Close what is idle; a connection that is in use closes when its answer has been read."""
        self._closed = True
        idle, self._idle = self._idle, []
        for wire in idle:
            await wire.close()

    async def give_back(self, wire: "_Wire") -> None:
        """An answer was read, or is given up."""
        if not self._closed and len(self._idle) < self._kept and wire.can_go_on():
            wire.idle_since = time.monotonic()
            self._idle.append(wire)
        else:
            await wire.close()

    def _take(self) -> "_Wire | None":
        while self._idle:
            wire = self._idle.pop()
            if time.monotonic() - wire.idle_since < self._kept_s and wire.is_open:
                return wire
            wire.drop()
        return None

    async def _connect(self, seconds: float | None) -> "_Wire":
        try:
            async with asyncio.timeout(seconds):
                if self._socket is not None:
                    return _Wire(*await asyncio.open_unix_connection(self._socket, limit=_HEAD_LIMIT))
                return _Wire(*await asyncio.open_connection(self._host, self._port, limit=_HEAD_LIMIT))
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {seconds} s") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error


class _Wire:
    """One connection, and what h11 makes of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT)
        self.idle_since = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the other end has not closed it, as far as is known."""
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def send(self, request: httpx.Request, seconds: float | None) -> None:
        """Send the whole request. Raises httpx.WriteError, httpx.WriteTimeout, httpx.LocalProtocolError."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        waiting = self._encoded(head)
        async for chunk in request.stream:
            waiting += self._encoded(h11.Data(data=chunk))
            if len(waiting) > _READ:
                await self._write(waiting, seconds)
                waiting = b""
        await self._write(waiting + self._encoded(h11.EndOfMessage()), seconds)

    def _encoded(self, event: h11.Event) -> bytes:
        try:
            return self._http.send(event) or b""
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error

    async def _write(self, data: bytes, seconds: float | None) -> None:
        with _as_of_httpx(httpx.WriteError, httpx.WriteTimeout, seconds):
            self._writer.write(data)
            async with asyncio.timeout(seconds):
                await self._writer.drain()

    async def head(self, seconds: float | None) -> h11.Response:
        """The head of the answer. Raises httpx.ReadError, httpx.ReadTimeout, httpx.RemoteProtocolError."""
        while True:
            event = await self._event(seconds)
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise httpx.RemoteProtocolError("the server has closed the connection without an answer")

    async def part(self, seconds: float | None) -> bytes | None:
        """The next part of the answer's body, None at its end. Raises as `head` does."""
        event = await self._event(seconds)
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _event(self, seconds: float | None) -> Any:
        with _as_of_httpx(httpx.ReadError, httpx.ReadTimeout, seconds):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(seconds):
                    self._http.receive_data(await self._reader.read(_READ))
            return event

    def can_go_on(self) -> bool:
        """Whether another request can follow; from then on it can."""
        if not (self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and self.is_open):
            return False
        self._http.start_next_cycle()
        return True

    def drop(self) -> None:
        """Close it without waiting."""
        self._writer.close()

    async def close(self) -> None:
        """Close it."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class _Body(httpx.AsyncByteStream):
    """The body of an answer. Its connection goes back when it is closed, which httpx does at its end."""

    def __init__(self, transport: NearTransport, wire: _Wire, seconds: float | None) -> None:
        self._transport, self._wire, self._seconds = transport, wire, seconds
        self._given_back = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (part := await self._wire.part(self._seconds)) is not None:
                yield part
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        if not self._given_back:
            self._given_back = True
            await self._transport.give_back(self._wire)


@contextlib.contextmanager
def _as_of_httpx(
    broken: type[httpx.TransportError], late: type[httpx.TransportError], seconds: float | None
) -> Iterator[None]:
    """Exceptions of asyncio and h11 become those of httpx."""
    try:
        yield
    except TimeoutError as error:
        raise late(f"nothing for {seconds} s") from error
    except OSError as error:
        raise broken(str(error) or type(error).__name__) from error
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from error
