"""What running calls send to the parent beside their outcomes: the items of their streams, and how far they are."""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType

from worker_runtime.channel import Channel
from worker_runtime.interrupts import Key
from worker_runtime.reporting import Reporting, Reports
from worker_runtime.streaming import Credit
from worker_runtime.wire import messages
from worker_runtime.wire.frames import Header
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import Progress

_WINDOW = (1000, 64 * 1024**2)
_making = threading.Lock()  # of what a call needs only once, for any of them


class Outlet:
    """The sink of one call, and where its reports go: see `streaming.Sink`.

    Use it as a context, while the call runs. Everything has been sent at the end.
    """

    def __init__(self, outlets: "Outlets", key: Key, header: Header) -> None:
        self._outlets, self._channel, self._key = outlets, outlets.channel, key
        self._window: tuple[int, int] = header.get("window") or _WINDOW
        self._pause: Callable[[], None] = _nothing
        self._resume: Callable[[], None] = _nothing
        self._reporting = Reporting(self.report, alone=outlets.alone)
        # Most calls need neither of both.
        self._credit: Credit | None = None
        self._reports: Reports | None = None

    def __enter__(self) -> "Outlet":
        self._outlets.open[self._key] = self
        self._reporting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reporting.__exit__(kind, error, trace)
        del self._outlets.open[self._key]
        if self._reports is not None:
            self._reports.finish()

    @property
    def credit(self) -> Credit:
        """How far the stream may run ahead."""
        if self._credit is None:
            with _making:
                self._credit = self._credit or Credit(*self._window)
        return self._credit

    def report(self, progress: Progress) -> None:
        """The call says how far it is; from any thread."""
        if self._reports is None:
            with _making:
                self._reports = self._reports or Reports(self._report)
        self._reports.add(progress)

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
        self._channel.send({"type": messages.CHUNK, **_names(self._key), "plain": item.plain}, item.data)

    def _report(self, progress: Progress) -> None:
        self._channel.send({"type": messages.PROGRESS, **_names(self._key), "progress": progress.to_json()})


class Outlets:
    """Those of the calls that run. `alone`: one runs at a time, so that a report of any thread is its own.

    Attributes:
        open: by call.
    """

    def __init__(self, channel: Channel, *, alone: bool) -> None:
        self.channel, self.alone = channel, alone
        self.open: dict[Key, Outlet] = {}

    def of(self, key: Key, header: Header) -> Outlet:
        """The outlet of a call, whose frame has this header."""
        return Outlet(self, key, header)

    def credit(self, key: Key, header: Header) -> None:
        """The reader of a stream has got on; from any thread."""
        outlet = self.open.get(key)
        if outlet is not None:
            outlet.credit.grant(header["items"], header["bytes"])


def _names(key: Key) -> Header:
    return {"job": key[0], "attempt": key[1]}


def _nothing() -> None: ...
