"""Alarms on one timer."""

import asyncio
from typing import Any

import pytest

from runpod_flash.control_plane.alarms import Alarms


def test_they_ring_in_the_order_of_their_times_but_for_those_that_are_off() -> None:
    async def main() -> None:
        alarms, rung, all_rung = Alarms(), list[str](), asyncio.Event()
        alarms.after(0.02, all_rung.set)
        off = alarms.after(0.001, lambda: rung.append("off"))
        alarms.after(0.01, lambda: rung.append("second"))
        alarms.after(-1, lambda: rung.append("first"))
        off.cancel()
        off.cancel()
        assert len(alarms) == 3
        async with asyncio.timeout(5):
            await all_rung.wait()
        assert rung == ["first", "second"]
        assert len(alarms) == 0
        alarms.after(0, lambda: rung.append("later"))
        async with asyncio.timeout(5):
            while len(rung) < 3:
                await asyncio.sleep(0.001)

    asyncio.run(main())


def test_many_take_one_timer_of_the_loop_and_those_that_are_off_do_not_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        alarms, loop, timers = Alarms(), asyncio.get_running_loop(), list[float]()
        call_later = loop.call_later

        def counted(delay: float, *rest: Any) -> asyncio.TimerHandle:
            timers.append(delay)
            return call_later(delay, *rest)

        monkeypatch.setattr(loop, "call_later", counted)
        stays = alarms.after(3600, lambda: None)
        for _ in range(10_000):
            alarms.after(7200, lambda: None).cancel()
        assert (len(timers), len(alarms)) == (1, 1)
        assert len(alarms._heap) < 2000
        stays.cancel()
        assert len(alarms) == 0

    asyncio.run(main())


def test_one_that_fails_leaves_the_next_ones_set() -> None:
    async def main() -> None:
        alarms, rung = Alarms(), asyncio.Event()
        alarms.after(0, lambda: [][0])
        alarms.after(0, rung.set)
        async with asyncio.timeout(5):
            await rung.wait()

    asyncio.run(main())
