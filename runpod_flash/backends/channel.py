"""The way to a control plane of this machine: frames over a unix socket, as `wire.calls` has them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from runpod_flash.backends.conversation import Kind, Waiting, frames_of, header_frame
from worker_runtime.wire import calls, frames
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Header

SILENCE_S: Final = 45.0
"""A channel on which nothing comes for so long is lost: the control plane sends a beat every 15 s."""

Take = Callable[[Header, Buffer], None]


class Channel(asyncio.Protocol):
    """One connection: a `Way`.

    Attributes:
        lost: resolved when it has ended, with the reason.
    """

    def __init__(self, key: str, client: str, take: Take) -> None:
        """`take` gets every frame, the welcome first. What it raises ends the channel, and is the reason."""
        self._hello, self._take = calls.hello(key, client), take
        self._loop = asyncio.get_running_loop()
        self._splitter = frames.Splitter()
        self._transport: asyncio.Transport | None = None
        self._heard = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[Exception | None] = self._loop.create_future()

    def submit(self, kind: Kind, some: Sequence[Waiting], *, fresh: bool) -> None:
        self._write(frames_of(kind, some, fresh=fresh))

    def tell(self, header: Header) -> None:
        self._write(header_frame(header))

    def close(self) -> None:
        """Send what there is, then end it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.tell(self._hello)
        self._watch = self._loop.call_later(SILENCE_S, self._look)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for header, body in self._splitter.feed(data):
                self._take(header, body)
        except Exception as error:  # noqa: BLE001 - a border: whoever waits must hear of it
            self._end(error)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        if not self.lost.done():
            self.lost.set_result(error)

    def _write(self, pieces: list[Buffer]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pieces)

    def _look(self) -> None:
        if self._loop.time() - self._heard >= SILENCE_S:
            self._end(WireError("the control plane has said nothing for a while"))
        else:
            self._watch = self._loop.call_later(self._heard + SILENCE_S - self._loop.time(), self._look)

    def _end(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_result(error)
        if self._transport is not None:
            self._transport.abort()
