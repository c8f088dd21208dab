"""One connection of HTTP/1.1 to a platform on this machine: what is asked is bytes, what is answered httptools reads.

write ──▶ platform ──▶ parser ──▶ the whole answer, or its head and then its parts as they come
                         errors of the connection and of the parser are those of httpx
"""

import asyncio
from typing import Final, NamedTuple, cast

import httptools
import httpx

_WAITS: Final = 256 * 1024  # bytes of an answer that wait for who reads its parts; then the platform has to wait


class Head(NamedTuple):
    """Status, names and values of headers as they came, the words behind the status, version of HTTP."""

    status: int
    headers: list[tuple[bytes, bytes]]
    reason: bytes
    version: str


class Line(asyncio.Protocol):
    """One connection, for one request at a time: `write` it, then read its `whole` answer, or `head` and each `part`.

    Seconds are those in which nothing comes, or can be written; None: no limit. All raise httpx.TransportError.

    Attributes:
        goes_on: whether another request can follow.
        idle_since: monotonic seconds.
    """

    def __init__(self) -> None:
        self.goes_on, self.idle_since = True, 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._told: asyncio.Future[None] | None = None  # somebody waits for more of the answer
        self._writable: asyncio.Future[None] | None = None  # nothing more is to be written until then
        self._patience: asyncio.TimerHandle | None = None
        self._heard = 0.0  # by the clock of the loop
        self._lost: httpx.TransportError | None = None
        self._holds_back = False  # the platform, as parts wait
        self._begin(body=True)

    def _begin(self, *, body: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._parts: list[bytes] = []
        self._waits = 0  # bytes of the parts
        self._asked = self._sent = self._has_head = self._has_ended = self._in_parts = False
        self._endless = False  # the answer's body goes on until the connection ends
        self._has_body = body

    # ---- asking

    def write(self, data: bytes, *, ends: bool = True, body: bool = True) -> None:
        """Send a request, or a part of it. `ends`: it is whole with that. `body`: its answer may have one."""
        if not self._asked:
            self._begin(body=body)
            self._asked = True
        self._transport.write(data)
        self._sent = ends

    async def drained(self, seconds: float | None) -> bool:
        """Wait until more can be written; False: the connection has ended, or is answered, so there is no use in it."""
        if self._writable is not None:
            try:
                async with asyncio.timeout(seconds):
                    await self._writable
            except TimeoutError as error:
                raise httpx.WriteTimeout(f"nothing can be written for {seconds:g} s") from error
        return self._lost is None and not self._has_ended

    # ---- reading

    async def whole(self, seconds: float | None) -> tuple[Head, bytes]:
        """The answer and its body."""
        if not self._has_ended and self._lost is None:
            await self._wait(seconds)
        if not self._has_ended and self._lost is not None:
            raise self._lost
        return self._head(), b"".join(self._parts)

    async def head(self, seconds: float | None) -> Head:
        """The head of the answer, of which parts are read then."""
        self._in_parts = True
        while not self._has_head:
            if self._lost is not None:
                raise self._lost
            await self._wait(seconds)
        return self._head()

    async def part(self, seconds: float | None) -> bytes | None:
        """The next part of the answer's body, None at its end."""
        while not self._parts:
            if self._has_ended:
                return None
            if self._lost is not None:
                raise self._lost
            await self._wait(seconds)
        part = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._waits = 0
        if self._holds_back:
            self._holds_back = False
            self._transport.resume_reading()
        return part

    def close(self) -> None:
        """Close it."""
        self.goes_on = False
        self._transport.close()

    def rest(self) -> None:
        """The answer was read: another request may follow."""
        self._asked = False

    def _head(self) -> Head:
        parser = self._parser
        return Head(parser.get_status_code(), self._headers, self._reason, parser.get_http_version())

    async def _wait(self, seconds: float | None) -> None:
        """Until there is more, or all, of the answer."""
        told = self._told = self._loop.create_future()
        if seconds is not None:
            self._heard = self._loop.time()
            self._patience = self._loop.call_later(seconds, self._look, seconds)
        try:
            await told
        finally:
            self._told = None
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    def _look(self, seconds: float) -> None:
        left = self._heard + seconds - self._loop.time()
        if left > 0:
            self._patience = self._loop.call_later(left, self._look, seconds)
        else:
            self._fail(httpx.ReadTimeout(f"nothing for {seconds:g} s"))

    def _fail(self, error: httpx.TransportError) -> None:
        self.goes_on = False
        if self._lost is None:
            self._lost = error
        self._tell()

    def _tell(self) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    # ---- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._endless and error is None and not self._has_ended:
            self._has_ended = True
        why = str(error) if error is not None else "the server has closed the connection without an answer"
        self._fail(httpx.ReadError(why) if error is not None else httpx.RemoteProtocolError(why))
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if not self._asked or self._has_ended:  # nothing was asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(str(error)))
            return
        if self._in_parts:
            if self._waits > _WAITS and not self._holds_back and not self._has_ended:
                self._holds_back = True
                self._transport.pause_reading()
            self._tell()
        elif self._has_ended:
            self._tell()

    # ---- what the parser says

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        self._has_head = True
        told = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self._headers)
        self._endless = self._has_body and not told and status not in (204, 304)
        if not self._has_body:
            self._has_ended, self.goes_on = True, False

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._waits += len(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # the answer follows
            self._headers, self._reason = [], b""
            return
        # Else the answer has come before the request was read.
        is_sent = self._sent and not self._transport.get_write_buffer_size()
        self.goes_on = self.goes_on and is_sent and self._parser.should_keep_alive()
        self._has_ended = True
