"""The parent's end of the streams to the child.

The first has frames both ways. The others come to the child over it, before all else: the tickets for what it may begin
(see `tickets`), one for what it must hear while user code runs, where it sees that its output is read (see
`read_marks`), and the one where memory is shared, if there is such.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Container

from worker_runtime import read_marks
from worker_runtime.stream import Stream, Turn
from worker_runtime.tickets import TicketOffice
from worker_runtime.wire import frames, trace
from worker_runtime.wire.frames import Body, Header

Take = Callable[[Header, bytes, Body], None]
"""Takes a frame: its header, that once more as it came, and its body."""

HAS_MARKS, HAS_MEMORY = 1, 2
"""Which ends come, beside those that always do: bits of the byte that comes with them."""

_AGAIN_S = 0.01


class ChildLink:
    """Open streams to a child, which need not run yet.

    Attributes:
        marks: to be counted before its output is read; None where this system has none.
    """

    def __init__(self, sock: socket.socket, turn: Turn, memory: socket.socket | None = None) -> None:
        """Take over a connected socket on which nothing has arrived or was sent yet."""
        self._office = TicketOffice()
        aside, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as sent:
            ends, kinds = [self._office.for_child.fileno(), theirs.fileno()], 0
            made = read_marks.made()
            self.marks = None if made is None else made[1]
            if made is not None:
                sent.callback(os.close, made[0])
                ends, kinds = [*ends, made[0]], kinds | HAS_MARKS
            if memory is not None:
                ends, kinds = [*ends, memory.fileno()], kinds | HAS_MEMORY
            socket.send_fds(sock, [bytes([kinds])], ends)
        self._turn = turn
        self._stream = Stream(sock, turn, self._hear, self._ended, (trace.PARENT_HEARD, trace.PARENT_PASSED))
        self._aside = Stream(aside, turn, _nothing, _nothing)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take: Take = _nothing
        self._sent = 0  # frames; the number of the last one
        self._due: list[int] = []  # tickets that were not given yet

    async def listen(self, take: Take) -> None:
        """Hand on all that the child sends, to its last byte. Raises EOFError, OSError, and what `take` has raised."""
        self._take = take
        self._stream.resume()
        await asyncio.shield(self._over)

    def send(self, header: Header, body: Body = b"") -> int:
        """Write one frame without waiting: a child that holds the GIL reads nothing; gives its number."""
        return self._write(frames.encode(header, body))

    def pass_on(self, head: bytes, body: Body) -> int:
        """As `send`, of a header as it came from the control plane."""
        return self._write(frames.whole(head, body))

    def let_begin(self, number: int) -> None:
        """Give the child its ticket for a frame."""
        self._due.append(number)
        if len(self._due) == 1:
            self._turn.after(self._give)

    def take_back(self, wanted: Container[int]) -> list[int]:
        """The numbers among these that have not begun, and now never will."""
        self._give()
        return self._office.take_back(wanted)

    def say_aside(self, header: Header) -> None:
        """Write a frame that the child hears while user code runs, as long as that lets other threads run."""
        self._aside.write(frames.encode(header))

    def pump(self) -> None:
        """Hand on what has arrived by now, also while reading pauses."""
        self._stream.pump()

    def pause(self) -> None:
        """Read nothing for now."""
        self._stream.pause()

    def resume(self) -> None:
        """Read on."""
        self._stream.resume()

    def close(self) -> None:
        """Close all of it; nobody may be listening."""
        self._stream.close()
        self._aside.close()
        self._office.close()

    def _write(self, pieces: "list[Body | memoryview]") -> int:
        self._sent += 1
        self._stream.write(pieces)
        return self._sent

    def _give(self) -> None:
        due, self._due = self._due, []
        try:
            self._office.give(due)
        except BlockingIOError:  # hundreds that the child has not taken
            self._due = due
            asyncio.get_running_loop().call_later(_AGAIN_S, self._give)

    def _hear(self, head: bytes, body: Body) -> None:
        self._take(frames.parse(head), head, body)

    def _ended(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)


def _nothing(*_: object) -> None: ...
