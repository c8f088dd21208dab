"""Waiting for something without a task of its own."""

import asyncio
from typing import Any

import pytest

from runpod_flash.control_plane.waiting import Waiting

pytestmark = pytest.mark.anyio


def tasks() -> int:
    return len(asyncio.all_tasks())


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_it_ends_with_what_is_waited_for_the_time_or_all_waiting() -> None:
    waiting = Waiting()
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    first, second = (asyncio.ensure_future(waiting.until(done, 60)) for _ in "12")
    await settle()
    done.set_result(1)
    async with asyncio.timeout(10):
        await asyncio.gather(first, second)
        await waiting.until(done, 60)
        await waiting.until(asyncio.get_running_loop().create_future(), 0.01)
        third = asyncio.ensure_future(waiting.until(asyncio.get_running_loop().create_future(), 60))
        await settle()
        waiting.end()
        await third
        await waiting.until(asyncio.get_running_loop().create_future(), 60)
    assert waiting.over


async def test_who_leaves_takes_nothing_along_and_leaves_nothing() -> None:
    waiting = Waiting()
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    before = tasks()
    leaver = asyncio.ensure_future(waiting.until(done, 60))
    await settle()
    assert tasks() == before + 1  # the leaver alone
    leaver.cancel()
    await asyncio.wait([leaver])
    assert not done.cancelled()
    assert not waiting._waiters
    done.set_result(1)
    await settle()
