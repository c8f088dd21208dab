"""Calls that wait in a worker for their turn: which may, how they come back. Any order of events: test_dispatcher."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from runpod_flash.control_plane import assigning, causes
from runpod_flash.control_plane.causes import CauseKind
from runpod_flash.control_plane.fleet import SMALL, Job, Pool, WorkerState
from runpod_flash.control_plane.pace import Pace
from tests.support.memory_fleet import Scene, ScriptedWorker
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import INLINE_LIMIT, ErrorInfo, ErrorKind, JobStatus


def played(test: Callable[[Scene], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test with a scene whose calls were short until now."""

    async def play() -> None:
        scene = Scene()
        scene.pool.pace.took(0.0001)
        await asyncio.wait_for(test(scene), 10)

    def run() -> None:
        asyncio.run(play())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def until(condition: Callable[[], object]) -> None:
    """Wait for what takes real time."""
    while not condition():
        await asyncio.sleep(0.002)


async def three_in_one(scene: Scene) -> tuple[ScriptedWorker, list[Job]]:
    """One call that runs and two that wait for their turn."""
    worker = scene.start()
    jobs = [await scene.submit() for _ in range(3)]
    await scene.turns()
    assert list(worker.calls) == [job.record.id for job in jobs]
    return worker, jobs


@played
async def test_calls_that_wait_in_a_worker_are_told_as_waiting(scene: Scene) -> None:
    worker, jobs = await three_in_one(scene)
    assert [job.record.status for job in jobs] == [JobStatus.IN_PROGRESS, JobStatus.IN_QUEUE, JobStatus.IN_QUEUE]
    assert [job.record.worker for job in jobs] == [worker.worker.id, None, None]
    assert [causes.why(scene.pool, job).behind for job in jobs[1:]] == [1, 2]
    assert causes.why(scene.pool, jobs[1]).kind is CauseKind.QUEUED
    assert (scene.pool.ahead, worker.worker.idle, len(worker.worker.running)) == (2, False, 1)
    worker.done(jobs[0])
    await scene.turns()
    assert [job.record.status for job in jobs[1:]] == [JobStatus.IN_PROGRESS, JobStatus.IN_QUEUE]
    assert jobs[1].record.started_at is not None
    for job in jobs[1:]:
        worker.done(job)
    await scene.dispatcher.settle()
    scene.check_ends()


@played
async def test_nothing_waits_in_a_worker_while_another_is_free(scene: Scene) -> None:
    workers = [scene.start() for _ in range(3)]
    for _ in range(7):
        await scene.submit()
    await scene.turns()
    assert [len(worker.calls) for worker in workers] == [3, 2, 2]
    assert [job for job, _, _ in scene.runs[:3]] == [next(iter(worker.calls)) for worker in workers]


@played
async def test_ends_that_come_together_are_all_heard_before_anything_is_handed_out(scene: Scene) -> None:
    worker = scene.start()
    jobs = [await scene.submit() for _ in range(1 + scene.pool.pace.depth + 3)]
    await scene.turns()
    assert len(scene.pool.queue) == 3
    with scene.dispatcher.together():
        for job in jobs[:4]:
            worker.done(job)
        assert len(scene.pool.queue) == 3
    assert not scene.pool.queue
    await scene.turns()
    assert len(worker.calls) == len(jobs) - 4
    worker.done(jobs[4])
    for job in jobs[5:]:
        worker.done(job)
    await scene.dispatcher.settle()
    scene.check_ends()


@played
async def test_what_may_not_wait_in_a_worker_waits_in_the_queue_and_all_behind_it(scene: Scene) -> None:
    worker = scene.start()
    await scene.submit()
    for unfit in ({"retries": 0}, {"large": b"v" * (INLINE_LIMIT + 1)}):
        job = await scene.submit(**unfit)  # type: ignore[arg-type]
        behind = await scene.submit()
        await scene.turns()
        assert list(scene.pool.queue) == [job, behind]
        assert len(worker.calls) == 1
        scene.dispatcher.cancel(job)
        scene.dispatcher.cancel(behind)
        await scene.turns()
        for waiting in [one for one in worker.calls if one != worker.begun[0]]:
            worker.done(waiting)
    assert SMALL < INLINE_LIMIT


