"""Streams as callers use them, over calls that run in this process."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_flash import Endpoint, EndpointJob
from runpod_flash.backends import inline_streams
from runpod_flash.backends.inline import platform_of
from runpod_flash.errors import CallError, JobCancelled, NotPicklable
from runpod_flash.session import Session
from tests.support.inline import inline_session
from tests.support.waiting import wait_until
from worker_runtime.wire.jobs import INLINE_LIMIT

CPU: Any = {"cpu": "cpu3c-1-2"}
CLOSED: list[str] = []
TRIES: list[int] = []
MADE: list[str] = []  # the mark of the generator, for each item
READ = threading.Event()


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    CLOSED.clear()
    TRIES.clear()
    MADE.clear()
    READ.clear()
    with inline_session(tmp_path) as session:
        yield session


@Endpoint("count", **CPU)
def count(to: int, mark: str = "") -> Iterator[int]:
    try:
        for number in range(to):
            MADE.append(mark)
            yield number
    finally:
        CLOSED.append(mark)


@Endpoint("count-async", **CPU)
async def count_async(to: int, mark: str = "") -> AsyncIterator[int]:
    try:
        for number in range(to):
            yield number
    finally:
        CLOSED.append(mark)


@Endpoint("give", **CPU)
def give(values: list[Any]) -> Iterator[Any]:
    yield from values


@Endpoint("fails", retries=3, **CPU)
def fails(after: int, tries: int = 99) -> Iterator[int]:
    TRIES.append(1)
    for number in range(after):
        yield number
        if tries == 99:
            READ.wait(10)
    if len(TRIES) <= tries:
        raise KeyError("oops")


@Endpoint("plain", **CPU)
def plain(x: int) -> int:
    return x


class Counter:
    def __init__(self, at: int) -> None:
        self.at = at

    def up(self, count: int) -> Iterator[int]:
        for _ in range(count):
            self.at += 1
            yield self.at

    async def down(self, count: int) -> AsyncIterator[int]:
        for _ in range(count):
            self.at -= 1
            yield self.at

    @staticmethod
    def letters(text: str) -> Iterator[str]:
        yield from text


RemoteCounter = Endpoint("counter", **CPU)(Counter)


@given(st.lists(st.integers() | st.text() | st.binary() | st.tuples(st.floats(allow_nan=False)), max_size=30))
@settings(max_examples=30, deadline=None)
def test_any_items_arrive_in_their_order(values: list[Any]) -> None:
    assert list(give.stream(values)) == values


def test_in_async_and_in_blocking_code() -> None:
    async def main() -> list[list[int]]:
        return [[number async for number in kind.stream(3)] for kind in (count, count_async)]

    assert asyncio.run(main()) == [[0, 1, 2]] * 2
    assert list(count.stream(3)) == list(count_async.stream(3)) == [0, 1, 2]
    assert list(count.local(2)) == [0, 1]


def test_methods(session: Session) -> None:
    counter = RemoteCounter(10)
    assert list(counter.up.stream(3)) == [11, 12, 13]
    assert list(counter.down.stream(2)) == [12, 11]
    assert list(counter.letters.stream("ab")) == ["a", "b"]
    with pytest.raises(CallError, match=r"Counter\.up is a generator"):
        counter.up.remote(1)


def test_a_large_item_travels_as_a_value(session: Session) -> None:
    values = [b"x" * (INLINE_LIMIT + 1), "y" * (INLINE_LIMIT + 1), 1]
    assert list(give.stream(values)) == values
    assert len(platform_of(session.settings).values) == 3  # the arguments are one


def test_nothing_is_sent_before_the_first_item_is_asked_for(session: Session) -> None:
    stream = count.stream(3)
    assert not platform_of(session.settings).jobs
    assert next(stream) == 0
    assert len(platform_of(session.settings).jobs) == 1
    assert repr(stream) == "<stream of count>"


def test_what_is_wrong_is_refused_before_that() -> None:
    with pytest.raises(CallError, match=r"count\(.*was called wrongly"):
        count.stream("x", "y", "z")  # type: ignore[call-arg]
    with pytest.raises(CallError, match=r"plain is no generator.*nothing was sent"):
        plain.stream(1)
    with pytest.raises(CallError, match=r"use count.stream\(…\) for its items"):
        count.remote(1)
    with pytest.raises(CallError, match=r"use count_async.stream\(…\) for its items"):
        count_async(1)


def test_other_call_forms() -> None:
    with pytest.raises(CallError, match=r"use count\.stream\(…\) for its items"):
        count.map([1, 2])
    with pytest.raises(CallError, match=r"use count\.stream\(…\) for its items"):
        list(count.starmap([(1,)]))
    assert list(count.with_options(timeout=60).stream(3)) == [0, 1, 2]


KINDS = pytest.mark.parametrize("kind", [count, count_async], ids=lambda kind: kind.__name__)


def closed(*marks: str) -> None:
    """Wait until these generators are closed."""
    gc.collect()  # a traceback may hold a stream
    wait_until(lambda: set(CLOSED) >= set(marks), 10, f"{marks} are closed")


@KINDS
def test_who_stops_early_in_async_code_closes_the_generator(kind: Any) -> None:
    async def broken_off() -> None:
        async for number in kind.stream(10**9, "break"):
            if number == 3:
                break

    async def raised() -> None:
        async for number in kind.stream(10**9, "raised"):
            1 / number

    async def main() -> None:
        await broken_off()
        stream = kind.stream(10**9, "aclose")
        async with stream:
            assert await anext(stream) == 0
        assert [number async for number in stream] == []
        with pytest.raises(ZeroDivisionError):
            await raised()

    asyncio.run(main())
    closed("break", "aclose", "raised")


@KINDS
def test_a_task_that_is_cancelled_closes_the_generator(kind: Any) -> None:
    async def main() -> None:
        began = asyncio.Event()

        async def reads() -> None:
            async for _ in kind.stream(10**9, "cancelled"):
                began.set()

        task = asyncio.create_task(reads())
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
    closed("cancelled")


@KINDS
def test_who_stops_early_in_blocking_code_closes_the_generator(kind: Any) -> None:
    for number in kind.stream(10**9, "for"):
        if number == 3:
            break
    with kind.stream(10**9, "with") as stream:
        assert next(stream) == 0
    closed("for", "with")


def test_it_is_read_in_one_way() -> None:
    stream = count.stream(3)
    assert next(stream) == 0

    async def main() -> None:
        with pytest.raises(CallError, match="stream of count is read with `for` already"):
            await anext(stream)

    asyncio.run(main())
    assert list(stream) == [1, 2]


def test_an_exception_comes_after_the_items_before_it() -> None:
    got = []
    with pytest.raises(KeyError, match="oops"):  # noqa: PT012 - what came before counts
        for number in fails.stream(3):
            got.append(number)
            READ.set()
    assert got == [0, 1, 2]
    assert len(TRIES) == 1  # what was read is not given twice


def test_retries_begin_anew_where_nothing_was_read() -> None:
    job = fails.spawn(3, tries=2)
    job.wait()
    assert list(job.stream()) == [0, 1, 2]
    assert len(TRIES) == 3


def test_an_item_that_cannot_travel() -> None:
    @Endpoint("locks", **CPU)
    def locks() -> Iterator[Any]:
        yield 1
        yield threading.Lock()

    stream = locks.stream()
    assert next(stream) == 1
    with pytest.raises(NotPicklable, match="item 1 of 'locks'"):
        next(stream)


def test_a_job_that_streams() -> None:
    job: EndpointJob[Any] = count.spawn(3)
    with pytest.raises(CallError, match=r"is a stream; read it with job.stream\(\)"):
        job.result.blocking()
    assert list(job.stream()) == [0, 1, 2]
    assert job.done
    assert job.output is None
    with pytest.raises(CallError, match="is a stream of 3 items and has no result"):
        count.job(job.id).result.blocking()
    assert list(job.stream()) == []  # each is given to one reader


def test_who_stops_reading_a_job_leaves_it_alone() -> None:
    job = count.spawn(3, "mine")
    with job.stream() as stream:
        assert next(stream) == 0
    assert job.wait.blocking().error is None
    assert list(job.stream()) == [1, 2]


def test_a_job_that_is_cancelled_while_it_is_read() -> None:
    job = count.spawn(10**9)
    stream = job.stream()
    assert next(stream) == 0
    job.cancel()
    with pytest.raises(JobCancelled):
        list(stream)


def test_a_reader_that_is_slow_makes_the_generator_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline_streams, "WINDOW", (5, 10**6))
    stream = count.stream(1000, "slow")
    assert next(stream) == 0
    wait_until(lambda: MADE.count("slow") >= 6, 5, "the generator runs ahead")
    for number in range(100):
        assert plain.remote(number) == number
    assert MADE.count("slow") <= 7  # five unread, one read, one that waits
    assert list(stream) == list(range(1, 1000))
