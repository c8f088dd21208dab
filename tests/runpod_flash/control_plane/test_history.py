"""Jobs of before, and the lines of an endpoint, put together from all places where they are kept."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.fleet import Worker, WorkerState
from runpod_flash.control_plane.history import AT_ONCE
from runpod_flash.control_plane.platform import JobQuery
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.errors import EndpointNotFound
from tests.support.small_plane import SmallPlane, small_plane
from worker_runtime.wire.jobs import JobStatus


def run(tmp_path: Path, *tests: Callable[[SmallPlane], Coroutine[Any, Any, None]]) -> None:
    """Each with a plane of its own over the same database: a restart between."""

    async def play(test: Callable[[SmallPlane], Coroutine[Any, Any, None]]) -> None:
        async with small_plane(tmp_path) as plane, asyncio.timeout(20):
            await test(plane)

    for test in tests:
        asyncio.run(play(test))


async def working(plane: SmallPlane) -> Worker:
    """The worker of a job that runs."""
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: any(process.calls for process in plane.launcher.alive))
    return plane.workers(WorkerState.READY)[0]


def texts(plane: SmallPlane, endpoint: str) -> list[tuple[str, str | None]]:
    return [(line["line"], line["job"]) for line in plane.platform.lines(endpoint)]


def test_the_lines_of_an_endpoint_in_their_order_over_restarts(tmp_path: Path) -> None:
    known: dict[str, str] = {}

    async def first(plane: SmallPlane) -> None:
        known["endpoint"] = endpoint = await plane.endpoint()
        record = await plane.submit(endpoint)
        worker = await working(plane)
        plane.supervisor.log(worker, record.id, "stdout", ["of the first"])
        plane.finish()
        await plane.platform.wait(record.id, 5)
        plane.supervisor.log(worker, None, "stderr", ["of none"])
        again = await plane.submit(endpoint)
        await plane.until(lambda: any(process.calls for process in plane.launcher.alive))
        plane.supervisor.log(worker, again.id, "stdout", ["of the second"])
        assert texts(plane, endpoint) == [("of the first", "j1"), ("of none", None), ("of the second", "j2")]
        plane.finish()
        await plane.platform.wait(again.id, 5)
        with pytest.raises(EndpointNotFound):
            plane.platform.lines("nowhere")

    async def second(plane: SmallPlane) -> None:
        assert texts(plane, known["endpoint"]) == [("of the first", "j1"), ("of the second", "j2")]

    run(tmp_path, first, second)


def test_a_line_of_no_certain_job_is_with_each_job_and_once_with_the_endpoint(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint(maxConcurrency=2)
        worker = None
        records = [await plane.submit(endpoint), await plane.submit(endpoint)]
        worker = await working(plane)
        for record in records:  # as if both ran in it
            worker.running[record.id] = plane.job(record)
        plane.supervisor.log(worker, None, "stdout", ["of both"])
        assert [line["line"] for record in records for line in plane.platform.logs(record.id)] == ["of both"] * 2
        assert texts(plane, endpoint) == [("of both", None)]

    run(tmp_path, play)


def test_why_a_worker_ended_is_told_with_what_it_wrote_last(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint()
        record = await plane.submit(endpoint)
        worker = await working(plane)
        plane.supervisor.log(worker, record.id, "stderr", ["last words"])
        plane.supervisor.gone(worker, "killed by signal 11 (SIGSEGV)", ["last words"])
        lines = plane.platform.lines(endpoint)
        assert [(line["stream"], line["line"]) for line in lines] == [
            ("stderr", "last words"),
            ("platform", f"worker {worker.id} ended: killed by signal 11 (SIGSEGV)"),
        ]

    run(tmp_path, play)


def test_why_an_environment_cannot_be_had_is_told(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        plane.environments.failure = InstallFailed("no version of nothing\nwas found")
        endpoint = await plane.endpoint()
        record = await plane.submit(endpoint)
        await plane.platform.wait(record.id, 5)
        assert texts(plane, endpoint) == [("no version of nothing", None), ("was found", None)]

    run(tmp_path, play)


def test_jobs_are_listed_in_pages_as_they_stand_now(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        one, two = await plane.endpoint(), await plane.endpoint()
        await plane.serve(one, 3)
        waiting = await plane.submit(two)
        await plane.platform.cancel(two, (await plane.submit(two)).id)

        def ids(**query: Any) -> tuple[list[str], int | None]:
            page = plane.platform.list_jobs(JobQuery(**query))
            return [record.id for record in page.records], page.more

        assert ids() == (["j5", "j4", "j3", "j2", "j1"], None)
        first, more = ids(limit=2)
        assert first == ["j5", "j4"]
        assert ids(limit=2, before=more)[0] == ["j3", "j2"]
        assert ids(endpoints=(two,)) == (["j5", "j4"], None)
        assert ids(endpoints=(one, two), statuses=frozenset({JobStatus.CANCELLED})) == (["j5"], None)
        assert ids(statuses=frozenset({JobStatus.COMPLETED}))[0] == ["j3", "j2", "j1"]
        assert ids(since=waiting.created_at)[0] == ["j5", "j4"]
        seen = plane.platform.list_jobs(JobQuery(), lambda endpoint: endpoint == one)
        assert [record.id for record in seen.records] == ["j3", "j2", "j1"]

    run(tmp_path, play)


def test_a_page_looks_through_a_bounded_number_of_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runpod_flash.control_plane.history.LOOKED_THROUGH", 2 * AT_ONCE)

    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint()
        now = time.time()
        ended = JobStatus.COMPLETED
        for number in range(2 * AT_ONCE + 1):
            record = JobRecord(f"old-{number}", endpoint, {}, now, status=ended, finished_at=now)
            await asyncio.sleep(0) if number % 100 == 0 else None
            last = plane.store.save_job(record)
        await last
        query = JobQuery(statuses=frozenset({JobStatus.FAILED}))
        page = plane.platform.list_jobs(query)
        assert page.records == []
        assert page.more == 2
        assert plane.platform.list_jobs(JobQuery(statuses=query.statuses, before=page.more)).more is None

    run(tmp_path, play)


def test_jobs_whose_time_is_over_are_not_listed(tmp_path: Path) -> None:
    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint()
        then = time.time() - 100
        old = JobRecord("old", endpoint, {}, then, status=JobStatus.FAILED, finished_at=then, keep_s=10)
        await plane.store.save_job(old)
        assert plane.platform.list_jobs(JobQuery()).records == []

    run(tmp_path, play)