@pytest.mark.parametrize(("concurrency", "takes_s"), [(2, 0.0001), (1, 0.5)])
def test_several_at_a_time_and_long_calls_have_none_ahead(concurrency: int, takes_s: float) -> None:
    async def play() -> None:
        scene = Scene(concurrency)
        scene.pool.pace.took(takes_s)
        worker = scene.start()
        for _ in range(5):
            await scene.submit()
        await scene.turns()
        assert len(worker.calls) == concurrency

    asyncio.run(play())


@played
async def test_calls_behind_one_that_turns_out_long_come_back_and_go_to_who_is_free(scene: Scene) -> None:
    worker, jobs = await three_in_one(scene)
    before = [job.queued_at for job in jobs]
    await until(lambda: worker.asked_back)
    assert worker.asked_back == [[job.record.id for job in jobs[1:]]]
    later = await scene.submit()
    await scene.turns()
    assert list(worker.calls) == [job.record.id for job in jobs]  # nothing more, while it has not answered
    worker.give_back()
    await scene.turns()
    assert list(scene.pool.queue) == [*jobs[1:], later]
    assert [job.queued_at for job in jobs] == before
    other = scene.start()
    await scene.turns()
    assert list(other.calls.items()) == [(jobs[1].record.id, 2)]
    assert jobs[1].record.retries == 0
    for scripted, job in ((other, jobs[1]), (other, jobs[2]), (worker, jobs[0]), (other, later)):
        await scene.turns()
        owner = scripted if job.record.id in scripted.calls else worker
        owner.done(job)
    await scene.dispatcher.settle()
    scene.check_ends()


@played
async def test_a_worker_that_becomes_free_gets_a_call_that_waits_behind_a_longer_one(scene: Scene) -> None:
    scene.pool.pace = Pace()
    scene.pool.pace.took(0.005)
    one, two = scene.start(), scene.start()
    jobs = [await scene.submit() for _ in range(4)]
    await scene.turns()
    assert [len(one.calls), len(two.calls)] == [2, 2]
    two.done(jobs[1])
    two.done(jobs[3])
    await scene.turns()
    assert one.asked_back == [[jobs[2].record.id]]
    one.give_back()
    await scene.turns()
    assert list(two.calls) == [jobs[2].record.id]


@played
async def test_a_worker_that_is_lost_has_begun_one_call_and_the_others_lose_no_retry(scene: Scene) -> None:
    worker, jobs = await three_in_one(scene)
    scene.lose(worker)
    await scene.turns()
    assert [job.record.retries for job in jobs] == [1, 0, 0]
    assert list(scene.pool.queue) == jobs
    again = scene.start()
    for job in jobs:
        await scene.turns()
        assert list(again.calls) == [job.record.id]  # what was sent before waits for a worker that is free
        again.done(job)
    await scene.dispatcher.settle()
    scene.check_ends()


@played
async def test_a_worker_that_ends_in_good_order_tells_that_it_had_not_begun(scene: Scene) -> None:
    worker, jobs = await three_in_one(scene)
    scene.dispatcher.never_began(worker.worker, [job.record.id for job in jobs])
    scene.lose(worker)
    await scene.turns()
    assert [job.record.retries for job in jobs] == [0, 0, 0]


@played
async def test_a_call_that_waits_for_its_turn_is_cancelled_and_its_worker_told(scene: Scene) -> None:
    worker, jobs = await three_in_one(scene)
    scene.dispatcher.cancel(jobs[1])
    record = await jobs[1].done
    assert record.status is JobStatus.CANCELLED
    assert worker.frames[-1] == {"type": messages.CANCEL, "job": record.id, "attempt": 1, "body": b""}
    worker.done(jobs[1], error=ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "it was cancelled"))
    worker.done(jobs[0])
    await scene.turns()
    assert list(worker.worker.running.values()) == [jobs[2]]


