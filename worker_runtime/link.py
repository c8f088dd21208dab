"""The worker's stream to its control plane. The only place where errors of that stream are translated."""

import asyncio
import contextlib
import socket

from worker_runtime.wire import PROTOCOL, frames, messages
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Header

_BUFFER = 4 * 1024 * 1024
_CLOSE_S = 10.0


class LinkLost(Exception):
    """The stream to the control plane is closed, broken, or does not carry our protocol. The message says which."""


class Link:
    """An open stream of frames to the control plane."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, address: str) -> "Link":
        """Open "unix:/path" or "tcp:host:port". Raises LinkLost."""
        kind, _, where = address.partition(":")
        try:
            if kind == "unix":
                return cls(*await asyncio.open_unix_connection(where, limit=_BUFFER))
            host, _, port = where.rpartition(":")
            if kind != "tcp" or not port.isdecimal():
                raise LinkLost(f"the control plane's address is {address!r}; it must be unix:/path or tcp:host:port")
            link = cls(*await asyncio.open_connection(host.strip("[]"), int(port), limit=_BUFFER))
        except OSError as error:
            raise LinkLost(f"the control plane at {address} cannot be reached: {error}") from error
        link._keep_alive()
        return link

    async def greet(self, worker: str, token: str, pid: int) -> None:
        """Say hello and wait for welcome. Raises LinkLost."""
        self.send({"type": messages.HELLO, "protocol": PROTOCOL, "worker": worker, "token": token, "pid": pid})
        header, _ = await self.receive()
        if header.get("type") != messages.WELCOME:
            raise LinkLost(f"the control plane answered hello with {header.get('type')!r}")

    async def receive(self) -> tuple[Header, bytes]:
        """The next frame. Raises LinkLost."""
        try:
            return await frames.read(self._reader)
        except (EOFError, OSError) as error:
            raise LinkLost("the control plane closed the link") from error
        except WireError as error:
            raise LinkLost(f"the control plane broke the protocol: {error}") from error

    def send(self, header: Header, body: bytes = b"") -> None:
        """Write one frame without waiting. A closed stream swallows it: who reads notices the end."""
        if not self._writer.is_closing():
            self._writer.writelines(frames.encode(header, body))

    @property
    def backlog(self) -> int:
        """Bytes that the control plane has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until the control plane has taken most of what was sent. Raises LinkLost."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise LinkLost("the control plane closed the link") from error

    async def close(self) -> None:
        """Send what is left and close once it has been read; a stream that has ended already is no error.

        Without that, a control plane that writes before it reads would lose it: a write that fails ends its stream.
        """
        with contextlib.suppress(OSError):  # TimeoutError is one: nobody reads any more
            self._writer.write_eof()
            async with asyncio.timeout(_CLOSE_S):
                while await self._reader.read(_BUFFER):  # until the control plane has seen the end and closes
                    pass
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _keep_alive(self) -> None:
        sock = self._writer.get_extra_info("socket")
        if sock is not None:  # a machine that vanishes sends no end of stream
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
