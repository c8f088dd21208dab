"""Who gets which job: the rules under any order of events, then each rule by itself."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane import assigning, causes
from runpod_flash.control_plane.causes import CauseKind
from runpod_flash.control_plane.fleet import ARTIFACTS_PER_WORKER, Job, WorkerState
from runpod_flash.control_plane.platform import everything
from runpod_flash.control_plane.shared_values import NoMemory
from runpod_flash.errors import ContentNotFound
from tests.support.memory_fleet import Scene
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import (
    INLINE_LIMIT,
    Call,
    ErrorInfo,
    ErrorKind,
    JobStatus,
    Payload,
    read_output,
)
from worker_runtime.wire.ranges import Range
from worker_runtime.wire.retries import Backoff

USER = ErrorInfo(ErrorKind.USER, "ValueError", "bad")


def played(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test on a loop of its own."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 10))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def error_of(job: Job) -> ErrorInfo:
    found = read_output(job.record.output)
    assert isinstance(found, ErrorInfo)
    return found


async def once_in_a_while(condition: Callable[[], object]) -> None:
    """Wait for what takes real time."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


# ---- any order of events

INSTANCES = st.sampled_from([None, None, "object-1", "object-2", "object-3"])
EVENTS = st.one_of(
    st.tuples(st.just("submit"), INSTANCES, st.sampled_from([None, 0, 1, 2])),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(
        st.sampled_from(["ready", "done", "fail", "lose", "retire", "late", "cancel", "recall", "give_back"]),
        st.integers(0, 99),
    ),
    st.tuples(st.just("drop"), st.sampled_from(["object-1", "object-2"])),
    st.tuples(st.just("turns"), st.integers(1, 6)),
)


class Play:
    """Applies random events to a scene; those that make no sense at the moment do nothing."""

    def __init__(self, concurrency: int, takes_s: float = 0.0001) -> None:
        """`takes_s`: how long calls took until now, by which it goes how many a worker gets ahead."""
        self.scene = Scene(concurrency)
        self.scene.pool.pace.took(takes_s)
        self.ended: list[tuple[Any, str, int]] = []

    async def apply(self, event: tuple[Any, ...]) -> None:
        await getattr(self, event[0])(*event[1:])

    async def submit(self, instance: str | None, retries: int | None) -> None:
        await self.scene.submit(instance=instance, retries=retries)

    async def start(self, ready: bool) -> None:
        if len(self.scene.workers) < 4:
            self.scene.start(ready=ready)

    async def ready(self, number: int) -> None:
        starting = [one for one in self.scene.workers if one.worker.state is WorkerState.STARTING]
        if starting:
            self.scene.dispatcher.worker_ready(starting[number % len(starting)].worker)

    async def done(self, number: int, error: ErrorInfo | None = None) -> None:
        running = [(one, job) for one in self.scene.workers for job in one.begun]
        if running:
            worker, job = running[number % len(running)]
            self.ended.append((worker, job, worker.calls[job]))
            worker.done(job, b"result", error)

    async def fail(self, number: int) -> None:
        await self.done(number, USER)

    async def late(self, number: int) -> None:
        """A worker says once more what it has said."""
        if self.ended:
            worker, job, attempt = self.ended[number % len(self.ended)]
            self.scene.dispatcher.finished(worker.worker, job, attempt, None, b"too late")

    async def lose(self, number: int) -> None:
        if self.scene.workers:
            worker = self.scene.workers[number % len(self.scene.workers)]
            self.ended += [(worker, job, attempt) for job, attempt in worker.calls.items()]
            self.scene.lose(worker)

    async def retire(self, number: int) -> None:
        """As the supervisor does after a change of the endpoint."""
        busy = [one.worker for one in self.scene.workers if one.worker.state is WorkerState.READY and one.calls]
        if busy:
            worker = busy[number % len(busy)]
            worker.state = WorkerState.DRAINING
            worker.pool.queue.extendleft(reversed(worker.queue))
            worker.queue.clear()
            self.scene.dispatcher.recall(worker)

    async def recall(self, number: int) -> None:
        """What a worker runs takes longer than such calls do."""
        if self.scene.workers:
            self.scene.dispatcher.recall(self.scene.workers[number % len(self.scene.workers)].worker)

    async def give_back(self, number: int) -> None:
        """A worker answers that, some time later."""
        asked = [one for one in self.scene.workers if one.asked_back]
        if asked:
            asked[number % len(asked)].give_back()

    async def cancel(self, number: int) -> None:
        jobs = [job for job in self.scene.jobs if not job.record.status.final]
        if jobs:
            self.scene.dispatcher.cancel(jobs[number % len(jobs)])

    async def drop(self, instance: str) -> None:
        self.scene.dropped.add(instance)
        self.scene.dispatcher.drop_instance(instance, everything)

    async def turns(self, number: int) -> None:
        await self.scene.turns(number)

    async def finish(self) -> None:
        """Let every job end."""
        self.scene.start()
        for _ in range(20 + 4 * len(self.scene.jobs)):
            await self.scene.turns()
            for worker in list(self.scene.workers):
                if worker.worker.state is WorkerState.STARTING:
                    self.scene.dispatcher.worker_ready(worker.worker)
                while worker.asked_back:
                    worker.give_back()
                for job in list(worker.calls):
                    worker.done(job)
            if self.scene.dispatcher.active == 0:
                break
        await self.scene.dispatcher.settle()


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 3), st.sampled_from([0.0001, 0.005, 1.0]), st.lists(EVENTS, max_size=60))
def test_whatever_happens_each_job_ends_once_and_the_rules_hold(
    concurrency: int, takes_s: float, events: list[Any]
) -> None:
    async def play() -> None:
        game = Play(concurrency, takes_s)
        for event in events:
            await game.apply(event)
        await game.finish()
        game.scene.check_ends()

    asyncio.run(play())


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 3),
    st.lists(st.one_of(st.just(("submit", None, None)), st.tuples(st.just("done"), st.integers(0, 99)),
                       st.tuples(st.just("cancel"), st.integers(0, 99)), st.tuples(st.just("turns"), st.integers(1, 6)),
                       st.tuples(st.just("start"), st.booleans()), st.tuples(st.just("ready"), st.integers(0, 99))),
             max_size=60),
)  # fmt: skip
def test_calls_of_functions_begin_in_the_order_in_which_they_came(concurrency: int, events: list[Any]) -> None:
    async def play() -> None:
        game = Play(concurrency)
        for event in events:
            await game.apply(event)
        await game.finish()
        game.scene.check_ends()
        begun = [job for job, _, _ in game.scene.runs]
        assert begun == [job.record.id for job in game.scene.jobs if job.record.id in set(begun)]

    asyncio.run(play())


