"""Lines become events; final jobs find those who wait."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.backends import events
from runpod_flash.backends.events import FinalJobs, Lines
from runpod_flash.errors import WireMismatch

OBJECTS = st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=5)


@given(OBJECTS, st.data())
def test_events_survive_any_cutting(objects: list[dict[str, object]], data: st.DataObject) -> None:
    stream = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in objects)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    lines = Lines()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [event for piece in pieces for event in lines.feed(piece)] == objects


def test_line_separators_of_unicode_do_not_end_a_line() -> None:
    text = "a\u2028b\x85c"
    assert Lines().feed(json.dumps({"x": text}, ensure_ascii=False).encode() + b"\n") == [{"x": text}]


@pytest.mark.parametrize("line", [b"<html>\n", b"[1]\n", b"\xff\xfe\n"])
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(WireMismatch):
        Lines().feed(line)


async def end_of(jobs: FinalJobs, job_id: str, timeout_s: float | None = None) -> Any:
    with jobs.follow(job_id) as follower:
        return await follower.end(timeout_s)


def test_a_final_job_that_came_first_is_kept() -> None:
    async def run() -> None:
        jobs = FinalJobs()
        jobs.arrive({"id": "a", "output": 1})
        jobs.cover("a")
        assert jobs.covers("a")
        assert await end_of(jobs, "a") == {"id": "a", "output": 1}
        assert not jobs.covers("a"), "the next one who asks must look"

    asyncio.run(run())


def test_what_comes_while_a_follower_is_busy_is_kept_for_it() -> None:
    async def run() -> None:
        jobs = FinalJobs()
        with jobs.follow("a") as follower:
            jobs.arrive({"id": "a"})
            for number in range(events._KEPT + 5):
                jobs.arrive({"id": str(number)})
            jobs.lose()
            assert await follower.end() == {"id": "a"}

    asyncio.run(run())


def test_all_who_wait_are_told_and_a_cancelled_one_harms_nobody() -> None:
    async def run() -> None:
        jobs = FinalJobs()
        jobs.cover("a")
        waiting = [asyncio.create_task(end_of(jobs, "a")) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        jobs.arrive({"id": "a"})
        assert await asyncio.gather(*waiting[1:]) == [{"id": "a"}] * 2
        assert jobs._followers == {}

    asyncio.run(run())


def test_a_lost_stream_wakes_all_with_nothing() -> None:
    async def run() -> None:
        jobs = FinalJobs()
        jobs.cover("a")
        waiting = asyncio.create_task(end_of(jobs, "a"))
        await asyncio.sleep(0)
        jobs.lose()
        assert await waiting is None
        assert not jobs.covers("a")
        assert await end_of(jobs, "a", 0.01) is None
        assert jobs._followers == {}

    asyncio.run(run())


def test_what_nobody_asks_for_does_not_pile_up() -> None:
    jobs = FinalJobs()
    for number in range(events._KEPT + 5):
        jobs.arrive({"id": str(number)})
    assert not jobs.covers("4")
    assert jobs.covers("5")
