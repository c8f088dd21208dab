"""Streams of frames over sockets, as the worker's parent has them: read to the last byte, and written once a turn.

A transport of asyncio does not promise the first: when a write fails, or the other side has ended with something
unread, it drops what it has not handed on yet. And it writes each piece for itself.
"""

import asyncio
import itertools
import socket
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from worker_runtime.wire import trace
from worker_runtime.wire.frames import Body, Cutter

_CHUNK = 64 * 1024  # above 128 KB malloc maps pages for each read and unmaps them, which takes longer than the read
_PIECES = 128  # that one call of the system takes; it may take no more than IOV_MAX, which is 1024
_LOW = 256 * 1024  # bytes that may wait for a slow reader before `drain` waits, too


class Turn:
    """What streams have to write is written when a turn is over: use it as a context around what makes frames.

    Outside of any, a turn lasts until the event loop has run what is ready now.
    """

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []
        self._is_open = self._is_scheduled = False

    def __enter__(self) -> None:
        self._is_open = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._is_open = False
        self._flush()

    def after(self, work: Callable[[], None]) -> None:
        """Do this at its end, after what was asked for before."""
        self._due.append(work)
        if not self._is_open and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._scheduled)

    def _scheduled(self) -> None:
        self._is_scheduled = False
        self._flush()

    def _flush(self) -> None:
        due, self._due = self._due, []
        for work in due:
            work()


class Stream:
    """Frames both ways over a connected socket.

    Attributes:
        backlog: bytes that the other side has not taken yet.

    Args:
        heard: called with each frame that has come: its header as bytes, and its body.
        ended: called once when no more come: with EOFError or OSError, or with what `heard` has raised.
        borders: that a call crosses when something has come, and when something is written (`wire.trace`).
    """

    def __init__(
        self,
        sock: socket.socket,
        turn: Turn,
        heard: Callable[[bytes, Body], None],
        ended: Callable[[Exception], None],
        borders: tuple[int, int] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._socket, self._turn, self._heard, self._ended = sock, turn, heard, ended
        self._borders = borders
        self._loop = asyncio.get_running_loop()
        self._cutter = Cutter()
        self._out: deque[Body | memoryview] = deque()
        self.backlog = 0
        self._waiting: asyncio.Future[None] | None = None  # for room
        self._is_due = self._is_writing = self._is_broken = self._is_over = False
        self._is_reading = False

    def write(self, pieces: "list[Body | memoryview]") -> None:
        """Write a frame without waiting. A stream that has ended swallows it: who reads notices the end."""
        if self._is_broken:
            return
        self._out.extend(pieces)
        self.backlog += sum(map(len, pieces))
        if not self._is_due and not self._is_writing:
            self._is_due = True
            self._turn.after(self.flush)

    async def drain(self, most: int = _LOW) -> None:
        """Wait until no more than `most` bytes wait for the other side, or it takes nothing any more."""
        self.flush()
        while self.backlog > most:
            if self._waiting is None:
                self._waiting = self._loop.create_future()
            await asyncio.shield(self._waiting)

    def resume(self) -> None:
        """Read, or read on."""
        if not self._is_reading and not self._is_over:
            self._is_reading = True
            self._loop.add_reader(self._socket, self._readable)

    def pause(self) -> None:
        """Read nothing for now."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._socket)

    def pump(self) -> None:
        """Take what has arrived by now, also while reading pauses."""
        while not self._is_over and self._readable():
            pass

    def shut(self) -> None:
        """Say that no more will be written. Raises OSError."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both ways."""
        self.pause()
        self._break()
        self._socket.close()

    def flush(self) -> None:
        """Write what the other side takes now."""
        self._is_due = False
        if self._borders is not None:
            trace.mark(self._borders[1])
        try:
            while self._out:
                sent = self._socket.sendmsg(list(itertools.islice(self._out, _PIECES)))
                self._forget(sent)
        except BlockingIOError:
            if not self._is_writing:
                self._is_writing = True
                self._loop.add_writer(self._socket, self.flush)
        except OSError:
            self._break()
        else:
            self._stop_writing()

    def _forget(self, sent: int) -> None:
        """So many bytes have left."""
        self.backlog -= sent
        out = self._out
        while sent > 0:
            first = out.popleft()
            if sent < len(first):
                out.appendleft(memoryview(first)[sent:])
            sent -= len(first)

    def _stop_writing(self) -> None:
        if self._is_writing:
            self._is_writing = False
            self._loop.remove_writer(self._socket)
        if self._waiting is not None:
            if not self._waiting.done():
                self._waiting.set_result(None)
            self._waiting = None

    def _break(self) -> None:
        self._is_broken = True
        self.backlog = 0
        self._out.clear()
        self._stop_writing()

    def _readable(self) -> bool:
        """Take what one read gives; whether there was something."""
        try:
            cuts = self._read()
            if self._borders is not None:
                trace.mark(self._borders[0])
            with self._turn:
                for head, body in cuts:
                    self._heard(head, body)
                    del body  # perhaps large, and the next frame may be far away
            return bool(cuts)
        except BlockingIOError:
            return False
        except Exception as error:  # noqa: BLE001 - what hears frames decides about its own failures by `ended`
            self._end(error)
            return False

    def _read(self) -> list[tuple[bytes, Any]]:
        room = self._cutter.room()
        if room is not None:
            with room:
                count = self._socket.recv_into(room)
            if count:
                return self._cutter.filled(count)
        elif data := self._socket.recv(_CHUNK):
            return self._cutter.feed(data)
        raise EOFError("the other side closed the stream")

    def _end(self, error: Exception) -> None:
        self.pause()
        if not self._is_over:
            self._is_over = True
            self._ended(error)
