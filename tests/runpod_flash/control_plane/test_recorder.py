"""Nothing is told before it is on disk."""

import asyncio
from dataclasses import replace

from runpod_flash.control_plane import lifecycle, recorder
from runpod_flash.control_plane.fleet import Job
from runpod_flash.control_plane.recorder import Recorder
from tests.support.memory_fleet import Scene
from worker_runtime.wire.jobs import JobStatus


async def ended(scene: Scene) -> tuple[Recorder, Job, list[str]]:
    """A recorder of its own, and a job that is about to end."""
    calls = list[str]()
    own = Recorder(scene.store, scene.announcer)
    own.on_final = lambda job: calls.append("final")
    own.on_room = lambda: calls.append("room")
    own.on_stall = lambda: calls.append("stall")
    job = await scene.submit()
    job.record = lifecycle.start(job.record, "w", 1.0)
    return own, job, calls


def test_an_end_is_told_after_its_commit_with_what_the_job_wrote() -> None:
    async def play() -> None:
        scene = Scene()
        own, job, calls = await ended(scene)
        job.logs.extend([{"attempt": 1, "stream": "stdout", "line": "hello"}])
        own.wrote(job)
        own.final(job, lifecycle.succeed(job.record, "value", 2.0))
        assert (job.decided, job.done.done(), calls) == (True, False, [])
        await own.settle()
        assert (job.done.result().output, calls) == ("value", ["final"])
        assert scene.store.logs[job.record.id][0]["line"] == "hello"
        assert [event["job"]["status"] for event in scene.events.of("job")] == ["COMPLETED"]

    asyncio.run(play())


def test_a_full_disk_is_tried_again_until_there_is_room() -> None:
    async def play() -> None:
        scene = Scene()
        own, job, calls = await ended(scene)
        scene.store.full = True
        assert not await own.saved(job.record)
        assert not await own.saved(job.record)
        assert (own.stalled, calls) == (True, ["stall"])
        own.final(job, lifecycle.succeed(job.record, 1, 2.0))
        await own.settle()
        assert not job.done.done()
        job.outcome = replace(job.outcome, client="another") if job.outcome else None
        scene.store.full = False
        async with asyncio.timeout(recorder.AGAIN_S + 5):
            record = await job.done
        assert (record.status, record.client) == (JobStatus.COMPLETED, "another")
        assert calls == ["stall", "room", "final"] or calls == ["stall", "final", "room"]
        assert [version.status.final for version in scene.store.versions[record.id]].count(True) == 1

    asyncio.run(play())


def test_room_that_is_held_back_is_used_at_once() -> None:
    async def play() -> None:
        scene = Scene()
        own, job, calls = await ended(scene)
        scene.store.full = True

        def give() -> bool:
            scene.store.full = False
            return True

        own.on_refused = give
        assert await own.saved(job.record)
        assert (own.stalled, calls) == (False, [])

    asyncio.run(play())