@played
async def test_a_queue_timeout_counts_until_a_call_begins(scene: Scene) -> None:
    worker = scene.start()
    await scene.submit()
    job = await scene.submit(queue_timeout_ms=20)
    record = await job.done
    assert (record.status, list(worker.calls)[1:]) == (JobStatus.TIMED_OUT, [record.id])


@played
async def test_what_has_not_begun_is_asked_for_when_nothing_is_handed_out_any_more(scene: Scene) -> None:
    worker, jobs = await three_in_one(scene)
    scene.dispatcher.hold()
    worker.give_back()
    await scene.turns()
    assert list(scene.pool.queue) == jobs[1:]
    draining = asyncio.ensure_future(scene.dispatcher.drained(5))
    worker.done(jobs[0])
    assert await draining
    assert worker.calls == {}


@played
async def test_a_worker_that_is_retired_gives_back_what_it_has_not_begun(scene: Scene) -> None:
    worker, jobs = await three_in_one(scene)
    worker.worker.state = WorkerState.DRAINING
    scene.dispatcher.recall(worker.worker)
    scene.dispatcher.recall(worker.worker)  # once is enough
    assert len(worker.asked_back) == 1
    jobs_after = [*jobs[2:]]
    worker.done(jobs[0])  # meanwhile the next one has begun
    worker.give_back()
    await scene.turns()
    assert list(scene.pool.queue) == jobs_after
    assert list(worker.worker.running.values()) == [jobs[1]]


@played
async def test_an_object_has_calls_ahead_where_it_lives_and_nowhere_else(scene: Scene) -> None:
    one, two = scene.start(), scene.start()
    jobs = [await scene.submit(instance="object") for _ in range(3)]
    await scene.turns()
    assert [len(one.calls), len(two.calls)] == [3, 0]
    for job in jobs:
        one.done(job)
    await scene.dispatcher.settle()
    scene.check_ends()


@played
async def test_with_many_workers_and_jobs_few_are_looked_at(scene: Scene) -> None:
    workers = [scene.start() for _ in range(64)]
    looks = 0
    found = assigning.Assigning._has_place

    def counted(self: assigning.Assigning, worker: Any, job: Job) -> bool:
        nonlocal looks
        looks += 1
        return found(self, worker, job)

    assigning.Assigning._has_place = counted  # type: ignore[method-assign]  # only to be counted
    try:
        for _ in range(1000):
            await scene.submit()
        await scene.turns()
        for worker in workers:
            for job in list(worker.calls):
                worker.done(job)
    finally:
        assigning.Assigning._has_place = found  # type: ignore[method-assign]
    assert looks < 6 * 1000


def test_who_waits_in_a_long_queue_is_told_now_and_then_and_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assigning, "TELL_S", 0.1)

    async def play() -> None:
        scene, told = Scene(), list[int]()
        refresh = scene.announcer.refresh

        def counted(pool: Pool) -> None:
            told.append(len(pool.queue))
            refresh(pool)

        scene.announcer.refresh = counted  # type: ignore[method-assign]
        scene.start()
        for _ in range(60):
            scene.dispatcher.pump(scene.pool)
            await scene.submit()
            await scene.turns(2)
        async with asyncio.timeout(10):
            while 59 not in told:
                await asyncio.sleep(0.002)
        assert len(told) < 60, "not at each of them"

    asyncio.run(play())


@played
async def test_where_all_runs_who_looks_after_workers_hears_of_it_at_once_and_then_now_and_then(scene: Scene) -> None:
    worker, heard = scene.start(), list[str]()
    await scene.turns()
    await until(lambda: not scene.dispatcher._assigning._late)
    scene.dispatcher.on_load = heard.append
    for number in range(20):
        job = await scene.submit()
        await scene.turns()
        worker.done(job)
        await scene.turns()
        assert heard or number
    assert len(heard) < 20
    before = len(heard)
    await until(lambda: len(heard) > before)  # of what was not told
    await scene.dispatcher.settle()
    scene.check_ends()
