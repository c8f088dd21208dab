"""Generators on a worker: their items are encoded one by one and handed to a sink, which may make them wait.

A generator is always closed, also when its reader has gone, so that its `finally` blocks run.
"""

import asyncio
import inspect
import queue
from collections.abc import AsyncGenerator, Generator
from typing import Any, Protocol

from worker_runtime.failures import Failed, cannot_travel, unpicklable
from worker_runtime.wire import items
from worker_runtime.wire.encoding import PICKLES, Peer
from worker_runtime.wire.errors import CannotTravel
from worker_runtime.wire.items import Item

Grant = tuple[int, int]
"""So many items and so many bytes."""


class ReaderGone(Exception):
    """Nobody reads the stream any more, so that its generator stops."""


class Sink(Protocol):
    """Where the items of one call go, in their order."""

    def put(self, item: Item) -> None:
        """Hand on an item; blocks while the reader is too far behind. Raises what stops the call."""

    async def put_async(self, item: Item) -> None:
        """The same on an event loop."""


class Credit:
    """How far a stream may run ahead of its reader. One thread takes, any other grants; no lock can be left behind.

    Args:
        items, size: so many items and bytes may be unread. An item goes out whatever its size where both are above 0.
    """

    def __init__(self, items: int, size: int) -> None:
        self._items, self._bytes = items, size
        self._grants: queue.SimpleQueue[Grant] = queue.SimpleQueue()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._closed = False

    def grant(self, items: int, size: int) -> None:
        """So much has been read. From any thread."""
        self._grants.put((items, size))
        waiting = self._waiting
        if waiting is not None:
            loop, event = waiting
            loop.call_soon_threadsafe(event.set)

    def wake(self) -> None:
        """Let `take` look up, so that an exception that was sent to its thread is raised."""
        self._grants.put((0, 0))

    def close(self) -> None:
        """Nobody will ever read again."""
        self._closed = True
        self.grant(0, 0)

    def take(self, size: int) -> None:
        """Wait until there is room, and use it for an item of so many bytes. Raises ReaderGone."""
        self._collect()
        while not self._has_room:
            self._add(self._grants.get())
        self._spend(size)

    async def take_async(self, size: int) -> None:
        """As `take`, on an event loop. Raises ReaderGone."""
        self._collect()
        while not self._has_room:
            event = asyncio.Event()
            self._waiting = asyncio.get_running_loop(), event
            self._collect()  # what came before that
            if not self._has_room:
                await event.wait()
                self._collect()
        self._waiting = None
        self._spend(size)

    @property
    def _has_room(self) -> bool:
        if self._closed:
            raise ReaderGone
        return self._items > 0 and self._bytes > 0

    def _spend(self, size: int) -> None:
        self._items -= 1
        self._bytes -= size

    def _collect(self) -> None:
        while True:
            try:
                self._add(self._grants.get_nowait())
            except queue.Empty:
                return

    def _add(self, grant: Grant) -> None:
        self._items += grant[0]
        self._bytes += grant[1]


def is_stream(value: Any) -> bool:
    """Whether a call has given a generator, of either kind."""
    return inspect.isgenerator(value) or inspect.isasyncgen(value)


def drain(name: str, generator: Generator[Any, Any, Any], sink: Sink, peer: Peer = PICKLES) -> None:
    """Hand on all items of a generator, as `peer` reads them.

    Raises:
        Failed: an item cannot travel.
        BaseException: what the generator raises.
    """
    number = 0
    try:
        for value in generator:
            sink.put(_encoded(name, number, value, peer))
            number += 1
            del value
    finally:
        generator.close()


async def drain_async(name: str, generator: AsyncGenerator[Any, Any], sink: Sink, peer: Peer = PICKLES) -> None:
    """Hand on all items of an asynchronous generator. Raises as `drain` does."""
    number = 0
    try:
        async for value in generator:
            await sink.put_async(_encoded(name, number, value, peer))
            number += 1
            del value
    finally:
        await generator.aclose()


class Collecting:
    """A sink that hands items on, and keeps them for the result: plain JSON has the list of them.

    Args:
        limit: bytes that are kept; of more there is no list.
    """

    def __init__(self, sink: Sink, limit: int) -> None:
        self._sink, self._limit = sink, limit
        self._size = 0
        self._kept: list[bytes] | None = []

    @property
    def whole(self) -> bytes:
        """The list of all items as JSON; nothing where there are too many."""
        return b"" if self._kept is None else b"[" + b",".join(self._kept) + b"]"

    def put(self, item: Item) -> None:
        self._sink.put(item)
        self._keep(item.data)

    async def put_async(self, item: Item) -> None:
        await self._sink.put_async(item)
        self._keep(item.data)

    def _keep(self, data: bytes) -> None:
        self._size += len(data) + 1
        if self._size > self._limit:
            self._kept = None
        elif self._kept is not None:
            self._kept.append(data)


def _encoded(name: str, number: int, value: Any, peer: Peer) -> Item:
    try:
        return items.encode_plain(value) if peer.plain else items.encode(value, peer.encode)
    except CannotTravel as error:
        raise Failed(cannot_travel(name, error, peer, what=f"item {number}")) from None
    except Exception as error:  # noqa: BLE001 - pickling runs the user's own __reduce__
        raise Failed(unpicklable(name, value, error, peer, what=f"item {number}")) from None
