"""Timers of jobs; how the dispatcher uses them is in its own tests."""

import asyncio
import time
from dataclasses import replace

from runpod_flash.control_plane.deadlines import Deadlines
from runpod_flash.control_plane.fleet import Job
from tests.support.memory_fleet import Scene
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind


def test_a_restart_takes_the_time_that_has_passed_from_the_ttl_and_a_clock_that_went_back_none() -> None:
    async def play() -> None:
        scene, expired = Scene(), list[str]()
        deadlines = Deadlines(lambda job, error: expired.append(job.record.id))
        old, young = await scene.submit(), await scene.submit()
        old.record = replace(old.record, ttl_ms=60_000, created_at=time.time() - 61)
        young.record = replace(young.record, ttl_ms=60_000, created_at=time.time() + 3600)
        for job in (old, young):
            deadlines.accepted(job)
        async with asyncio.timeout(5):
            while not expired:
                await asyncio.sleep(0.001)
        assert expired == [old.record.id]
        left = young.timers["ttl"].when() - asyncio.get_running_loop().time()
        assert 50 < left <= 60
        deadlines.ended(young)
        assert young.timers == {}

    asyncio.run(play())


def test_what_has_no_limit_has_no_timer() -> None:
    async def play() -> None:
        scene = Scene()

        def expire(job: Job, error: ErrorInfo) -> None:
            raise AssertionError(error)

        job = await scene.submit()
        Deadlines(expire).accepted(job)
        assert job.timers == {}

    asyncio.run(play())


def test_how_long_an_attempt_of_a_command_may_run() -> None:
    """Each attempt by itself, and not while it waits; our own workers look after that themselves."""

    async def play() -> None:
        scene, expired = Scene(), list[ErrorInfo]()
        deadlines = Deadlines(lambda job, error: expired.append(error))
        own, job = await scene.submit(), await scene.submit()
        for each in (own, job):
            each.record = replace(each.record, timeout_ms=600_000)
        job.call = None
        deadlines.started(own)
        assert own.timers == {}
        deadlines.started(job)
        assert 590 < job.timers["run"].when() - asyncio.get_running_loop().time() <= 600
        deadlines.queued(job)
        assert job.timers == {}
        job.record = replace(job.record, timeout_ms=1)
        deadlines.started(job)
        async with asyncio.timeout(5):
            while not expired:
                await asyncio.sleep(0.001)
        assert (expired[0].kind, expired[0].message) == (
            ErrorKind.TIMED_OUT,
            "it ran longer than 0.001 s and was stopped",
        )
        deadlines.ended(job)
        assert job.timers == {}
        job.record = replace(job.record, timeout_ms=0)
        deadlines.started(job)
        assert job.timers == {}

    asyncio.run(play())