# ---- one by one


@played
async def test_a_result_reaches_the_store_and_the_client() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit()
    await scene.turns()
    worker.done(job, b"value")
    record = await job.done
    assert (record.status, record.attempts, record.worker) == (JobStatus.COMPLETED, 1, worker.worker.id)
    assert read_output(record.output) == Payload(inline=b"value", size=5)
    scene.check_ends()


@played
async def test_a_worker_gets_an_artifact_once_and_values_with_each_call() -> None:
    scene = Scene()
    worker = scene.start()
    worker.worker.artifacts.clear()
    for _ in range(2):
        job = await scene.submit(large=b"v" * (INLINE_LIMIT + 1))
        await scene.turns()
        worker.done(job)
        await job.done
    assert worker.types() == [messages.ARTIFACT, messages.RUN, messages.RUN]
    assert worker.frames[-1]["body"] == b"v" * (INLINE_LIMIT + 1)
    assert worker.frames[-1]["sizes"] == [INLINE_LIMIT + 1]


@played
async def test_a_worker_is_told_which_artifacts_it_shall_forget_and_gets_them_again() -> None:
    scene = Scene()
    worker = scene.start()
    for number in range(ARTIFACTS_PER_WORKER):
        worker.worker.uses(f"older{number}")
    job = await scene.submit()
    await scene.turns()
    assert worker.types() == [messages.FORGET, messages.ARTIFACT, messages.RUN]
    assert worker.frames[0]["id"] == "older0"
    worker.done(job)
    await job.done


@played
async def test_a_value_that_is_gone_fails_the_job_and_frees_the_worker() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit(large=b"v" * (INLINE_LIMIT + 1))
    scene.values.held.clear()
    following = await scene.submit()
    await job.done
    assert error_of(job).kind is ErrorKind.PLATFORM
    await scene.turns()
    worker.done(following)
    assert (await following.done).status is JobStatus.COMPLETED


