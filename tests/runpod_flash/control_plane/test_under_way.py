"""Whoever sends a key once more meanwhile gets the same job, or hears the same failure."""

import asyncio
from typing import Any

import pytest

from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.under_way import Outcomes, UnderWay, outcome_of

JOB = JobRecord("j", "e", {}, 1.0)


def test_a_job_that_is_being_accepted_is_found_until_it_is() -> None:
    async def main() -> None:
        under_way, gate = UnderWay(), asyncio.Event()

        async def work(*keys: str) -> Outcomes:
            await gate.wait()
            return dict.fromkeys(keys, JOB)

        alone = under_way.begin("e", "a", work("a"))
        together = asyncio.ensure_future(under_way.together("e", ["b", "c"], work("b", "c")))
        await asyncio.sleep(0)
        found: list[Any] = [under_way.get("e", key) for key in "abc"]
        assert all(found)
        assert under_way.get("other", "a") is None
        leaving = asyncio.ensure_future(outcome_of(found[0], "a"))
        await asyncio.sleep(0)
        leaving.cancel()
        gate.set()
        assert [await outcome_of(each, key) for each, key in zip(found, "abc", strict=True)] == [JOB] * 3
        assert await alone == {"a": JOB}
        assert await together == {"b": JOB, "c": JOB}
        assert [under_way.get("e", key) for key in "abc"] == [None] * 3
        assert await outcome_of(JOB, "a") is JOB

    asyncio.run(main())


def test_a_failure_is_everybodys_and_the_key_may_come_again() -> None:
    async def main() -> None:
        under_way = UnderWay()

        async def work() -> Outcomes:
            await asyncio.sleep(0)
            raise ValueError("no room")

        together = asyncio.ensure_future(under_way.together("e", ["a"], work()))
        await asyncio.sleep(0)
        found = under_way.get("e", "a")
        assert found is not None
        for each in (together, outcome_of(found, "a")):
            with pytest.raises(ValueError, match="no room"):
                await each
        assert under_way.get("e", "a") is None

    asyncio.run(main())
