"""Timers of jobs; how the dispatcher uses them is in its own tests."""

import asyncio
import time
from dataclasses import replace

from runpod_flash.control_plane.deadlines import Deadlines
from runpod_flash.control_plane.fleet import Job
from tests.support.memory_fleet import Scene
from worker_runtime.wire.jobs import ErrorInfo


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