@played
async def test_a_large_result_becomes_a_value() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit()
    await scene.turns()
    data = b"r" * (INLINE_LIMIT + 1)
    worker.done(job, data)
    found = read_output((await job.done).output)
    assert isinstance(found, Payload)
    assert scene.values.held[str(found.sha256)] == data


@pytest.mark.parametrize("what", ["cancelled", "lived too long", "worker lost"])
def test_what_comes_while_a_large_result_is_stored(what: str) -> None:
    async def main() -> None:
        scene, at_it, go_on = Scene(), asyncio.Event(), asyncio.Event()

        async def storing() -> None:
            at_it.set()
            await go_on.wait()

        scene.values.storing = storing
        worker = scene.start()
        job = await scene.submit(**({"ttl_ms": 50} if what == "lived too long" else {}))
        await scene.turns()
        worker.done(job, b"r" * (INLINE_LIMIT + 1))
        await at_it.wait()
        if what == "cancelled":
            scene.dispatcher.cancel(job)
        elif what == "worker lost":
            scene.lose(worker)
            go_on.set()
        record = await job.done
        go_on.set()
        await scene.dispatcher.settle()
        ends = {"cancelled": ErrorKind.CANCELLED, "lived too long": ErrorKind.EXPIRED}
        assert record.status is JobStatus.COMPLETED if what == "worker lost" else error_of(job).kind is ends[what]
        next_worker = scene.start() if what == "worker lost" else worker
        following = await scene.submit()
        await scene.turns()
        next_worker.done(following)
        assert (await following.done).status is JobStatus.COMPLETED
        scene.check_ends()

    asyncio.run(asyncio.wait_for(main(), 10))


@played
async def test_a_result_that_cannot_be_stored_is_an_error_of_the_platform() -> None:
    scene = Scene()
    scene.values.full = True
    worker = scene.start()
    job = await scene.submit()
    await scene.turns()
    worker.done(job, b"r" * (INLINE_LIMIT + 1))
    await job.done
    assert error_of(job).kind is ErrorKind.PLATFORM
    assert "the disk is full" in error_of(job).message


@played
async def test_an_end_that_cannot_be_written_is_told_when_it_can() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit()
    await scene.turns()
    scene.store.full = True
    worker.done(job)
    await scene.turns()
    assert (job.decided, job.done.done(), job.record.status) == (True, False, JobStatus.IN_PROGRESS)
    assert scene.events.of("job") == []
    scene.dispatcher.cancel(job)  # too late
    scene.store.full = False
    assert (await job.done).status is JobStatus.COMPLETED
    scene.check_ends()


@played
async def test_a_start_that_cannot_be_written_does_not_happen_and_uses_up_nothing() -> None:
    scene = Scene()
    once, often = await scene.submit(retries=0), await scene.submit()
    scene.store.full = True
    worker = scene.start()
    await scene.turns()
    assert (worker.calls, scene.dispatcher.recorder.stalled) == ({}, True)
    assert causes.why(scene.pool, once).kind is CauseKind.NO_CAPACITY
    scene.store.full = False
    await once_in_a_while(lambda: worker.calls)
    assert list(worker.calls) == [once.record.id]
    worker.done(once)
    assert (await once.done).status is JobStatus.COMPLETED
    await scene.turns()
    worker.done(often)
    assert ((await often.done).attempts, often.record.retries) == (1, 0)


@played
async def test_a_start_that_was_never_sent_is_not_held_against_the_job() -> None:
    scene = Scene()
    first = scene.start()
    job = await scene.submit(retries=0)
    scene.lose(first)  # before the start was committed
    second = scene.start()
    await scene.turns()
    assert second.calls == {job.record.id: 2}
    second.done(job)
    assert ((await job.done).attempts, job.record.retries) == (2, 0)


@played
async def test_time_that_is_over_ends_a_job_wherever_it_is() -> None:
    scene = Scene()
    worker = scene.start()
    running = await scene.submit(ttl_ms=30, retries=5)
    waiting, patient = await scene.submit(queue_timeout_ms=30), await scene.submit()
    await scene.turns()
    for job in (running, waiting):
        assert (await job.done).status is JobStatus.TIMED_OUT
        assert error_of(job).kind is ErrorKind.EXPIRED
    assert "ttl of 0.03 s" in error_of(running).message
    assert "queue timeout of 0.03 s" in error_of(waiting).message
    assert worker.frames[-1] == {"type": messages.CANCEL, "job": running.record.id, "attempt": 1, "body": b""}
    worker.done(running, error=ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "stopped"))
    await scene.turns()
    assert list(worker.calls) == [patient.record.id]


