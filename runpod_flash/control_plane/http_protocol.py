"""uvicorn's HTTP/1.1, but an answer leaves in one piece, no head is endless, and targets stay as they were sent."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

HEAD_LIMIT: Final = 64 * 1024
"""The longest head of a request, its headers and its first line, in bytes."""

_GATHERED: Final = 64 * 1024
_DIGITS: Final = 4  # of the length of a body that is waited for
_PIECES_S: Final = 0.05  # for so long


Reply: TypeAlias = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], None]
"""Answers a request: status, headers but for the length, body. To be called once; who has left does not hear it."""

Prompt: TypeAlias = Callable[[Scope, bytes, Reply], bool]
"""Takes a request whose body came with it, and answers now or later; False: the app has to."""


class GatheringTransport:
    """A transport that writes once for all that is written in one turn of the loop, or when `flush` is called."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write now or at the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size += len(data)
        if self._size > _GATHERED:
            self.flush()

    def flush(self) -> None:
        """Write what there is."""
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            if not self._transport.is_closing():
                self._transport.writelines(parts) if len(parts) > 1 else self._transport.write(parts[0])

    def write_now(self, data: bytes) -> None:
        """Write at once, after what waits."""
        self.flush()
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection when all is written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._transport.is_closing()


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    _head = 0  # bytes of a head that is not complete
    _idle_since: float | None = None  # by the clock of the loop; None: a request is under way
    _watch: asyncio.TimerHandle | None = None
    _reading = False
    _whole: RequestResponseCycle | None = None  # the request whose head is there, and whose body may be soon
    _late: asyncio.TimerHandle | None = None  # until then

    def __init__(self, *args: Any, prompt: Prompt | None = None, **named: Any) -> None:
        """`prompt` is asked before the app."""
        super().__init__(*args, **named)
        self._prompt = prompt

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        self._gathering = GatheringTransport(transport, self.loop)
        super().connection_made(cast(asyncio.Transport, self._gathering))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 1

    def on_headers_complete(self) -> None:
        self._head = 0
        raw, _, query = self.url.partition(b"?")
        path = raw.decode("ascii")  # else it is refused
        url, self.url = self.url, b"/"  # uvicorn's parser of URLs would take "#" for an end
        super().on_headers_complete()
        self.url = url
        self.scope["path"] = unquote(path) if "%" in path else path  # before the request's task begins
        self.scope["raw_path"], self.scope["query_string"] = raw, query

    def data_received(self, data: bytes) -> None:
        begun = self._head
        self._reading = self._prompt is not None
        super().data_received(data)
        self._reading = False
        if self._whole is not None and self._late is None:  # there is more to come
            if self._is_short():
                self._late = self.loop.call_later(_PIECES_S, self._to_app)
            else:
                self._to_app()
        if begun and self._head:
            self._head += len(data)
            if self._head > HEAD_LIMIT and not self.transport.is_closing():
                self.send_400_response(f"The head of the request has more than {HEAD_LIMIT} bytes.")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._reading and not self.expect_100_continue:
            self._whole = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle = self._whole
        if cycle is None:
            return
        if self._prompt is None or self.flow.write_paused:
            self._to_app()
            return
        self._taken()
        if not self._prompt(cast(Scope, cycle.scope), bytes(cycle.body), partial(self._reply, cycle)):
            super()._start_asgi_task(cycle, self.app)

    def _is_short(self) -> bool:
        """Whether the body that is to come is short for certain. Many clients send it right after the head, apart."""
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        return length.isdigit() and len(length) <= _DIGITS

    def _to_app(self) -> None:
        cycle = self._taken()
        assert cycle is not None
        super()._start_asgi_task(cycle, self.app)

    def _taken(self) -> RequestResponseCycle | None:
        """The request that waits for its end, which it does no more."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        cycle, self._whole = self._whole, None
        return cycle

    def _reply(
        self, cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> None:
        if cycle.disconnected:
            return
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        ends = b"" if cycle.keep_alive else b"connection: close\r\n"
        parts += (b"content-length: %d\r\n%s\r\n" % (len(body), ends), body)
        cycle.response_started = cycle.response_complete = True
        self._gathering.write_now(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        self._gathering.flush()
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self._watch is None:
            self._watch = self.loop.call_later(self.timeout_keep_alive, self._look)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _look(self) -> None:
        """Close what has been idle for too long. One timer looks again and again: to set one per request costs more."""
        self._watch = None
        if self.transport.is_closing():
            return
        idle_s = 0.0 if self._idle_since is None else self.loop.time() - self._idle_since
        if idle_s >= self.timeout_keep_alive:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(self.timeout_keep_alive - idle_s, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._taken()
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)
