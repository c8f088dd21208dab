"""The parent's end of the stream to the child. What the child has sent is read to its last byte, however it ends.

A transport of asyncio does not promise that: when a write fails, or the child has ended with something unread, it drops
what it has not handed on yet. So it only writes here, and reading goes its own way.
"""

import asyncio
import socket

from worker_runtime.wire import frames
from worker_runtime.wire.frames import Header

_CHUNK = 256 * 1024


class ChildLink:
    """An open stream of frames to the child."""

    def __init__(self, sock: socket.socket, writer: asyncio.StreamWriter) -> None:
        self._socket, self._writer = sock, writer
        self._buffer = bytearray()

    @classmethod
    async def open(cls, sock: socket.socket) -> "ChildLink":
        """Take over a connected socket on which nothing has arrived yet."""
        own = sock.dup()
        own.setblocking(False)
        _, writer = await asyncio.open_connection(sock=sock)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # typed as one that cannot read
        return cls(own, writer)

    def send(self, header: Header, body: bytes = b"") -> None:
        """Write one frame without waiting: a child that holds the GIL reads nothing. One that has ended swallows it."""
        if not self._writer.is_closing():
            self._writer.writelines(frames.encode(header, body))

    async def receive(self) -> tuple[Header, bytes]:
        """The next frame. Raises EOFError, OSError, WireError."""
        return await frames.read(self)

    async def readexactly(self, n: int) -> bytes:
        """The next bytes. Raises IncompleteReadError where the child ends before, OSError."""
        while len(self._buffer) < n:
            data = await asyncio.get_running_loop().sock_recv(self._socket, _CHUNK)
            if not data:
                raise asyncio.IncompleteReadError(bytes(self._buffer), n)
            self._buffer += data
            await asyncio.sleep(0)  # receiving does not wait while a child writes fast, and the parent has more to do
        with memoryview(self._buffer) as view:
            taken = bytes(view[:n])
        del self._buffer[:n]
        return taken

    def close(self) -> None:
        """Close both ways; nobody may be receiving."""
        self._writer.close()
        self._socket.close()