@played
async def test_a_job_that_runs_does_not_wait_any_more_and_one_that_is_queued_again_does() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit(queue_timeout_ms=40)
    await scene.turns()
    await asyncio.sleep(0.08)
    assert job.record.status is JobStatus.IN_PROGRESS
    scene.lose(worker)
    assert (await job.done).status is JobStatus.TIMED_OUT


class Shared(NoMemory):
    """Memory in which one result lies, as the dispatcher sees it."""

    def __init__(self, there: Range) -> None:
        self.there, self.discarded = there, list[Range]()

    def received(self, worker: str, found: Range) -> Payload | None:
        return Payload.in_range(found, 1.0) if found == self.there else None

    def discard(self, worker: str, found: Range) -> None:
        self.discarded.append(found)


@played
async def test_a_result_in_memory_is_told_as_that_and_a_wrong_one_is_the_error_of_its_job() -> None:
    scene, there, wrong = Scene(), Range(1, 2, 3, 4), Range(1, 9, 3, 4)
    memory = Shared(there)
    scene.dispatcher.share(memory)
    worker = scene.start()
    for found in (there, wrong):
        job = await scene.submit()
        await scene.turns()
        scene.dispatcher.finished(worker.worker, job.record.id, 1, None, found)
        record = await job.done
        if found == there:
            assert record.output == Payload.in_range(there, 1.0)
        else:
            assert (record.status, error_of(job).kind) == (JobStatus.FAILED, ErrorKind.PLATFORM)
            assert "shared memory" in error_of(job).message
    assert not memory.discarded
    scene.dispatcher.finished(worker.worker, "unknown", 1, None, there)
    assert memory.discarded == [there]


@played
async def test_a_late_result_of_a_lost_worker_is_ignored() -> None:
    scene = Scene()
    first = scene.start()
    job = await scene.submit()
    await scene.turns()
    scene.lose(first)
    second = scene.start()
    await scene.turns()
    assert second.calls == {job.record.id: 2}
    scene.dispatcher.finished(first.worker, job.record.id, 1, None, b"late")
    second.done(job, b"in time")
    record = await job.done
    assert read_output(record.output) == Payload(inline=b"in time", size=7)
    assert (record.attempts, record.retries) == (2, 1)


@played
async def test_a_word_about_an_earlier_attempt_in_the_same_worker_is_ignored() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit(retries=1)
    await scene.turns()
    worker.done(job, error=USER)
    await scene.turns()
    assert worker.calls == {job.record.id: 2}
    scene.dispatcher.finished(worker.worker, job.record.id, 1, None, b"late")
    assert not job.decided
    worker.done(job, b"in time")
    record = await job.done
    assert (record.attempts, read_output(record.output)) == (2, Payload(inline=b"in time", size=7))


@pytest.mark.parametrize(("retries", "starts"), [(None, 2), (0, 1), (3, 4)])
def test_lost_workers_are_tried_again_as_often_as_allowed(retries: int | None, starts: int) -> None:
    async def play() -> None:
        scene = Scene()
        job = await scene.submit(retries=retries)
        while not job.record.status.final:
            worker = scene.start()
            await scene.turns()
            scene.lose(worker)
            await scene.turns()
        error = error_of(job)
        assert (error.kind, job.record.attempts) == (ErrorKind.WORKER_LOST, starts)
        assert "its link broke" in error.message
        assert "last words" in error.message

    asyncio.run(play())


@played
async def test_what_a_lost_worker_ran_comes_before_what_waits_in_its_old_order() -> None:
    scene = Scene(concurrency=2)
    worker = scene.start()
    for _ in range(4):
        await scene.submit()
    await scene.turns()
    scene.lose(worker)
    assert [job.record.id for job in scene.pool.queue] == [job.record.id for job in scene.jobs]


@played
async def test_a_queued_job_that_is_cancelled_leaves_the_queue() -> None:
    scene = Scene()
    jobs = [await scene.submit() for _ in range(3)]
    scene.dispatcher.cancel(jobs[1])
    assert list(scene.pool.queue) == [jobs[0], jobs[2]]
    assert (await jobs[1].done).status is JobStatus.CANCELLED


