"""The bridge from blocking code to coroutines."""

import asyncio
import concurrent.futures
import contextvars
import os
import threading
import time
from collections.abc import Iterator

import pytest

from runpod_flash import blocking
from runpod_flash.blocking import Bridge
from runpod_flash.errors import CallError
from tests.support.waiting import wait_until

place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    bridge = Bridge()
    yield bridge
    bridge.close()
    assert not bridge.alive


async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def fail() -> None:
    raise KeyError("k")


def test_values_and_exceptions_come_through(bridge: Bridge) -> None:
    assert not bridge.alive  # nothing starts before it is needed
    assert bridge.run(add(1, 2)) == 3
    with pytest.raises(KeyError):
        bridge.run(fail())


def test_one_thread_serves_all(bridge: Bridge) -> None:
    async def thread() -> int:
        return threading.get_ident()

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        threads = set(pool.map(lambda _: bridge.run(thread()), range(20)))
    assert len(threads) == 1


def test_the_callers_context_is_seen(bridge: Bridge) -> None:
    async def look() -> str:
        return place.get()

    token = place.set("here")
    try:
        assert bridge.run(look()) == "here"
    finally:
        place.reset(token)


def test_a_timeout_cancels(bridge: Bridge) -> None:
    ended = threading.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        bridge.run(long(), timeout=0.05)
    assert ended.wait(5)


def test_cancelling_takes_the_time_it_needs(bridge: Bridge) -> None:
    begun = threading.Event()

    async def stubborn() -> str:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.02)
            raise
        return "never"

    running = bridge.start(stubborn())
    assert begun.wait(5)
    running.cancel()
    assert running.wait(5)
    with pytest.raises(concurrent.futures.CancelledError):
        running.result()


def test_what_is_prepared_is_there_before_it_runs_and_can_be_cancelled_before(bridge: Bridge) -> None:
    running = bridge.prepare(add(1, 2))
    assert not running.ended
    running.start()
    assert running.result() == 3
    assert running.ended
    never = bridge.prepare(fail())
    for _ in range(2):
        never.cancel()
    never.start()
    with pytest.raises(concurrent.futures.CancelledError):
        never.result()
    assert never.ended


def test_it_works_where_a_loop_runs(bridge: Bridge) -> None:
    async def main() -> int:
        return bridge.run(add(2, 3))

    assert asyncio.run(main()) == 5


def test_it_never_waits_for_itself(bridge: Bridge) -> None:
    async def nested() -> int:
        return bridge.run(add(1, 1))

    with pytest.raises(CallError, match="use await"):
        bridge.run(nested())


def test_closing_cancels_what_runs_and_allows_a_new_start(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_CLOSE_S", 60.0)
    running = bridge.start(asyncio.sleep(60))
    start = time.monotonic()
    bridge.close()
    assert time.monotonic() - start < 20, "it was not waited for"
    with pytest.raises(concurrent.futures.CancelledError):
        running.result(5)
    assert bridge.run(add(1, 1)) == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_its_own(bridge: Bridge) -> None:
    bridge.run(add(1, 1))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(bridge.run(add(20, 22), timeout=10)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == "42"
    wait_until(lambda: os.waitpid(child, os.WNOHANG)[0] == child)
    assert bridge.run(add(1, 1)) == 2
