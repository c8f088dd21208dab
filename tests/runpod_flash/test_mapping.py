"""`map` and `starmap`, over the platform in this process."""

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash import Endpoint
from runpod_flash.calls import Request
from runpod_flash.errors import CallError, ConfigError, NotPicklable
from runpod_flash.inputs import opener
from runpod_flash.mapping import Flow, Mapped, Plan
from runpod_flash.session import Session
from tests.support.inline import inline_session
from tests.support.waiting import wait_until

CPU: Any = {"cpu": "cpu3c-2-4"}
RUNNING: set[int] = set()
GATE = threading.Event()


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    RUNNING.clear()
    GATE.clear()
    with inline_session(tmp_path) as session:
        yield session


@Endpoint(**CPU, max_concurrency=8)
async def add(a: int, b: int = 1) -> int:
    return a + b


@Endpoint(**CPU, max_concurrency=8)
async def fail_at(x: int, bad: int = 3) -> int:
    if x == bad:
        raise ValueError(f"no {x}")
    return x


@Endpoint(**CPU, max_concurrency=100)
async def hang(x: int) -> int:
    """Zero returns; the others run until they are cancelled."""
    if x == 0:
        return 0
    RUNNING.add(x)
    try:
        await asyncio.sleep(3600)
    finally:
        RUNNING.discard(x)
    return x


@Endpoint(**CPU)
class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def add(self, x: int) -> int:
        return x + self.by


def test_a_list_of_results_for_async_and_for_blocking_code() -> None:
    async def main() -> list[int]:
        assert [result async for result in add.map(range(5))] == [1, 2, 3, 4, 5]
        async with add.map([1], concurrency=1) as results:
            assert await anext(results) == 2
        return await add.map(range(100), concurrency=3)

    assert asyncio.run(main()) == list(range(1, 101))
    assert list(add.map(range(5))) == [1, 2, 3, 4, 5]
    assert list(add.map([])) == []


def test_several_iterables_and_tuples() -> None:
    assert list(add.map([1, 2], itertools.count(10))) == [11, 13]
    assert list(add.starmap([(1,), (1, 5), [2, 3]])) == [2, 6, 5]


def test_methods_of_remote_objects() -> None:
    adder = Adder(10)
    assert list(adder.add.map([1, 2])) == [11, 12]


def test_async_iterables_and_generators() -> None:
    async def numbers() -> AsyncIterator[int]:
        for each in range(4):
            await asyncio.sleep(0)
            yield each

    async def main() -> None:
        assert await add.map(numbers()) == [1, 2, 3, 4]
        assert await add.map(numbers(), (10 for _ in range(2))) == [10, 11]
        assert await add.map(add.map(range(3))) == [2, 3, 4]

    asyncio.run(main())
    assert list(add.map(numbers())) == [1, 2, 3, 4]
    assert list(add.map(add.map(range(3)))) == [2, 3, 4]
    assert list(add.map(x * 10 for x in add.map(range(3)))) == [11, 21, 31]  # the generator blocks, on its own thread


def test_unordered_results_come_as_they_are_there() -> None:
    async def main() -> None:
        async with hang.map([1, 0, 2], ordered=False) as results:
            assert await anext(results) == 0

    asyncio.run(main())
    assert sorted(add.map(range(50), ordered=False)) == list(range(1, 51))


def test_a_failing_call_raises_at_its_place_and_what_comes_after_it_is_cancelled() -> None:
    seen = []
    with pytest.raises(ValueError, match="no 3"):  # noqa: PT012 - what came before it counts
        for result in fail_at.map(range(10)):
            seen.append(result)
    assert seen == [0, 1, 2]

    async def main() -> None:
        results = hang.map([0, 1, 2, 3], concurrency=4)
        assert await anext(results) == 0
        await _until(lambda: len(RUNNING) == 3)
        flow = results._flow
        assert flow is not None
        flow._failed(2, ValueError("late"))  # as if the third call had; the second still counts
        await _until(lambda: {1, 2} == RUNNING)
        await results.aclose()
        await _until(lambda: not RUNNING)

    asyncio.run(main())