@played
async def test_a_running_job_that_is_cancelled_keeps_its_slot_until_its_worker_is_free() -> None:
    scene = Scene()
    worker = scene.start()
    job, following = await scene.submit(), await scene.submit()
    await scene.turns()
    scene.dispatcher.cancel(job)
    assert (await job.done).status is JobStatus.CANCELLED
    assert worker.frames[-1]["type"] == messages.CANCEL
    assert list(worker.calls) == [job.record.id]
    worker.done(job, b"all the same")
    await scene.turns()
    assert list(worker.calls) == [following.record.id]
    assert job.record.status is JobStatus.CANCELLED


@played
async def test_a_job_that_is_cancelled_before_it_is_sent_is_never_sent() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit()
    assert job.record.status is JobStatus.IN_PROGRESS
    scene.dispatcher.cancel(job)
    await job.done
    await scene.turns()
    assert worker.frames == []
    assert worker.worker.idle


@played
async def test_objects_are_spread_over_workers_and_stay_where_they_are() -> None:
    scene = Scene()
    scene.start()
    scene.start()
    for _ in range(3):
        for name in ("a", "b"):
            await scene.submit(instance=name)
    for _ in range(8):
        await scene.turns()
        for worker in scene.workers:
            for job in list(worker.calls):
                worker.done(job)
    homes = {(scene.jobs[int(number) % 2].instance, worker) for number, (_, _, worker) in enumerate(scene.runs)}
    assert len(scene.runs) == 6
    assert len({worker for _, worker in homes}) == 2


@played
async def test_a_lost_object_is_bound_anew_and_its_caller_is_told() -> None:
    scene = Scene()
    first = scene.start()
    job = await scene.submit(instance="thing")
    await scene.turns()
    first.done(job)
    await job.done
    scene.lose(first)
    scene.start()
    again = await scene.submit(instance="thing")
    await scene.turns()
    (notice,) = scene.events.of("notice")
    assert "thing" in notice["message"]
    scene.workers[0].done(again)
    await again.done


@played
async def test_dropping_an_object_tells_its_worker() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit(instance="thing")
    await scene.turns()
    worker.done(job)
    scene.dispatcher.drop_instance("thing", everything)
    scene.dispatcher.drop_instance("unknown", everything)
    assert worker.frames[-1] == {"type": messages.DROP, "instance": "thing", "body": b""}
    assert worker.worker.instances == set()


def test_a_worker_takes_no_more_objects_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assigning, "INSTANCES_PER_WORKER", 2)

    async def play() -> None:
        scene = Scene()
        worker = scene.start()
        for name in ("a", "b", "c"):
            job = await scene.submit(instance=name)
            await scene.turns()
            if worker.calls:
                worker.done(job)
            await job.done
        assert [job.record.status for job in scene.jobs] == [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.FAILED]
        assert error_of(scene.jobs[-1]).kind is ErrorKind.INFEASIBLE

    asyncio.run(play())


@played
async def test_a_pool_without_hope_fails_its_jobs_and_tries_again_with_the_next() -> None:
    scene = Scene()
    job = await scene.submit()
    scene.dispatcher.fail_pool(scene.pool, ErrorInfo(ErrorKind.INSTALL, "InstallError", "no such package"))
    await job.done
    assert error_of(job).message == "no such package"
    assert scene.pool.gave_up
    await scene.submit()
    assert not scene.pool.gave_up


@played
async def test_held_back_nothing_is_handed_out_and_what_runs_ends() -> None:
    scene = Scene()
    worker = scene.start()
    running, waiting = await scene.submit(), await scene.submit()
    await scene.turns()
    scene.dispatcher.hold()
    draining = asyncio.ensure_future(scene.dispatcher.drained(5))
    await scene.turns()
    assert not draining.done()
    worker.done(running)
    assert await draining
    await scene.turns()
    assert waiting.record.status is JobStatus.IN_QUEUE
    assert scene.store.versions[waiting.record.id][-1].status is JobStatus.IN_QUEUE


@played
async def test_what_still_runs_at_the_stop_stays_in_progress_in_the_store() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit()
    await scene.turns()
    assert not await scene.dispatcher.drained(0)
    scene.dispatcher.stop()
    scene.lose(worker)
    await scene.dispatcher.settle()
    assert not job.done.done()
    assert scene.store.versions[job.record.id][-1].status is JobStatus.IN_PROGRESS


