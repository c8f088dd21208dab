"""Questions of one turn of the loop go together; each finds its answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from runpod_flash.backends.lookups import AT_ONCE, Looked, Lookups
from runpod_flash.errors import BackendError, BackendUnavailable, JobNotFound


class Platform:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, **jobs: Any) -> None:
        self.jobs = jobs
        self.fits = AT_ONCE
        self.asked: list[list[str]] = []
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def ask(self, job_ids: Sequence[str]) -> Looked:
        self.asked.append(list(job_ids))
        if self.meanwhile is not None:
            await self.meanwhile()
        known = [job_id for job_id in job_ids if job_id in self.jobs]
        final = [{"id": job_id, "output": self.jobs[job_id]} for job_id in known if self.jobs[job_id] is not None]
        waiting = [job_id for job_id in known if self.jobs[job_id] is None]
        return Looked(final[: self.fits], waiting, [job_id for job_id in job_ids if job_id not in self.jobs])


def test_one_request_answers_all_who_ask_in_one_turn() -> None:
    async def run() -> None:
        platform = Platform(a=1, b=None)
        lookups = Lookups(platform.ask)
        asking = (lookups.look(job_id) for job_id in ("a", "b", "gone", "a"))
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert found[:2] == [{"id": "a", "output": 1}, None]
        assert isinstance(found[2], JobNotFound)
        assert "no job gone" in str(found[2])
        assert found[3] == found[0]
        assert platform.asked == [["a", "b", "gone"]]
        assert await lookups.look("b") is None
        assert platform.asked[1:] == [["b"]]

    asyncio.run(run())


def test_requests_are_limited_and_what_did_not_fit_is_asked_for_again() -> None:
    async def run() -> None:
        count = 2 * AT_ONCE + 1
        platform = Platform(**{str(number): number for number in range(count)})
        platform.fits = 800
        lookups = Lookups(platform.ask)
        found = await asyncio.gather(*(lookups.look(str(number)) for number in range(count)))
        assert [job and job["output"] for job in found] == list(range(count))
        assert [len(asked) for asked in platform.asked] == [1000, 1000, 401]

    asyncio.run(run())


def test_a_question_that_comes_during_a_request_goes_into_the_next() -> None:
    async def run() -> None:
        platform = Platform(a=1, b=2)
        lookups = Lookups(platform.ask)
        late: list[asyncio.Task[Any]] = []

        async def meanwhile() -> None:
            platform.meanwhile = None
            late.append(asyncio.create_task(lookups.look("b")))
            await asyncio.sleep(0)

        platform.meanwhile = meanwhile
        assert (await lookups.look("a")) == {"id": "a", "output": 1}
        assert (await late[0]) == {"id": "b", "output": 2}
        assert platform.asked == [["a"], ["b"]]

    asyncio.run(run())


def test_a_failed_request_fails_all_who_waited_for_it_and_no_later_one() -> None:
    async def run() -> None:
        platform = Platform(**{str(number): number for number in range(AT_ONCE + 5)})
        lookups = Lookups(platform.ask)
        late: list[asyncio.Task[Any]] = []

        async def meanwhile() -> None:
            platform.meanwhile = None
            late.append(asyncio.create_task(lookups.look("7")))
            late.append(asyncio.create_task(lookups.look("0")))
            await asyncio.sleep(0)
            raise BackendUnavailable("away")

        platform.meanwhile = meanwhile
        jobs = [str(number) for number in range(AT_ONCE + 5) if number != 7]
        found = await asyncio.gather(*map(lookups.look, jobs), return_exceptions=True)
        assert {type(each) for each in found} == {BackendUnavailable}
        assert len(platform.asked) == 2
        assert (await late[0]) == {"id": "7", "output": 7}
        with pytest.raises(BackendUnavailable):
            await late[1]

    asyncio.run(run())


def test_who_goes_away_is_not_asked_for() -> None:
    async def run() -> None:
        platform = Platform(a=1, b=2)
        lookups = Lookups(platform.ask)
        tasks = [asyncio.create_task(lookups.look(job_id)) for job_id in ("a", "b")]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert (await tasks[1]) == {"id": "b", "output": 2}
        assert platform.asked == [["b"]]
        assert lookups._wanted == {}

    asyncio.run(run())


def test_a_platform_that_says_nothing_of_a_job_is_no_endless_loop() -> None:
    async def run() -> None:
        async def silent(job_ids: Sequence[str]) -> Looked:
            return Looked()

        assert await Lookups(silent).look("a") is None

    asyncio.run(run())


@pytest.mark.parametrize("answer", [{}, {"jobs": []}, {"jobs": [1], "waiting": [], "unknown": []}, {"jobs": None}])
def test_what_is_no_answer_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match="is the URL right"):
        Looked.of(answer)
