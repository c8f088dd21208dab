"""The streams of generators that run in this process: items wait in memory for their reader."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Any

from worker_runtime.streaming import Credit
from worker_runtime.wire import items
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import Payload

WINDOW = (1000, 64 * 1024**2)
"""How many items and bytes may be unread, as on a control plane."""


class InlineStream:
    """The stream of one job: see `worker_runtime.streaming.Sink`. `keep` stores what is large.

    Attributes:
        count: items of the running attempt.
    """

    def __init__(self, keep: Callable[[Payload, bytes], None]) -> None:
        self._keep = keep
        self._chunks: deque[tuple[Any, int]] = deque()
        self._credit = Credit(*WINDOW)
        self._listeners: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._read = False
        self.count: int = 0

    def put(self, item: Item) -> None:
        self._credit.take(len(item.data))
        self._add(item)

    async def put_async(self, item: Item) -> None:
        await self._credit.take_async(len(item.data))
        self._add(item)
        await asyncio.sleep(0)

    def restart(self) -> bool:
        """Begin anew for another attempt; False where somebody has got items, so that none can follow."""
        with self._lock:
            if self._read:
                return False
            self.count = 0
            self._chunks.clear()
            self._credit = Credit(*WINDOW)
            return True

    def stop(self) -> None:
        """The job has ended: a generator that goes on all the same is stopped at its next item."""
        self._credit.close()

    async def chunks(self, ended: "Future[None]") -> AsyncGenerator[Any, None]:
        """What is yielded, as it comes, until the job has ended; on the reader's own event loop."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: object = None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
                loop.call_soon_threadsafe(news.set)

        self._listeners.append(tell)
        ended.add_done_callback(tell)
        try:
            while True:
                news.clear()
                last = ended.done()  # first, since before the end everything has come
                while (found := self._taken()) is not None:
                    yield found[0]
                if last:
                    return
                await news.wait()
        finally:
            self._listeners.remove(tell)

    def _taken(self) -> tuple[Any, int] | None:
        with self._lock:
            if not self._chunks:
                return None
            self._read = True
            found = self._chunks.popleft()
        self._credit.grant(1, found[1])
        return found

    def _add(self, item: Item) -> None:
        self._chunks.append((self._chunk(item), len(item.data)))
        self.count += 1
        for tell in list(self._listeners):
            tell()

    def _chunk(self, item: Item) -> Any:
        if item.plain:
            return items.plain(item.data)
        described = Payload.of(item.data)
        self._keep(described, item.data)
        return items.chunk_of(described)
