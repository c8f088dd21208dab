"""Answers that take long: what is told meanwhile, how they end, what becomes of the work when nobody reads."""

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import pytest

from runpod_flash.control_plane.api.progress import progress_lines
from runpod_flash.control_plane.problems import Problem

pytestmark = pytest.mark.anyio

Tell = Callable[[Mapping[str, Any]], None]


async def all_of(work: Any, beat_s: float = 60) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in progress_lines(work, beat_s)]


async def test_what_is_told_comes_in_order_and_the_result_last() -> None:
    async def work(tell: Tell) -> Mapping[str, Any]:
        for number in range(3):
            tell({"event": "step", "number": number})
            await asyncio.sleep(0)
        tell({"event": "step", "number": 3})
        return {"version": 7}

    lines = await all_of(work)
    assert [line.get("number") for line in lines[:-1]] == [0, 1, 2, 3]
    assert lines[-1] == {"event": "done", "version": 7}


async def test_a_problem_is_the_last_line() -> None:
    async def work(tell: Tell) -> Mapping[str, Any]:
        tell({"event": "step"})
        raise Problem(422, "no such package", code="InstallError", errors=["a", "b"])

    assert (await all_of(work))[-1] == {
        "event": "failed", "status": 422, "title": HTTPStatus(422).phrase, "detail": "no such package",
        "code": "InstallError", "errors": ["a", "b"],
    }  # fmt: skip


async def test_beats_say_that_it_goes_on() -> None:
    go_on = asyncio.Event()

    async def work(tell: Tell) -> Mapping[str, Any]:
        await go_on.wait()
        return {}

    lines = progress_lines(work, 0.01)
    assert [json.loads(await anext(lines)) for _ in range(2)] == [{"event": "beat"}] * 2
    go_on.set()
    assert json.loads([line async for line in lines][-1]) == {"event": "done"}


async def test_work_that_nobody_waits_for_is_cancelled_and_has_ended_when_the_answer_has() -> None:
    began, ended = asyncio.Event(), list[str]()

    async def work(tell: Tell) -> Mapping[str, Any]:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            ended.append("work")
        return {}

    async def reader() -> None:
        async for _ in progress_lines(work):
            pass

    reading = asyncio.create_task(reader())
    await began.wait()
    reading.cancel()
    await asyncio.wait([reading])
    await asyncio.sleep(0)
    assert ended == ["work"]
