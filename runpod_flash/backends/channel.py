"""The way to a control plane of this machine: frames over a unix socket, as `wire.calls` has them.

It reads and writes the socket itself: a transport of asyncio costs more, and complains where an event loop is closed
without a word.
"""

import asyncio
import socket
import weakref
from collections.abc import Callable, Sequence
from typing import Final

from runpod_flash.backends.waiting import Kind, Waiting, frames_of, header_frame
from worker_runtime.wire import calls, frames, trace
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.frames import Header

SILENCE_S: Final = 45.0
"""A channel on which nothing comes for so long is lost: the control plane sends a beat every 15 s."""

_READ_BYTES: Final = 64 * 1024
_READS: Final = 16  # at most so many in one turn of the loop

Take = Callable[[Header, Buffer], None]


class Channel:
    """One connection: a `Way`, on which workers can be asked for.

    Attributes:
        lost: resolved when it has ended, with the reason.
    """

    lends = True

    def __init__(self, sock: socket.socket, take: Take) -> None:
        """`take` gets every frame, the welcome first. What it raises ends the channel, and is the reason."""
        self._sock, self._take = sock, take
        self._loop = asyncio.get_running_loop()
        self._splitter = frames.Splitter()
        self._unsent = bytearray()
        self._closed = False
        self._let_go = weakref.finalize(self, sock.close)  # also where the loop is closed, or the program ends
        self._heard = self._loop.time()
        self._watch = self._loop.call_later(SILENCE_S, self._look)
        self.lost: asyncio.Future[Exception | None] = self._loop.create_future()
        self._loop.add_reader(sock, self._readable)

    def submit(self, kind: Kind, some: Sequence[Waiting], *, fresh: bool) -> None:
        pieces = frames_of(kind, some, fresh=fresh)
        trace.mark(trace.SUBMITTED)
        self.write(pieces)

    def tell(self, header: Header) -> None:
        self.write(header_frame(header))

    def close(self) -> None:
        """End it. May be called twice."""
        self._end(None)

    def pump(self) -> None:
        """Hear what has arrived."""
        self._readable()

    def write(self, pieces: list[Buffer]) -> None:
        """Write frames, or what makes them up."""
        if self._closed:
            return
        data = b"".join(pieces)
        if self._unsent:
            self._unsent += data
            return
        sent = self._send(data)
        if sent < len(data) and not self._closed:
            self._unsent += memoryview(data)[sent:]
            self._loop.add_writer(self._sock, self._writable)

    def _send(self, data: Buffer) -> int:
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._end(error)
            return 0

    def _writable(self) -> None:
        with memoryview(self._unsent) as view:
            sent = self._send(view)
        del self._unsent[:sent]
        if not self._unsent and not self._closed:
            self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        self._heard = self._loop.time()
        for _ in range(_READS):
            if self._closed:
                return
            try:
                data = self._sock.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(error)
                return
            self._taken(data)
            if len(data) < _READ_BYTES:
                return

    def _taken(self, data: bytes) -> None:
        if not data:
            self._end(None)
            return
        trace.mark(trace.CLIENT_HEARD)
        try:
            for header, body in self._splitter.feed(data):
                self._take(header, body)
        except Exception as error:  # noqa: BLE001 - a border: whoever waits must hear of it
            self._end(error)

    def _look(self) -> None:
        silent_s = self._loop.time() - self._heard
        if silent_s >= SILENCE_S:
            self._end(TimeoutError("the control plane has said nothing for a while"))
        else:
            self._watch = self._loop.call_later(SILENCE_S - silent_s, self._look)

    def _end(self, error: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        if not self._loop.is_closed():
            self._watch.cancel()
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            if not self.lost.done():
                self.lost.set_result(error)
        self._let_go()


async def connect(path: str, key: str, client: str, take: Take) -> Channel:
    """Open a channel at a unix socket, and say hello. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, path)
        channel = Channel(sock, take)
    except BaseException:
        sock.close()
        raise
    channel.tell(calls.hello(key, client))
    return channel