def test_exceptions_as_results() -> None:
    results = list(fail_at.map(range(5), return_exceptions=True))
    assert [repr(each) for each in results] == ["0", "1", "2", "ValueError('no 3')", "4"]
    mixed = list(add.starmap([(1,), (1, 2, 3), (threading.Lock(),)], return_exceptions=True))
    assert mixed[0] == 2
    assert [type(each) for each in mixed[1:]] == [CallError, NotPicklable]


def test_after_the_end_there_is_nothing_more() -> None:
    results = fail_at.map([3])
    with pytest.raises(ValueError, match="no 3"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    closed = add.map([1])
    closed.close()
    assert list(closed) == []


@pytest.mark.parametrize("end", ["break", "close", "cancel", "raise"])
def test_who_stops_early_cancels_what_runs(end: str) -> None:
    other: list[asyncio.Task[int]] = []

    async def read() -> None:
        results = hang.map(itertools.count(), concurrency=20)
        async for _ in results:
            await _until(lambda: len(RUNNING) == 21)
            if end == "break":
                break
            if end == "close":
                await results.aclose()
            if end == "raise":
                raise RuntimeError("mine")

    async def main() -> None:
        other.append(asyncio.ensure_future(_as_task(hang(-1))))
        await _until(lambda: -1 in RUNNING)
        reading = asyncio.ensure_future(read())
        await _until(lambda: len(RUNNING) > 1)
        if end == "cancel":
            await _until(lambda: len(RUNNING) == 21)
            reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled() == (end == "cancel")
        assert isinstance(None if reading.cancelled() else reading.exception(), RuntimeError) == (end == "raise")
        del reading
        gc.collect()
        await _until(lambda: {-1} == RUNNING)  # and only that
        other[0].cancel()
        await asyncio.wait(other)

    asyncio.run(main())


def test_who_stops_early_in_blocking_code_cancels_what_runs() -> None:
    for result in hang.map(range(9)):
        assert result == 0
        wait_until(lambda: len(RUNNING) == 8, 30, "the calls")
        break
    wait_until(lambda: not RUNNING, 30, "their end")
    with hang.map(range(9)) as results:
        assert next(results) == 0
        wait_until(lambda: len(RUNNING) == 8, 30, "the calls")
    wait_until(lambda: not RUNNING, 30, "their end")


def test_an_input_that_raises_is_raised_after_the_results_that_are_there() -> None:
    async def main() -> None:
        async def numbers() -> AsyncIterator[int]:
            yield 0
            yield 0
            yield 1
            yield 0
            await _until(lambda: _kept(results._flow) == (1, 1) and RUNNING)
            raise KeyError("input")

        results = hang.map(numbers())
        assert await anext(results) == 0
        flow: Any = results._flow
        await _until(lambda: flow.end is not None)
        assert await anext(results) == 0  # the third never ended, so the fourth has no place
        with pytest.raises(KeyError, match="input"):
            await anext(results)
        await _until(lambda: not RUNNING)

    asyncio.run(main())


async def _all(results: Mapped[int]) -> list[int]:
    return [result async for result in results]


def test_an_input_that_awaits_what_was_cancelled_ends_and_does_not_hang() -> None:
    async def inputs() -> AsyncIterator[int]:
        yield 1
        cancelled = asyncio.ensure_future(asyncio.sleep(3600))
        cancelled.cancel()
        await cancelled

    def plain() -> Iterator[int]:
        yield 1
        raise asyncio.CancelledError

    async def main(iterable: Any) -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(_all(add.map(iterable)), 20)

    for iterable in (inputs(), plain()):
        asyncio.run(main(iterable))


def test_an_input_that_raises_at_once() -> None:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(add.map(Broken()))
    assert list(add.map([1])) == [2]  # the bridge lives


def test_a_slow_input_holds_up_no_result() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        assert GATE.wait(30)  # set by whoever has read the first result
        yield 2

    results = add.map(numbers())
    assert next(results) == 2
    GATE.set()
    assert list(results) == [3]


def test_what_cannot_be_mapped() -> None:
    bad: Any = add
    with pytest.raises(CallError, match=r"add.map\(\) was given 5, of type int; it must be an iterable"):
        bad.map(5)
    with pytest.raises(CallError, match=r"add.map\(\) needs an iterable"):
        bad.map()
    with pytest.raises(CallError, match="too many positional"):
        bad.map([1], [2], [3])
    with pytest.raises(CallError, match="must be a tuple of arguments"):
        list(bad.starmap([5]))
    for concurrency in (0, True, "4"):
        with pytest.raises(ConfigError, match=r"concurrency= is .*; it must be a whole number of 1 or more"):
            bad.map([1], concurrency=concurrency)


def test_one_world_at_a_time() -> None:
    results = add.map([1, 2])
    assert next(results) == 2

    async def main() -> None:
        with pytest.raises(CallError, match="read with `for` already"):
            await anext(results)

    asyncio.run(main())
    assert list(results) == [3]
    assert repr(results) == "<results of add.map>"


class Calls:
    """Stands in for a session: calls end when the test says so. Counts how many run."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[int]] = {}

    async def call(self, request: Any, tickets: Any = None) -> int:
        self.waiting[request] = asyncio.get_running_loop().create_future()
        try:
            return await self.waiting[request]
        finally:
            del self.waiting[request]


@given(
    count=st.integers(0, 12),
    concurrency=st.integers(1, 5),
    ordered=st.booleans(),
    moves=st.lists(st.integers(0, 20), max_size=40),
)
def test_whatever_ends_when_and_however_slow_the_reader(
    count: int, concurrency: int, ordered: bool, moves: list[int]
) -> None:
    """Never more calls than `concurrency`, nor more results for a slow reader; all results, in order."""

    async def main() -> None:
        calls: Any = Calls()
        source = opener(range(count), "f.map")(False)
        flow = Flow(source, _as_it_is, calls, Plan(concurrency, ordered))
        seen: list[int] = []
        started = asyncio.ensure_future(flow.wait())
        for move in [*moves, *[0, 1] * (3 * count + 3)]:
            await _settled()
            assert len(calls.waiting) <= concurrency
            kept = len(flow._ready) + len(flow._done)
            assert kept <= (2 * concurrency - 1 if ordered else concurrency)
            if flow._ready and not ordered:
                assert len(calls.waiting) + kept <= concurrency
            if move % 2 and calls.waiting:  # one of those that run ends
                numbers = sorted(calls.waiting)
                number = numbers[move % len(numbers)]
                calls.waiting[number].set_result(number)
            elif move % 2 == 0 and (result := flow.take()) is not None:
                seen.append(result.value)
            elif started.done() and flow.end is None:
                started = asyncio.ensure_future(flow.wait())
        await flow.close()
        await asyncio.wait([started])
        assert (seen if ordered else sorted(seen)) == list(range(count))
        assert flow.end == (None,)

    asyncio.run(main())


@pytest.mark.parametrize(("workers", "concurrency", "at_a_time"), [(1, 1, 64), (0, 1, 64), (10, 8, 320)])
def test_how_many_at_a_time_where_nobody_says_it(workers: int, concurrency: int, at_a_time: int) -> None:
    @Endpoint(**CPU, workers=workers, max_concurrency=concurrency)
    def any_size(x: int) -> int:
        return x

    assert any_size.map([1])._plan.concurrency == at_a_time


def test_an_endless_input_is_pulled_as_far_as_there_is_room() -> None:
    pulled: list[int] = []

    def endless() -> Iterator[int]:
        for each in itertools.count():
            pulled.append(each)
            yield each

    async def main() -> None:
        results: Mapped[int] = add.map(endless(), concurrency=4)
        assert [await anext(results) for _ in range(20)] == list(range(1, 21))
        assert len(pulled) <= 20 + 2 * 4
        await results.aclose()

    asyncio.run(main())


def _as_it_is(item: Any) -> Request:
    return item  # type: ignore[no-any-return]


async def _settled() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def _as_task(coroutine: Any) -> Any:
    return await coroutine


async def _until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def _kept(flow: Any) -> tuple[int, int]:
    return len(flow._ready), len(flow._done)
