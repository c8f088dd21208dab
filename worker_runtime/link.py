"""The worker's stream to its control plane. The only place where errors of that stream are translated."""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from worker_runtime.stream import Stream, Turn
from worker_runtime.wire import PROTOCOL, frames, messages, trace
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body, Header

Take = Callable[[Header, bytes, Body], None]
"""Takes a frame: its header, that once more as it came, and its body."""

_CLOSE_S = 10.0


class LinkLost(Exception):
    """The stream to the control plane is closed, broken, or does not carry our protocol. The message says which."""


class Link:
    """An open stream of frames to the control plane."""

    def __init__(self, sock: socket.socket, turn: Turn) -> None:
        """`turn`: what is written in one is written at once."""
        self._stream = Stream(sock, turn, self._hear, self._ended, (trace.PARENT_GOT, trace.PARENT_TOLD))
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early: list[tuple[Header, bytes, Body]] = []  # what came before somebody listens
        self._take: Take = self._wait
        self._stream.resume()

    @classmethod
    async def connect(cls, address: str, turn: Turn | None = None) -> "Link":
        """Open "unix:/path" or "tcp:host:port". Raises LinkLost."""
        kind, _, where = address.partition(":")
        try:
            if kind == "unix":
                sock = socket.socket(socket.AF_UNIX)
                await _connected(sock, where)
            else:
                host, _, port = where.rpartition(":")
                if kind != "tcp" or not port.isdecimal():
                    text = f"the control plane's address is {address!r}; it must be unix:/path or tcp:host:port"
                    raise LinkLost(text)
                sock = await asyncio.to_thread(socket.create_connection, (host.strip("[]"), int(port)))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a machine that vanishes sends no end
        except OSError as error:
            raise LinkLost(f"the control plane at {address} cannot be reached: {error}") from error
        return cls(sock, turn or Turn())

    async def greet(self, worker: str, token: str, pid: int) -> None:
        """Say hello and wait for welcome. Raises LinkLost."""
        self.send({"type": messages.HELLO, "protocol": PROTOCOL, "worker": worker, "token": token, "pid": pid})
        await asyncio.wait([self._answered, self._over], return_when=asyncio.FIRST_COMPLETED)
        if not self._early:
            self._over.result()
        header, _, _ = self._early.pop(0)
        if header.get("type") != messages.WELCOME:
            raise LinkLost(f"the control plane answered hello with {header.get('type')!r}")

    async def listen(self, take: Take) -> None:
        """Hand on all that comes. Raises LinkLost at the end, and what `take` has raised."""
        early, self._early = self._early, []
        self._take = take
        for frame in early:
            take(*frame)
        await asyncio.shield(self._over)

    def send(self, header: Header, body: Body = b"") -> None:
        """Write one frame without waiting. A closed stream swallows it: who reads notices the end."""
        self._stream.write(frames.encode(header, body))

    def pass_on(self, head: bytes, body: Body) -> None:
        """As `send`, of a header as it came from the child."""
        self._stream.write(frames.whole(head, body))

    @property
    def backlog(self) -> int:
        """Bytes that the control plane has not taken yet."""
        return self._stream.backlog

    async def drain(self) -> None:
        """Wait until the control plane has taken most of what was sent, or the link has ended."""
        await self._stream.drain()

    async def close(self) -> None:
        """Send what is left and close once it has been read; a stream that has ended already is no error.

        Without that, a control plane that writes before it reads would lose it: a write that fails ends its stream.
        """
        self._take = _swallow
        with contextlib.suppress(OSError):  # TimeoutError is one: nobody reads any more
            async with asyncio.timeout(_CLOSE_S):
                await self._stream.drain(0)
                self._stream.shut()
                await asyncio.wait([self._over])  # the control plane has seen the end and closes
        self._stream.close()
        if self._over.done():
            self._over.exception()  # it was looked at

    def _wait(self, header: Header, head: bytes, body: Body) -> None:
        self._early.append((header, head, body))
        if not self._answered.done():
            self._answered.set_result(None)

    def _hear(self, head: bytes, body: Body) -> None:
        header = frames.parse(head)
        try:
            self._take(header, head, body)
        except Exception as error:  # noqa: BLE001 - it is told to who listens, and is no failure of the stream
            self._take = _swallow
            self._end(error)

    def _ended(self, error: Exception) -> None:
        broken = isinstance(error, WireError)
        lost = LinkLost(
            f"the control plane broke the protocol: {error}" if broken else "the control plane closed the link"
        )
        lost.__cause__ = error
        self._end(lost)

    def _end(self, error: Exception) -> None:
        if not self._over.done():
            self._over.set_exception(error)


async def _connected(sock: socket.socket, path: str) -> None:
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, path)
    except OSError:
        sock.close()
        raise


def _swallow(header: Header, head: bytes, body: Body) -> None: ...
