"""Jobs for workers that ask for them: the rules under any order of events, then each rule by itself."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane import recorder
from runpod_flash.control_plane.fleet import WorkerState
from tests.support.command_plane import (
    QUICK,
    CommandPlane,
    held,
    played,
    played_with,
    unwritable_database,
)
from tests.support.take_scene import TakeScene
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus

# ---- any order of events

NUMBERS = st.integers(0, 99)
EVENTS = st.one_of(
    st.just(("submit",)),
    st.tuples(st.just("start"), st.booleans()),
    st.tuples(st.just("take"), NUMBERS, st.integers(1, 4), st.booleans()),
    st.tuples(
        st.sampled_from(["leave", "done", "repeat", "fail", "ping", "forget", "cancel", "lose", "retire", "stops"]),
        NUMBERS,
    ),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("turns"), st.integers(1, 8)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, max_size=80))
def test_whatever_happens_no_job_is_lost_doubled_or_with_two_workers(events: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        scene = TakeScene()
        for event in events:
            await getattr(scene, event[0])(*event[1:])
            scene.check()
        await scene.calm()
        scene.check()
        scene.check_calm()
        await scene.finish()
        scene.check_ends()

    again_s, recorder.AGAIN_S = recorder.AGAIN_S, 0.0
    try:
        asyncio.run(play())
    finally:
        recorder.AGAIN_S = again_s


# ---- taking


@played
async def test_a_take_is_held_open_and_answered_when_a_job_comes(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.commands.desk.take(worker, 1, busy=False))
    await it.plane.turns()
    assert (taking.done(), worker.state) == (False, WorkerState.READY)
    record = await it.submit(endpoint, {"x": 1}, webhook="http://127.0.0.1:1/hook")
    assert await taking == [{"id": record.id, "input": {"x": 1}, "webhook": "http://127.0.0.1:1/hook"}]
    seen = it.job(record)
    assert (seen.status, seen.worker, seen.attempts) == (JobStatus.IN_PROGRESS, worker.id, 1)


@played_with(limits=held(take_hold_s=0.05))
async def test_a_take_ends_empty_when_nothing_comes_and_gets_nothing_after_that(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    assert await it.take(worker) == []
    assert worker.offers == 0
    record = await it.submit(endpoint)
    await it.plane.turns()
    assert it.job(record).status is JobStatus.IN_QUEUE


@played
async def test_a_batch_gets_several_in_one_answer_and_never_more_than_it_asks_for(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    records = [await it.submit(endpoint) for _ in range(5)]
    worker = await it.worker()
    ids = [record.id for record in records]
    assert await it.take(worker, 3) == ids[:3]
    assert await it.take(worker, 9, busy=True) == ids[3:]
    assert list(worker.running) == ids


@played
async def test_a_second_take_replaces_the_first(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    first = asyncio.ensure_future(it.take(worker, 4))
    await it.plane.turns()
    second = asyncio.ensure_future(it.take(worker, 1))
    assert await asyncio.wait_for(first, 4) == []
    records = [await it.submit(endpoint) for _ in range(2)]
    assert await second == [records[0].id]
    assert it.job(records[1]).status is JobStatus.IN_QUEUE


@played
async def test_what_the_first_take_would_have_got_goes_to_the_second(it: CommandPlane) -> None:
    """The worker asks again in the moment in which it is answered: nobody hears that answer."""
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    first = asyncio.ensure_future(it.take(worker))
    await it.plane.turns()
    submit = asyncio.ensure_future(it.submit(endpoint))
    job = await it.coming(endpoint)
    while not job.sent:
        await asyncio.sleep(0)
    assert not first.done()
    assert await it.take(worker) == [job.record.id]
    assert await first == []
    assert (await submit).id == job.record.id


def test_what_a_batch_would_have_got_is_not_too_much_for_a_smaller_take() -> None:
    async def play() -> None:
        scene = TakeScene()
        for _ in range(3):
            await scene.submit()
        scene.store.turns = 50
        await scene.start(False)
        (command,) = scene.commands
        batch = asyncio.ensure_future(scene.desk.take(command.worker, 3, busy=False))
        await scene.turns(5)
        assert len(command.worker.running) == 3  # on their way
        single = asyncio.ensure_future(scene.desk.take(command.worker, 1, busy=False))
        await scene.turns(1)
        assert command.worker.offers == 0
        assert [job["id"] for job in await asyncio.wait_for(single, 4)] == ["j1"]
        assert await batch == []
        rest = await asyncio.wait_for(scene.desk.take(command.worker, 3, busy=True), 4)
        assert [job["id"] for job in rest] == ["j2", "j3"]
        assert [job.record.retries for job in scene.jobs] == [0, 0, 0]

    asyncio.run(play())


@pytest.mark.parametrize("full", [True, False])
def test_a_take_is_held_a_little_longer_for_what_is_on_its_way_and_for_nothing_else(full: bool) -> None:
    async def play() -> None:
        scene = TakeScene(held(take_hold_s=0.001))
        await scene.submit()
        (job,) = scene.jobs
        scene.store.turns, scene.store.full = 5000, full
        await scene.start(False)
        (command,) = scene.commands
        got = await asyncio.wait_for(scene.desk.take(command.worker, 5, busy=False), 5)
        assert [each["id"] for each in got] == ([] if full else [job.record.id])
        assert command.worker.offers == 0
        assert list(scene.pool.queue) == ([job] if full else [])
        scene.dispatcher.stop()

    asyncio.run(play())


@played
async def test_a_worker_that_is_stopped_does_not_wait_for_a_job_that_is_cancelled(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.take(worker))
    await it.plane.turns()
    submit = asyncio.ensure_future(it.submit(endpoint))
    job = await it.coming(endpoint)
    assert (job.record.worker, job.sent) == (worker.id, False)
    it.process().calls["another"] = 1  # so that it does not end at once
    it.plane.supervisor.stop(worker)
    it.plane.dispatcher.cancel(job)
    assert await asyncio.wait_for(taking, 4) == []
    assert (await submit).id == job.record.id


@played
async def test_a_job_that_has_ended_and_was_not_taken_is_only_let_go(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint())
    job = it.plane.job(record)
    it.plane.dispatcher.cancel(job)
    await job.done
    it.plane.dispatcher.not_taken(worker, job)
    assert (worker.running, list(worker.pool.queue)) == ({}, [])
    assert it.job(record).status is JobStatus.CANCELLED


@played
async def test_a_client_that_goes_away_gets_nothing_and_the_job_waits_again(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.take(worker, 3))
    await it.plane.turns()
    submits = [asyncio.ensure_future(it.submit(endpoint)) for _ in range(3)]
    while not any(job.sent for job in it.plane.dispatcher.jobs_of(endpoint)):
        await asyncio.sleep(0)
    assert taking.cancel()
    records = await asyncio.gather(*submits)
    jobs = [it.plane.job(record) for record in records]
    with pytest.raises(asyncio.CancelledError):
        await taking
    await it.plane.turns()
    assert [job.record.id for job in jobs[0].pool.queue] == [record.id for record in records]
    assert worker.running == {}
    assert worker.offers == 0
    assert await it.take(worker, 3) == [record.id for record in records]
    for record in records:
        assert it.job(record).retries == 0
        await it.done(worker, record.id)
        assert it.job(record).status is JobStatus.COMPLETED


@played
async def test_a_job_that_is_cancelled_while_its_take_is_given_up_stays_cancelled(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.take(worker))
    await it.plane.turns()
    submit = asyncio.ensure_future(it.submit(endpoint))
    job = await it.coming(endpoint)
    while not job.sent:
        await asyncio.sleep(0)
    it.plane.dispatcher.cancel(job)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert (await job.done).id == (await submit).id
    assert job.record.status is JobStatus.CANCELLED
    assert (list(job.pool.queue), worker.running) == ([], {})
    following = await it.submit(endpoint)
    assert await it.take(worker) == [following.id]


@played
async def test_a_job_that_is_cancelled_while_its_start_is_written_is_not_handed_out(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.take(worker))
    await it.plane.turns()
    submit = asyncio.ensure_future(it.submit(endpoint))
    job = await it.coming(endpoint)
    assert (job.record.status, job.sent) == (JobStatus.IN_PROGRESS, False)
    it.plane.dispatcher.cancel(job)
    assert (await submit).id == job.record.id
    following = await it.submit(endpoint)
    assert await taking == [following.id]


@played
async def test_a_job_that_is_cancelled_while_its_take_is_answered_is_told_to_stop(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.take(worker))
    await it.plane.turns()
    submit = asyncio.ensure_future(it.submit(endpoint))
    job = await it.coming(endpoint)
    while not job.sent:
        await asyncio.sleep(0)
    it.plane.dispatcher.cancel(job)
    record = await submit
    assert await taking == [record.id]
    assert await it.commands.desk.stops(worker) == [record.id]
    await it.done(worker, record.id)
    assert it.job(record).status is JobStatus.CANCELLED


@played
async def test_the_start_is_on_disk_before_the_answer(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint())
    stored = it.plane.store.job(record.id)
    assert stored is not None
    assert (stored.status, stored.attempts, stored.worker) == (JobStatus.IN_PROGRESS, 1, worker.id)


@played_with(limits=held(take_hold_s=0.1))
async def test_where_a_start_cannot_be_written_nothing_is_handed_out(it: CommandPlane) -> None:
    endpoint = await it.endpoint()
    record = await it.submit(endpoint)
    worker = await it.worker()
    with unwritable_database(it):
        taking = asyncio.ensure_future(it.take(worker))
        assert await asyncio.wait_for(taking, 3) == []  # and it is not held for longer than it should be
        assert it.job(record).status is JobStatus.IN_QUEUE
        assert it.plane.dispatcher.recorder.stalled
    await it.plane.until(lambda: not it.plane.dispatcher.recorder.stalled)
    assert await it.take(worker) == [record.id]
    assert it.job(record).retries == 0


@played
async def test_after_hold_nothing_is_handed_out(it: CommandPlane) -> None:
    endpoint = await it.endpoint()
    record = await it.submit(endpoint)
    worker = await it.worker()
    it.plane.dispatcher.hold()
    taking = asyncio.ensure_future(it.take(worker))
    await it.plane.turns()
    assert not taking.done()
    assert it.job(record).status is JobStatus.IN_QUEUE
    it.plane.supervisor.stop(worker)
    assert await asyncio.wait_for(taking, 4) == []


@played_with(limits=held(take_hold_s=0.05))
async def test_a_worker_that_drains_gets_nothing_new_and_is_held_up(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    it.plane.supervisor.retire(worker)
    assert worker.state is WorkerState.DRAINING
    waiting = await it.submit(endpoint)
    assert await it.take(worker, busy=True) == []
    assert it.job(waiting).status is JobStatus.IN_QUEUE
    await it.done(worker, record.id)
    await it.plane.until(lambda: it.process().code.done())


@played
async def test_stopping_a_worker_answers_what_it_holds_open(it: CommandPlane) -> None:
    await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    open_ones = [asyncio.ensure_future(it.take(worker)), asyncio.ensure_future(it.commands.desk.stops(worker))]
    await it.plane.turns()
    it.plane.supervisor.stop(worker)
    assert await asyncio.wait_for(asyncio.gather(*open_ones), 4) == [[], []]
    assert await asyncio.wait_for(it.take(worker), 4) == []


@played
async def test_a_worker_that_has_gone_leaves_nothing_behind(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60}))
    it.process().end(1)
    await it.plane.until(lambda: worker.state is WorkerState.GONE)
    assert await asyncio.wait_for(it.take(worker), 4) == []
    assert await asyncio.wait_for(it.commands.desk.stops(worker), 4) == []
    it.ping(worker, record.id)
    assert worker.id not in it.commands.desk._stations


# ---- what pings say


@played
async def test_a_job_that_got_lost_on_its_way_is_tried_once_more_and_then_fails(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    it.ping(worker, times=QUICK.silent_pings - 1)
    assert it.job(record).status is JobStatus.IN_PROGRESS
    it.ping(worker)
    assert it.job(record).status is JobStatus.IN_QUEUE
    assert await it.take(worker) == [record.id]
    assert it.job(record).retries == 1
    it.ping(worker, times=QUICK.silent_pings)
    ended = await it.plane.platform.wait(record.id, 5)
    assert (ended.status, ended.retries, ended.output) == (JobStatus.FAILED, 1, None)
    assert ended.error is not None
    assert ended.error.startswith("job timed out after 1 retries")
    assert worker.state is WorkerState.READY


@played
async def test_a_job_that_is_named_in_between_is_there(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint())
    for _ in range(4):
        it.ping(worker, times=QUICK.silent_pings - 1)
        it.ping(worker, record.id, "somebody-else")
    assert it.job(record).status is JobStatus.IN_PROGRESS


@played
async def test_packages_that_name_no_jobs_lose_none(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint())
    for _ in range(3 * QUICK.silent_pings):
        it.commands.desk.pinged(worker, (), names_jobs=False)
    assert it.job(record).status is JobStatus.IN_PROGRESS
    assert list(worker.running) == [record.id]


@played
async def test_a_lost_worker_is_one_attempt_and_two_are_the_end(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, _ = await it.taken(endpoint)
    it.process().end(9)
    second = await it.worker(1)
    assert await it.take(second) == [record.id]
    it.process(1).end(9)
    ended = await it.plane.platform.wait(record.id, 5)
    assert (ended.status, ended.attempts) == (JobStatus.FAILED, 2)
    assert "job timed out after 1 retries" in str(ended.error)


# ---- stopping jobs


@played
async def test_what_shall_stop_is_told_once(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    records = [await it.submit(endpoint) for _ in range(2)]
    worker = await it.worker()
    await it.take(worker, 2)
    stops = asyncio.ensure_future(it.commands.desk.stops(worker))
    await it.plane.turns()
    assert not stops.done()
    assert (await it.plane.platform.cancel(endpoint, records[0].id)).status is JobStatus.CANCELLED
    assert await stops == [records[0].id]
    again = asyncio.ensure_future(it.commands.desk.stops(worker))
    await it.plane.turns()
    assert not again.done()
    await it.plane.platform.cancel(endpoint, records[1].id)
    assert await again == [records[1].id]


@played
async def test_a_worker_that_still_names_what_shall_stop_is_told_again(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    stops = asyncio.ensure_future(it.commands.desk.stops(worker))
    await it.plane.turns()
    await it.plane.platform.cancel(endpoint, record.id)
    assert await stops == [record.id]
    again = asyncio.ensure_future(it.commands.desk.stops(worker))
    await it.plane.turns()
    it.ping(worker, record.id)
    assert await again == [record.id]


@played
async def test_a_cancelled_job_frees_its_worker_when_that_does_not_name_it_any_more(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    await it.plane.platform.cancel(endpoint, record.id)
    it.ping(worker, record.id)
    it.ping(worker)
    assert record.id in worker.running  # the ping may have been under way
    it.ping(worker)
    assert worker.running == {}
    assert worker.idle


@played
async def test_a_worker_that_has_no_jobs_any_more_has_none(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    await it.plane.platform.cancel(endpoint, record.id)
    following = await it.submit(endpoint)
    assert await it.take(worker, busy=False) == [following.id]
    assert list(worker.running) == [following.id]


@pytest.mark.parametrize("silent", [True, False])
def test_a_retired_worker_ends_when_its_last_job_was_cancelled(silent: bool, tmp_path: Any) -> None:
    async def rule(it: CommandPlane) -> None:
        endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
        record, worker = await it.taken(endpoint)
        it.plane.supervisor.retire(worker)
        await it.plane.platform.cancel(endpoint, record.id)
        if silent:
            it.ping(worker, times=2)
        else:
            assert await it.take(worker, busy=False) == []
        await it.plane.until(lambda: it.process().code.done())

    played(rule)(tmp_path)


@played_with(grace_s=0.1)
async def test_a_worker_that_goes_on_is_ended_and_its_other_jobs_run_again(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    bad, other = await it.submit(endpoint), await it.submit(endpoint)
    worker = await it.worker()
    assert await it.take(worker, 2) == [bad.id, other.id]
    await it.plane.platform.cancel(endpoint, bad.id)
    it.ping(worker, bad.id, other.id)
    await it.plane.until(lambda: it.process().code.done())
    second = await it.worker(1)
    assert await it.take(second) == [other.id]
    await it.done(second, other.id)
    ends = [it.job(record) for record in (bad, other)]
    assert [(end.status, end.retries) for end in ends] == [(JobStatus.CANCELLED, 0), (JobStatus.COMPLETED, 1)]
    assert ends[1].worker == second.id


@played_with(grace_s=0.1)
async def test_a_worker_that_stops_in_time_lives_on(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    await it.plane.platform.cancel(endpoint, record.id)
    await it.done(worker, record.id, {"error": "cancelled"})
    await asyncio.sleep(0.2)  # longer than the grace
    assert worker.state is WorkerState.READY
    assert it.job(record).status is JobStatus.CANCELLED


@played_with(grace_s=0.1)
async def test_a_worker_that_has_read_what_shall_stop_has_until_its_pings_say(it: CommandPlane) -> None:
    """Two jobs in one worker; the pings come more seldom than the grace lasts."""
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    bad, other = await it.submit(endpoint), await it.submit(endpoint)
    worker = await it.worker()
    await it.take(worker, 2)
    await it.plane.platform.cancel(endpoint, bad.id)
    assert await it.commands.desk.stops(worker) == [bad.id]
    again = asyncio.ensure_future(it.commands.desk.stops(worker))  # so it does not block
    await asyncio.sleep(0.2)  # longer than the grace
    it.ping(worker, other.id, times=2)
    assert list(worker.running) == [other.id]
    assert worker.state is WorkerState.READY
    await it.done(worker, other.id)
    assert it.job(other).status is JobStatus.COMPLETED
    again.cancel()


@played_with(grace_s=0.1)
async def test_a_worker_that_has_read_what_shall_stop_and_goes_on_is_ended(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    await it.plane.platform.cancel(endpoint, record.id)
    assert await it.commands.desk.stops(worker) == [record.id]
    again = asyncio.ensure_future(it.commands.desk.stops(worker))
    await asyncio.sleep(0.2)  # longer than the grace
    assert not it.process().code.done()
    it.ping(worker, record.id)
    await it.plane.until(lambda: it.process().code.done())
    again.cancel()


# ---- time limits


@played_with(grace_s=0.1)
async def test_a_job_that_runs_too_long_is_stopped_and_so_is_a_worker_that_goes_on(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint, timeout_ms=50)
    ended = await it.plane.platform.wait(record.id, 5)
    assert (ended.status, ended.output) == (JobStatus.TIMED_OUT, None)
    assert ended.error == "it ran longer than 0.05 s and was stopped"
    assert await it.commands.desk.stops(worker) == [record.id]
    it.ping(worker, record.id)
    await it.plane.until(lambda: it.process().code.done())


@played
async def test_a_job_that_is_tried_again_is_not_stopped_for_its_first_attempt(it: CommandPlane) -> None:
    """It runs in its worker while that has not asked what shall stop."""
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    record, worker = await it.taken(endpoint)
    job = it.plane.job(record)
    it.plane.dispatcher.end(job, ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", "too long"))
    assert (await job.done).status is JobStatus.TIMED_OUT
    await it.plane.platform.retry(endpoint, record.id)
    taking = asyncio.ensure_future(it.take(worker, busy=True))
    await it.plane.turns()
    assert not taking.done()  # the worker has the first attempt still, and could not tell the two apart
    await it.done(worker, record.id, {"error": "too late"})
    assert await taking == [record.id]
    assert await it.commands.desk.stops(worker) == []


# ---- what the worker alone may read


@played
async def test_secrets_reach_the_worker_and_nobody_else(it: CommandPlane, /) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    secret = {"accessId": "id-of-the-bucket", "accessSecret": "a-secret-of-the-bucket"}
    record = await it.submit(endpoint, s3_config=secret)
    worker = await it.worker()
    (job,) = await it.commands.desk.take(worker, 1, busy=False)
    assert job["s3Config"] == secret
    it.plane.store.read("PRAGMA wal_checkpoint")
    files = [path.read_bytes() for path in it.plane.supervisor.work.parent.rglob("*") if path.is_file()]
    assert any(record.id.encode() in data for data in files)
    assert not any(b"of-the-bucket" in data for data in files)


@played
async def test_a_seal_that_cannot_be_opened_fails_that_job_alone(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 60})
    sealed, plain = await it.submit(endpoint, s3_config={"accessId": "x"}), await it.submit(endpoint)
    (it.plane.supervisor.work.parent / "seal").unlink()
    it.seal._fernet = None  # as after a restart
    worker = await it.worker()
    assert await it.take(worker) == [plain.id]
    ended = await it.plane.platform.wait(sealed.id, 5)
    assert ended.status is JobStatus.FAILED
    assert "the sealed part of a job cannot be opened" in str(ended.error)
    assert list(worker.running) == [plain.id]
    await it.done(worker, plain.id)
    assert it.job(plain).status is JobStatus.COMPLETED
