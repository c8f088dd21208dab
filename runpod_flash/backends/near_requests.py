"""Requests to a platform on this machine whose answers are read whole: without httpx, which takes longer than a call.

ask ── one write ──▶ platform ──▶ the parser of httptools ──▶ the answer, or an exception of httpx
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, cast
from urllib.parse import quote

import httptools
import httpx

_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"  # what a target may have beside letters, digits and "_.-"

_WITH_BODY: Final = ("PATCH", "POST", "PUT")

Found: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers with names in lower case, body."""


class NearRequests:
    """Makes requests on the running event loop. `kept`: how many idle connections stay, for `kept_s` seconds each."""

    def __init__(
        self,
        place: tuple[str, int] | str,
        headers: Sequence[tuple[str, str]],
        kept: int,
        kept_s: float,
        connect_s: float,
    ) -> None:
        """`place`: host and port, or the path of a unix socket; `headers`: those of every request."""
        self._place = place
        self._head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._lines = 2 + len(headers)  # of a head without others
        self._kept, self._kept_s, self._connect_s = kept, kept_s, connect_s
        self._idle: list[_Line] = []
        self._closed = False

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes | None, silence_s: float | None
    ) -> Found:
        """Send a request, no HEAD, and read its answer, of which `silence_s` seconds nothing may come.

        Raises httpx.TransportError.
        """
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        has_body = content is not None or method in _WITH_BODY
        length = f"content-length: {len(content or b'')}\r\n" if has_body else ""
        head = f"{method} {quote(target, safe=_SAFE)} HTTP/1.1\r\n{self._head}{lines}{length}\r\n"
        if head.count("\r\n") != self._lines + len(headers) + bool(length):
            raise httpx.LocalProtocolError("a header has the end of a line in it")
        line = self._take() or await self._connect()
        try:
            answer = await line.ask(head.encode("latin-1") + (content or b""), silence_s)
        except BaseException:
            line.close()
            raise
        if line.goes_on and not self._closed and len(self._idle) < self._kept:
            line.idle_since = time.monotonic()
            self._idle.append(line)
        else:
            line.close()
        return answer

    def close(self) -> None:
        """Close what is idle; what is in use closes when its answer has been read."""
        self._closed = True
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def _take(self) -> "_Line | None":
        while self._idle:
            line = self._idle.pop()
            if line.goes_on and time.monotonic() - line.idle_since < self._kept_s:
                return line
            line.close()
        return None

    async def _connect(self) -> "_Line":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                if isinstance(self._place, str):
                    return (await loop.create_unix_connection(_Line, self._place))[1]
                return (await loop.create_connection(_Line, *self._place))[1]
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {self._connect_s:g} s") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error


class _Line(asyncio.Protocol):
    """One connection, for one request at a time.

    Attributes:
        goes_on: whether another request can follow.
        idle_since: monotonic seconds.
    """

    def __init__(self) -> None:
        self.goes_on, self.idle_since = True, 0.0
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Found] | None = None
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._heard = 0.0  # by the clock of the loop
        self._endless = False  # the answer's body goes on until the connection ends
        self._patience: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(self)

    async def ask(self, request: bytes, silence_s: float | None) -> Found:
        """Send a request; its answer. Raises httpx.TransportError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Found] = loop.create_future()
        self._answer = answer
        self._headers, self._body, self._heard, self._endless = {}, [], loop.time(), False
        self._parser = httptools.HttpResponseParser(self)
        if silence_s is not None:
            self._patience = loop.call_later(silence_s, self._look, silence_s)
        self._transport.write(request)
        try:
            return await answer
        finally:
            self._answer = None
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    def close(self) -> None:
        """Close it."""
        self.goes_on = False
        self._transport.close()

    def _look(self, silence_s: float) -> None:
        loop = asyncio.get_running_loop()
        left = self._heard + silence_s - loop.time()
        if left > 0:
            self._patience = loop.call_later(left, self._look, silence_s)
        else:
            self._fail(httpx.ReadTimeout(f"nothing for {silence_s:g} s"))

    def _fail(self, error: httpx.TransportError) -> None:
        self.goes_on = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # ---- what the loop says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._endless and error is None:
            self.goes_on = False
            self.on_message_complete()
        why = str(error) if error is not None else "the server has closed the connection without an answer"
        self._fail(httpx.ReadError(why) if error is not None else httpx.RemoteProtocolError(why))

    def data_received(self, data: bytes) -> None:
        self._heard = asyncio.get_running_loop().time()
        if self._answer is None:  # nothing was asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(httpx.RemoteProtocolError(str(error)))

    # ---- what the parser says

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        told = "content-length" in self._headers or "transfer-encoding" in self._headers
        self._endless = not told and self._parser.get_status_code() not in (204, 304)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # the answer follows
            self._headers = {}
            return
        is_sent = not self._transport.get_write_buffer_size()  # else the answer has come before the request was read
        self.goes_on = self.goes_on and is_sent and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, self._headers, b"".join(self._body)))
