"""Methods and iterators for both worlds."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from runpod_flash.blocking import Bridge
from runpod_flash.duals import DualIterator, dual, loop_runs

ENDED: list[str] = []


class Thing:
    """Has a runner, as a session is."""

    def __init__(self, bridge: Bridge) -> None:
        self._session = bridge

    @dual
    async def where(self, add: int = 0) -> tuple[str, int]:
        """Which thread it runs on."""
        return threading.current_thread().name, add


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    ENDED.clear()
    bridge = Bridge()
    yield bridge
    bridge.close()


async def numbers(count: int) -> AsyncIterator[int]:
    try:
        for number in range(count):
            await asyncio.sleep(0)
            yield number
    finally:
        ENDED.append(threading.current_thread().name)


def test_it_blocks_where_no_loop_runs_and_is_awaited_where_one_does(bridge: Bridge) -> None:
    thing = Thing(bridge)
    assert thing.where(add=1) == ("runpod-flash", 1)

    async def main() -> None:
        assert loop_runs()
        assert await thing.where(2) == ("MainThread", 2)
        assert await thing.where.aio(2) == ("MainThread", 2)
        assert thing.where.blocking(3) == ("runpod-flash", 3)

    assert not loop_runs()
    asyncio.run(main())
    assert Thing.where.__doc__ == "Which thread it runs on."


def test_an_iterator_goes_through_both_kinds_of_for(bridge: Bridge) -> None:
    async def main() -> list[int]:
        return [number async for number in DualIterator(numbers(3), bridge)]

    assert asyncio.run(main()) == [0, 1, 2]
    assert list(DualIterator(numbers(3), bridge)) == [0, 1, 2]


def test_a_break_ends_it_at_once(bridge: Bridge) -> None:
    for number in DualIterator(numbers(1000), bridge):
        if number == 2:
            break
    assert ENDED == ["runpod-flash"]

    async def main() -> None:
        items = DualIterator(numbers(1000), bridge)
        async for number in items:
            if number == 2:
                break
        await items.aclose()
        assert ENDED == ["runpod-flash", "MainThread"]

    asyncio.run(main())


def test_an_exception_comes_through(bridge: Bridge) -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("bad")

    items = iter(DualIterator(broken(), bridge))
    assert next(items) == 1
    with pytest.raises(ValueError, match="bad"):
        next(items)
