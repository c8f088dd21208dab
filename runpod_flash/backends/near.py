"""HTTP/1.1 to a platform on this machine: below httpx's clients, and without them where answers are read whole.

httpx's own transport loads anyio and httpcore, which takes longer than a program's first call; and a request of httpx
takes longer than a short call.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import quote

import httpx

from runpod_flash.backends.near_line import Line

Place: TypeAlias = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""

Found: TypeAlias = tuple[int, Mapping[str, str], bytes]
"""Status, headers with names in lower case, body."""

_AT_ONCE: Final = 64 * 1024
_NOTHING: Final = {"connect": None, "read": None, "write": None}
_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"  # what a target may have beside letters, digits and "_.-"
_WITH_BODY: Final = ("PATCH", "POST", "PUT")


class Lines:
    """Connections to one place. `kept`: how many idle ones stay, for `kept_s` seconds each."""

    def __init__(self, place: Place, kept: int, kept_s: float) -> None:
        self._place, self._kept, self._kept_s = place, kept, kept_s
        self._idle: list[Line] = []
        self._closed = False

    async def take(self, connect_s: float | None) -> Line:
        """An idle one, else a new one. Raises httpx.TransportError."""
        while self._idle:
            line = self._idle.pop()
            if line.goes_on and time.monotonic() - line.idle_since < self._kept_s:
                return line
            line.close()
        return await self._connect(connect_s)

    def give_back(self, line: Line) -> None:
        """Its answer was read, or is given up."""
        if line.goes_on and not self._closed and len(self._idle) < self._kept:
            line.idle_since = time.monotonic()
            line.rest()
            self._idle.append(line)
        else:
            line.close()

    def close(self) -> None:
        """Close what is idle; what is in use closes when its answer has been read."""
        self._closed = True
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    async def _connect(self, seconds: float | None) -> Line:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                if isinstance(self._place, str):
                    return (await loop.create_unix_connection(Line, self._place))[1]
                return (await loop.create_connection(Line, *self._place))[1]
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection within {seconds} s") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error


class NearRequests:
    """Makes requests on the running event loop whose answers are read whole."""

    def __init__(self, lines: Lines, headers: Sequence[tuple[str, str]], connect_s: float) -> None:
        """`headers`: those of every request."""
        self._lines, self._connect_s = lines, connect_s
        self._head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._breaks = 2 + len(headers)  # ends of lines of a head without others

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str], content: bytes | None, silence_s: float | None
    ) -> Found:
        """Send a request, no HEAD, and read its answer, of which `silence_s` seconds nothing may come.

        Raises httpx.TransportError.
        """
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        has_body = content is not None or method in _WITH_BODY
        length = f"content-length: {len(content or b'')}\r\n" if has_body else ""
        head = f"{method} {quote(target, safe=_SAFE)} HTTP/1.1\r\n{self._head}{fields}{length}\r\n"
        if head.count("\r") + head.count("\n") != 2 * (self._breaks + len(headers) + bool(length)):
            raise httpx.LocalProtocolError("a header has the end of a line in it")
        line = await self._lines.take(self._connect_s)
        try:
            line.write(head.encode("latin-1") + (content or b""))
            answer, body = await line.whole(silence_s)
        except BaseException:
            line.close()
            raise
        self._lines.give_back(line)
        fields_found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}
        return answer.status, fields_found, body

    def close(self) -> None:
        """Close what is idle; what is in use closes when its answer has been read."""
        self._lines.close()


class NearTransport(httpx.AsyncBaseTransport):
    """Makes requests of httpx on the running event loop."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the answer's body is read as it is asked for. Raises httpx.TransportError."""
        limits: dict[str, float | None] = request.extensions.get("timeout", _NOTHING)
        head = _head_of(request)
        line = await self._lines.take(limits.get("connect"))
        try:
            await _send(line, request, head, limits.get("write"))
            answer = await line.head(limits.get("read"))
        except BaseException:
            line.close()
            raise
        body = _Body(self._lines, line, limits.get("read"))
        extensions = {"http_version": f"HTTP/{answer.version}".encode(), "reason_phrase": answer.reason}
        return httpx.Response(answer.status, headers=answer.headers, stream=body, extensions=extensions)

    async def aclose(self) -> None:
        """Close what is idle; a connection that is in use closes when its answer has been read."""
        self._lines.close()
        await asyncio.sleep(0)  # the loop may end after this, and has to close them before


class _Body(httpx.AsyncByteStream):
    """The body of an answer. Its connection goes back when it is closed, which httpx does at its end."""

    def __init__(self, lines: Lines, line: Line, seconds: float | None) -> None:
        self._lines, self._line, self._seconds = lines, line, seconds
        self._has_all = self._given_back = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (part := await self._line.part(self._seconds)) is not None:
                yield part
            self._has_all = True
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        if self._given_back:
            return
        self._given_back = True
        if self._has_all:
            self._lines.give_back(self._line)
        else:
            self._line.close()


def _head_of(request: httpx.Request) -> bytes:
    """Raises httpx.LocalProtocolError."""
    fields = b"".join([b"%s: %s\r\n" % field for field in request.headers.raw])
    if fields.count(b"\r") + fields.count(b"\n") != 2 * len(request.headers.raw):
        raise httpx.LocalProtocolError("a header has the end of a line in it")
    return b"%s %s HTTP/1.1\r\n%s\r\n" % (request.method.encode("ascii"), request.url.raw_path, fields)


async def _send(line: Line, request: httpx.Request, head: bytes, seconds: float | None) -> None:
    """Send the whole request, or as much as the platform takes: it may have answered already. Raises WriteTimeout."""
    assert isinstance(request.stream, httpx.AsyncByteStream)
    has_body, waiting = request.method != "HEAD", head
    in_chunks = request.headers.get("transfer-encoding") == "chunked"
    async for chunk in request.stream:
        if in_chunks:
            chunk = b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunk else b""
        waiting += chunk
        if len(waiting) > _AT_ONCE:
            line.write(waiting, ends=False, body=has_body)
            waiting = b""
            if not await line.drained(seconds):
                return
    line.write(waiting + (b"0\r\n\r\n" if in_chunks else b""), body=has_body)
    await line.drained(seconds)
