"""Generators are drained item by item, wait for credit, and are closed whatever happens."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.waiting import wait_until
from worker_runtime.failures import Failed
from worker_runtime.streaming import Collecting, Credit, ReaderGone, drain, drain_async
from worker_runtime.wire.encoding import PLAIN
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import ErrorKind

LARGE = 10**9


class Kept:
    """A sink that keeps what comes, and fails at the item of this number."""

    def __init__(self, fails_at: int = -1) -> None:
        self.items: list[Item] = []
        self._fails_at = fails_at

    def put(self, item: Item) -> None:
        if len(self.items) == self._fails_at:
            raise KeyboardInterrupt
        self.items.append(item)

    async def put_async(self, item: Item) -> None:
        self.put(item)


class Source:
    """Yields so many numbers; tells how it ended."""

    def __init__(self, count: int, *, error: Exception | None = None) -> None:
        self._count, self._error = count, error
        self.ended = ""

    def plain(self) -> Iterator[Any]:
        try:
            yield from range(self._count)
            if self._error is not None:
                raise self._error
        except GeneratorExit:
            self.ended = "closed "
            raise
        finally:
            self.ended += "finally"

    async def asynchronous(self) -> AsyncIterator[Any]:
        for number in self.plain():
            yield number


def test_items_for_readers_of_json_are_json_and_kept_up_to_a_size() -> None:
    kept = Kept()
    collecting = Collecting(kept, 12)
    drain("f", iter_of({"flash": 1}, (2,)), collecting, PLAIN)  # type: ignore[arg-type]  # a generator
    assert [(item.data, item.plain) for item in kept.items] == [(b'{"flash":1}', True), (b"[2]", True)]
    assert collecting.whole == b""
    whole = Collecting(kept, 16)
    drain("f", iter_of({"flash": 1}, (2,)), whole, PLAIN)  # type: ignore[arg-type]
    assert whole.whole == b'[{"flash":1},[2]]'
    assert Collecting(kept, 0).whole == b"[]"
    with pytest.raises(Failed, match=r"in item 1 of 'f' is bytes"):
        drain("f", iter_of(1, b"x"), whole, PLAIN)  # type: ignore[arg-type]


def iter_of(*values: Any) -> Iterator[Any]:
    yield from values


@pytest.mark.parametrize("asynchronous", [False, True])
def test_all_items_come_in_their_order(asynchronous: bool) -> None:
    source, kept = Source(3), Kept()
    if asynchronous:
        asyncio.run(drain_async("f", source.asynchronous(), kept))
    else:
        drain("f", source.plain(), kept)
    assert [item.data for item in kept.items] == [b"0", b"1", b"2"]
    assert source.ended == "finally"


def test_a_generator_is_closed_where_its_sink_fails() -> None:
    source = Source(3)
    with pytest.raises(KeyboardInterrupt):
        drain("f", source.plain(), Kept(fails_at=1))
    assert source.ended == "closed finally"


def test_its_own_exception_comes_after_its_items() -> None:
    source, kept = Source(2, error=KeyError("x")), Kept()
    with pytest.raises(KeyError):
        drain("f", source.plain(), kept)
    assert len(kept.items) == 2


def test_an_item_that_cannot_travel_is_named_and_the_generator_closed() -> None:
    ended = []

    def items() -> Iterator[Any]:
        try:
            yield 1
            yield threading.Lock()
        finally:
            ended.append(True)

    with pytest.raises(Failed) as caught:
        drain("f", items(), Kept())
    assert caught.value.info.kind is ErrorKind.UNPICKLABLE_RESULT
    assert "item 1 of 'f', of type _thread.lock, cannot be pickled" in caught.value.info.message
    assert ended == [True]


def test_credit_lets_so_many_items_and_bytes_through() -> None:
    credit = Credit(3, 100)
    credit.take(99)
    credit.take(1000)  # the last byte that is free lets any item through
    credit.grant(1, 99)
    waits = threading.Thread(target=credit.take, args=(1,), daemon=True)
    waits.start()
    waits.join(0.05)
    assert waits.is_alive()  # 900 bytes too many are under way
    credit.grant(1, 1000)
    waits.join(5)
    assert not waits.is_alive()


def test_a_thread_that_waits_for_credit_is_woken_and_told_that_the_reader_has_gone() -> None:
    credit, raised = Credit(1, LARGE), []

    def takes() -> None:
        try:
            while True:
                credit.take(1)
        except ReaderGone as error:
            raised.append(error)

    thread = threading.Thread(target=takes, daemon=True)
    thread.start()
    credit.wake()
    credit.close()
    thread.join(5)
    assert len(raised) == 1


def test_credit_on_a_loop_comes_from_another_thread() -> None:
    async def main() -> int:
        credit, taken = Credit(2, LARGE), 0

        async def takes() -> None:
            nonlocal taken
            while True:
                await credit.take_async(1)
                taken += 1

        task = asyncio.create_task(takes())
        while taken < 2:
            await asyncio.sleep(0)
        await asyncio.to_thread(credit.grant, 3, 3)
        async with asyncio.timeout(5):
            while taken < 5:
                await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        return taken

    assert asyncio.run(main()) == 5


def test_nothing_that_was_granted_is_lost_between_two_looks() -> None:
    credit, count = Credit(1, LARGE), 20_000

    async def takes() -> None:
        for _ in range(count):
            await credit.take_async(1)

    def grants() -> None:
        for _ in range(count):
            credit.grant(1, 1)

    thread = threading.Thread(target=grants, daemon=True)
    thread.start()
    asyncio.run(asyncio.wait_for(takes(), 20))
    wait_until(lambda: not thread.is_alive(), 5)
