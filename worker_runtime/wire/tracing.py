"""Sends the marks of this process, each with its time, to who listens at an abstract socket.

Such a socket is there in every process of a machine, whatever files it may see. Marks go several at a time, so that
they cost the call little.
"""

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from worker_runtime.wire import trace

VARIABLE = "FLASH_TRACE"
"""The variable with the name of the socket, for the control plane and, in `env=` of an endpoint, for its workers."""

AT_ONCE = 16
"""So many marks of a process are sent together. The last ones of a process may be missing."""

_MARK = struct.Struct("!BQ")


class Marks:
    """The marks of one process on their way to who listens. Who does not read loses them."""

    def __init__(self, name: str) -> None:
        self._address = b"\0" + name.encode()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._waiting: list[bytes] = []

    def add(self, border: int) -> None:
        """Note that a call is here now."""
        self._waiting.append(_MARK.pack(border, time.monotonic_ns()))
        if len(self._waiting) >= AT_ONCE:
            self.send()

    def send(self) -> None:
        """Send what was noted."""
        with contextlib.suppress(OSError):  # nobody listens any more, or not fast enough
            self._socket.sendto(b"".join(self._waiting), self._address)
        self._waiting.clear()

    def close(self) -> None:
        """Nothing is sent any more."""
        trace.tell(None)
        self._socket.close()


def begin(name: str) -> Marks:
    """From now on send the marks of this process to who listens there."""
    marks = Marks(name)
    trace.tell(marks.add)
    return marks


def read(datagram: bytes) -> Iterator[tuple[str, int]]:
    """The marks of a datagram, with their times in nanoseconds of the clock that all processes share."""
    for border, at in _MARK.iter_unpack(datagram):
        yield trace.BORDERS[border], at
