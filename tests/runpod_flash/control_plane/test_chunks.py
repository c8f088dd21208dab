"""What generators yield: in order, each piece handed out once, kept as long as its job."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane import chunks as chunks_module
from runpod_flash.control_plane.chunks import Chunks
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.store import Store
from tests.support.command_plane import CommandPlane, played, unwritable_database
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus

WORKERS = {"min": 0, "max": 1, "idleTimeout": 60}


def stored(test: Callable[[Chunks, Store], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Run an async test with a store of its own."""

    async def with_store(folder: Path) -> None:
        store = Store.open(folder / "flash.db")
        try:
            await asyncio.wait_for(test(Chunks(store), store), 10)
        finally:
            store.close()

    def run(tmp_path: Path) -> None:
        asyncio.run(with_store(tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@stored
async def test_pieces_come_in_their_order_and_once(chunks: Chunks, store: Store) -> None:
    given = [1, "two", {"three": [3.5, None]}, None, ""]
    for piece in given:
        await chunks.add("a", [piece])
    await chunks.add("b", ["of another"])
    assert await chunks.drain("a") == (given, False)
    assert await chunks.drain("a") == ([], False)
    assert await chunks.drain("b") == (["of another"], False)


@stored
async def test_two_who_drain_at_once_do_not_get_the_same(chunks: Chunks, store: Store) -> None:
    await chunks.add("a", list(range(100)))
    found = await asyncio.gather(*(chunks.drain("a") for _ in range(3)))
    assert sorted(piece for pieces, _ in found for piece in pieces) == list(range(100))


def test_a_long_stream_comes_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(chunks_module, "_AT_ONCE", 3)
    monkeypatch.setattr(chunks_module, "_BYTES_AT_ONCE", 10)

    async def rule(chunks: Chunks, store: Store) -> None:
        await chunks.add("a", [1, 2, 3, 4, "x" * 100, "y" * 6, "z"])
        parts = []
        while not parts or parts[-1][1]:
            parts.append(await chunks.drain("a"))
        assert [pieces for pieces, _ in parts] == [[1, 2, 3], [4], ["x" * 100], ["y" * 6], ["z"]]

    stored(rule)(tmp_path)


@stored
async def test_who_waits_is_woken_by_a_piece_and_by_the_end(chunks: Chunks, store: Store) -> None:
    waiting = [asyncio.ensure_future(chunks.wait("a", 60)) for _ in range(2)]
    other = asyncio.ensure_future(chunks.wait("b", 60))
    await asyncio.sleep(0)
    await chunks.add("a", [1])
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert not other.done()
    chunks.wake_all()
    await asyncio.wait_for(other, 10)
    await chunks.wait("c", 0.01)
    assert chunks._waiting == {}


@stored
async def test_pieces_are_kept_as_long_as_their_job(chunks: Chunks, store: Store) -> None:
    now = time.time()
    for name, keep_s in (("short", 60.0), ("long", 600.0)):
        status = JobStatus.COMPLETED
        await store.save_job(JobRecord(name, "e", {"x": 1}, now, status, finished_at=now, keep_s=keep_s))
        await chunks.add(name, [1])
    await store.collect(now + 100)
    assert store.read("SELECT job FROM job_chunks") == [("long",)]


# ---- the stream of a job


async def streamed(it: CommandPlane, record: JobRecord) -> tuple[str, list[Any]]:
    """What `/stream` says, held as short as is allowed."""
    answer = (await it.client.get(f"/v2/{record.endpoint}/stream/{record.id}?wait=1000")).json()
    return answer["status"], [piece["output"] for piece in answer["stream"]]


@played
async def test_a_stream_is_final_with_its_last_piece_only(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    for number in range(1500):
        await it.commands.answers.yielded(worker, record.id, number)
    await it.done(worker, record.id, {"output": []})
    parts = [await streamed(it, record) for _ in range(2)]
    assert [status for status, _ in parts] == ["IN_PROGRESS", "COMPLETED"]
    assert [piece for _, pieces in parts for piece in pieces] == list(range(1500))
    assert await streamed(it, record) == ("COMPLETED", [])


@played
async def test_a_stream_waits_for_a_piece_and_for_the_end(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    waiting = asyncio.ensure_future(it.plane.platform.stream(endpoint, record.id, 60))
    await it.plane.turns()
    await it.commands.answers.yielded(worker, record.id, "piece")
    seen, pieces, more = await asyncio.wait_for(waiting, 10)
    assert (seen.status, pieces, more) == (JobStatus.IN_PROGRESS, ["piece"], False)
    waiting = asyncio.ensure_future(it.plane.platform.stream(endpoint, record.id, 60))
    await it.plane.turns()
    await it.done(worker, record.id)
    seen, pieces, _ = await asyncio.wait_for(waiting, 10)
    assert (seen.status, pieces) == (JobStatus.COMPLETED, [])


@played
async def test_the_stream_of_a_cancelled_job_ends_as_failed(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    await it.commands.answers.yielded(worker, record.id, 1)
    await it.plane.platform.cancel(endpoint, record.id)
    await it.commands.answers.yielded(worker, record.id, "too late")
    assert await streamed(it, record) == ("FAILED", [1])


@played
async def test_a_repeated_attempt_begins_its_stream_anew(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    await it.commands.answers.yielded(worker, record.id, "of the first")
    it.process().end(9)
    second = await it.worker(1)
    await it.commands.answers.yielded(worker, record.id, "of a dead one")
    assert await it.take(second) == [record.id]
    await it.commands.answers.yielded(second, record.id, "of the second")
    await it.done(second, record.id)
    assert await streamed(it, record) == ("COMPLETED", ["of the second"])


@played
async def test_a_retry_forgets_what_the_first_time_gave(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    await it.commands.answers.yielded(worker, record.id, "of the first")
    await it.done(worker, record.id, {"error": "bad"})
    await it.plane.platform.retry(endpoint, record.id)
    assert await it.take(worker) == [record.id]
    await it.done(worker, record.id)
    assert await streamed(it, record) == ("COMPLETED", [])


@played
async def test_pieces_that_cannot_be_written_are_refused(it: CommandPlane) -> None:
    record, worker = await it.taken(await it.endpoint(workers=WORKERS))
    async with it.http(worker) as http:
        url = f"/v2/{record.endpoint}/job-stream/{worker.id}/{record.id}"
        with unwritable_database(it):
            assert (await http.post(url, json={"output": 1})).status_code >= 500
        assert (await http.post(url, json={"output": 1})).status_code == 200
    it.plane.dispatcher.end(it.plane.job(record), ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", "too long"))
    assert (await it.plane.platform.wait(record.id, 5)).status is JobStatus.TIMED_OUT
    assert await streamed(it, record) == ("TIMED_OUT", [1])
