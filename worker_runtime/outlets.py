"""What running calls send to the parent beside their outcomes: the items of their streams, and how far they are."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker_runtime.channel import Channel
from worker_runtime.interrupts import Key
from worker_runtime.reporting import Reports, reporting
from worker_runtime.streaming import Credit
from worker_runtime.wire import messages
from worker_runtime.wire.frames import Header
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import Progress

_WINDOW = (1000, 64 * 1024**2)


class Outlet:
    """The sink of one call, and where its reports go: see `streaming.Sink`.

    Attributes:
        credit: how far the stream may run ahead.
    """

    def __init__(self, channel: Channel, key: Key, header: Header) -> None:
        self._channel = channel
        self._names = {"job": key[0], "attempt": key[1]}
        self.credit = Credit(*(header.get("window") or _WINDOW))
        self.reports = Reports(self._report)
        self._pause: Callable[[], None] = _nothing
        self._resume: Callable[[], None] = _nothing

    def guard(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """The call can be interrupted in its thread, but not between `pause` and `resume`, which raises what is due."""
        self._pause, self._resume = pause, resume

    def put(self, item: Item) -> None:
        self.credit.take(len(item.data))
        self._pause()
        self._send(item)
        self._resume()

    async def put_async(self, item: Item) -> None:
        await self.credit.take_async(len(item.data))
        self._send(item)
        await asyncio.sleep(0)  # a generator that awaits nothing must not keep the loop

    def _send(self, item: Item) -> None:
        self._channel.send({"type": messages.CHUNK, **self._names, "plain": item.plain}, item.data)

    def _report(self, progress: Progress) -> None:
        self._channel.send({"type": messages.PROGRESS, **self._names, "progress": progress.to_json()})


class Outlets:
    """Those of the calls that run. `alone`: one runs at a time, so that a report of any thread is its own."""

    def __init__(self, channel: Channel, *, alone: bool) -> None:
        self._channel, self._alone = channel, alone
        self._open: dict[Key, Outlet] = {}

    @contextmanager
    def of(self, key: Key, header: Header) -> Iterator[Outlet]:
        """The outlet of a call, while it runs. Everything has been sent at the end."""
        outlet = self._open[key] = Outlet(self._channel, key, header)
        try:
            with reporting(outlet.reports.add, alone=self._alone):
                yield outlet
        finally:
            del self._open[key]
            outlet.reports.finish()

    def credit(self, key: Key, header: Header) -> None:
        """The reader of a stream has got on; from any thread."""
        outlet = self._open.get(key)
        if outlet is not None:
            outlet.credit.grant(header["items"], header["bytes"])


def _nothing() -> None: ...