@played
async def test_who_submits_again_hears_of_the_job() -> None:
    scene = Scene()
    job = await scene.submit(client="before")
    scene.dispatcher.adopt(job, "after")
    worker = scene.start()
    await scene.turns()
    worker.done(job)
    await job.done
    await scene.turns()
    assert [event["job"]["id"] for event in scene.events.of("job", "after")] == [job.record.id]
    assert scene.events.of("job", "before") == []


@played
async def test_content_that_is_not_here_is_named() -> None:
    scene = Scene()
    missing = "0" * 64
    with pytest.raises(ContentNotFound, match=missing):
        scene.dispatcher.pools.check_content(Call(scene.artifact, Payload(sha256=missing, size=1)))
    with pytest.raises(ContentNotFound, match="f" * 64):
        scene.dispatcher.pools.manifest("f" * 64)


BUSY = ErrorInfo(ErrorKind.USER, "__main__.Busy", "busy", bases=("ConnectionError", "OSError"))


@played
async def test_a_retry_waits_outside_of_the_queue_and_holds_no_worker() -> None:
    scene = Scene()
    worker = scene.start()
    job = await scene.submit(retries=2, backoff=Backoff(("ConnectionError",), 0.05, 2.0, 60.0), queue_timeout_ms=10_000)
    await scene.turns()
    worker.done(job, error=BUSY)
    await scene.turns()
    assert (job.record.status, job.record.attempts, job.record.retries) == (JobStatus.IN_QUEUE, 1, 1)
    assert scene.store.versions[job.record.id][-1].retry_at == job.record.retry_at is not None
    cause = causes.why(scene.pool, job)
    assert (cause.kind, cause.text) == (CauseKind.BACKOFF, "waits 0.05 s before attempt 2")
    assert (list(scene.pool.queue), set(job.timers)) == ([], {"pause"})
    assert scene.artifact in scene.fleet.content()
    scene.fleet.discard(scene.pool)
    assert scene.pool in scene.fleet.pools.values()
    other = await scene.submit()
    await scene.turns()
    worker.done(other)  # it did not wait for the one that pauses
    await once_in_a_while(lambda: job.record.id in worker.calls)
    assert (job.record.attempts, job.record.retry_at, scene.pool.pausing) == (2, None, set())
    worker.done(job, error=USER)  # a type that is not named
    await scene.turns()
    assert job.record.status is JobStatus.FAILED
    scene.check_ends()


@played
async def test_a_retry_that_waits_can_be_cancelled_and_has_a_ttl() -> None:
    scene = Scene()
    worker = scene.start()
    backoff = Backoff(None, 3600.0, 1.0, 3600.0)
    cancelled = await scene.submit(retries=1, backoff=backoff)
    await scene.turns()
    worker.done(cancelled, error=BUSY)
    expired = await scene.submit(retries=1, backoff=backoff, ttl_ms=60)
    await scene.turns()
    worker.done(expired, error=BUSY)
    assert scene.pool.pausing == {cancelled, expired}
    scene.dispatcher.cancel(cancelled)
    await once_in_a_while(lambda: expired.record.status.final)
    assert scene.pool.pausing == set()
    assert (error_of(cancelled).kind, error_of(expired).kind) == (ErrorKind.CANCELLED, ErrorKind.EXPIRED)
    await scene.turns()
    scene.check_ends()


@played
async def test_a_pause_goes_on_after_a_restart_and_no_longer_than_it_may() -> None:
    scene = Scene()
    worker = scene.start()
    backoff = Backoff(None, 0.05, 1.0, 0.05)
    far = await scene.submit(retries=1, backoff=backoff, retry_at=time.time() + 3600, attempts=1)  # the clock jumped
    past = await scene.submit(retries=1, backoff=backoff, retry_at=time.time() - 3600, attempts=1)
    assert scene.pool.pausing == {far, past}
    await once_in_a_while(lambda: past.record.id in worker.calls)
    worker.done(past)
    await once_in_a_while(lambda: far.record.id in worker.calls)
    worker.done(far)
    await scene.turns()
    scene.check_ends()


@played
async def test_a_lost_worker_is_not_paused_for_and_counts_whatever_is_named() -> None:
    scene = Scene()
    job = await scene.submit(retries=1, backoff=Backoff(("ConnectionError",), 3600.0, 1.0, 3600.0))
    for _ in range(2):
        worker = scene.start()
        await scene.turns()
        scene.lose(worker)
    await scene.turns()
    assert (job.record.attempts, error_of(job).kind) == (2, ErrorKind.WORKER_LOST)
