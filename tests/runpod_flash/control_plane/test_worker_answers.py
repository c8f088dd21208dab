"""What workers say about their jobs: twice, late, for others, in every form."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.fleet import WorkerState
from runpod_flash.control_plane.worker_answers import pieces
from tests.support.command_plane import CommandPlane, held, played, played_with, unwritable_database
from worker_runtime.wire.jobs import JobStatus

WORKERS = {"min": 0, "max": 1, "idleTimeout": 60}
TWO_WORKERS = {"min": 2, "max": 2, "idleTimeout": 60}


@given(st.text(), st.integers(4, 40))
def test_pieces_of_a_text_joined_are_the_text_and_each_is_small_enough(text: str, limit: int) -> None:
    found = pieces(text, limit)
    assert "".join(found) == text
    assert all(len(piece.encode(errors="replace")) <= limit for piece in found)
    assert len(found) == 1 or all(found)
    assert len(found) == 1 or len(text.encode(errors="replace")) > limit


@given(st.one_of(st.none(), st.integers(), st.lists(st.text()), st.dictionaries(st.text(), st.text())))
def test_what_is_no_text_stays_whole(chunk: Any) -> None:
    assert pieces(chunk, 4) == [chunk]


@played_with(limits=held(chunk_bytes=8))
async def test_a_long_text_is_streamed_in_pieces(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint(workers=WORKERS))
    await it.commands.answers.yielded(worker, record.id, "ääääääääää")
    _, found, _ = await it.plane.platform.stream(record.endpoint, record.id, 0)
    assert len(found) > 1
    assert "".join(found) == "ääääääääää"


@pytest.mark.parametrize(
    ("body", "status", "output", "error"),
    [
        ({"output": {"n": 2}}, JobStatus.COMPLETED, {"n": 2}, None),
        ({"output": 0}, JobStatus.COMPLETED, 0, None),
        ({}, JobStatus.COMPLETED, None, None),
        ({"output": None, "error": None}, JobStatus.COMPLETED, None, None),
        ({"error": "bad"}, JobStatus.FAILED, None, "bad"),
        ({"output": {"n": 2}, "error": "bad"}, JobStatus.FAILED, {"n": 2}, "bad"),
        ({"error": {"code": 7}}, JobStatus.FAILED, None, '{"code": 7}'),
        ({"status": "IN_PROGRESS", "error": "bad"}, JobStatus.FAILED, None, "bad"),
        ({"output": 1, "stopPod": True}, JobStatus.COMPLETED, 1, None),
    ],
)
def test_every_form_of_an_end(body: Any, status: JobStatus, output: Any, error: str | None, tmp_path: Any) -> None:
    async def rule(it: CommandPlane) -> None:
        record, worker = await it.taken(await it.endpoint(workers=WORKERS))
        await it.done(worker, record.id, body)
        ended = it.job(record)
        assert (ended.status, ended.output, ended.error, ended.retries) == (status, output, error, 0)
        assert worker.running == {}

    played(rule)(tmp_path)


@played
async def test_the_first_end_counts(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint(workers=WORKERS))
    await it.done(worker, record.id, {"output": 1})
    first = it.job(record)
    for late in ({"output": 2}, {"error": "bad"}, {"status": "IN_PROGRESS", "output": "late"}, {}):
        await it.done(worker, record.id, late)
    await it.commands.answers.yielded(worker, record.id, "late")
    assert it.job(record) == first
    assert await it.plane.platform.chunks.drain(record.id) == ([], False)
    assert it.plane.platform.health(record.endpoint)["jobs"]["completed"] == 1


@played
async def test_an_end_of_a_cancelled_job_only_frees_its_worker(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    await it.plane.platform.cancel(endpoint, record.id)
    await it.done(worker, record.id, {"output": 1})
    seen = it.job(record)
    assert (seen.status, seen.output) == (JobStatus.CANCELLED, None)
    assert worker.idle


@played
async def test_a_job_of_another_worker_is_not_touched(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=TWO_WORKERS)
    await it.worker()
    other = await it.worker(1)
    record, worker = await it.taken(endpoint)
    for body in ({"output": 1}, {"error": "bad"}, {"status": "IN_PROGRESS", "output": 2}):
        await asyncio.wait_for(it.done(other, record.id, body), 10)
    await it.commands.answers.yielded(other, record.id, "late")
    seen = it.job(record)
    assert (seen.status, seen.output, seen.worker) == (JobStatus.IN_PROGRESS, None, worker.id)
    assert await it.plane.platform.chunks.drain(record.id) == ([], False)
    await it.done(other, "unknown", {"output": 1})


@played
async def test_progress_is_shown_until_the_end(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint(workers=WORKERS))
    await it.done(worker, record.id, {"status": "IN_PROGRESS", "output": {"step": 1}})
    seen = it.job(record)
    assert (seen.status, seen.output) == (JobStatus.IN_PROGRESS, {"step": 1})
    it.process().end(9)
    await it.plane.until(lambda: it.job(record).status is JobStatus.IN_QUEUE)
    assert it.job(record).output is None
    second = await it.worker(1)
    assert await it.take(second) == [record.id]
    await it.done(second, record.id, {})
    assert it.job(record).output is None


@played
async def test_the_answer_comes_after_the_commit(it: CommandPlane) -> None:
    """Also where it is said again, because the first answer took too long."""
    record, worker = await it.taken(await it.endpoint(workers=WORKERS))
    with unwritable_database(it):
        said = [asyncio.ensure_future(it.done(worker, record.id, {"output": 1})) for _ in range(2)]
        await asyncio.wait(said, timeout=0.1)
        assert not any(answer.done() for answer in said)
        assert it.job(record).status is JobStatus.IN_PROGRESS
        stored = it.plane.store.job(record.id)
        assert stored is not None
        assert stored.status is JobStatus.IN_PROGRESS
    await asyncio.wait_for(asyncio.gather(*said), 5)
    stored = it.plane.store.job(record.id)
    assert stored is not None
    assert (stored.status, stored.output) == (JobStatus.COMPLETED, 1)


@played
async def test_stop_pod_ends_the_worker_after_its_jobs(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    first, second, third = [await it.submit(endpoint) for _ in range(3)]
    worker = await it.worker()
    assert await it.take(worker, 2) == [first.id, second.id]
    open_take = asyncio.ensure_future(it.take(worker, busy=True))
    await it.plane.until(lambda: open_take.done() or it.job(third).worker == worker.id)
    assert await open_take == [third.id]
    fourth = await it.submit(endpoint)
    await it.done(worker, first.id, {"output": 1, "stopPod": True})
    assert worker.state is WorkerState.DRAINING
    for record in (second, third):
        assert not it.process().code.done()
        await it.done(worker, record.id)
    await it.plane.until(lambda: it.process().code.done())
    new = await it.worker(1)
    assert await it.take(new) == [fourth.id]
    assert it.job(fourth).retries == 0


@played
async def test_a_sick_worker_is_known_as_such_and_says_why(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint(workers=WORKERS))
    it.commands.answers.unhealthy(worker, "gpu_test failed: no CUDA")
    assert not worker.healthy
    assert it.plane.platform.health(record.endpoint)["workers"]["unhealthy"] == 1
