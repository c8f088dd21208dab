"""Who begins a call first: the child with it, or the parent that takes it back. The kernel decides, for each once.

A ticket is the number of a frame, in a socket from which both read. The child begins nothing without its ticket; what
the parent reads itself will not begin. So it need not ask the child, which may be stopped or hold the interpreter.

    parent ── frames, in a socket ──▶ child
       └───── tickets, in another ──▶ child takes the next one, and with it the frame of that number
                     ▲
    parent takes all that are left, and puts back those that it leaves to the child
"""

import socket
import struct
from collections.abc import Container, Iterable

_NUMBER = struct.Struct("=Q")
_MOST = 64 * 1024  # bytes; far more tickets than ever lie there


class TicketOffice:
    """The parent's end.

    Attributes:
        for_child: the child's end, to be given to it; kept here, too, to read from it what is taken back.
    """

    def __init__(self) -> None:
        self.for_child, self._own = socket.socketpair()

    def give(self, numbers: Iterable[int]) -> None:
        """Let the child begin these, in this order; each is larger than all before it."""
        if data := b"".join(map(_NUMBER.pack, numbers)):
            self._own.send(data, socket.MSG_DONTWAIT)

    def take_back(self, wanted: Container[int]) -> list[int]:
        """Take back those of the wanted that have not begun: they never will."""
        try:
            data = self.for_child.recv(_MOST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        left = [number for (number,) in _NUMBER.iter_unpack(data)]
        self.give(number for number in left if number not in wanted)
        return [number for number in left if number in wanted]

    def close(self) -> None:
        """Close both ends; nobody begins anything any more."""
        self.for_child.close()
        self._own.close()


class Tickets:
    """The child's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def next(self) -> int:
        """Wait for the next ticket and take it. Raises OSError, EOFError where the parent or the socket is gone."""
        data = self._socket.recv(_NUMBER.size)
        if not data:
            raise EOFError("nobody gives tickets any more")
        return int(_NUMBER.unpack(data)[0])
