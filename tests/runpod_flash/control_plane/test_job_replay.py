"""A journal that breaks off anywhere: all commits that are whole are there, and nothing of the one that is not."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.control_plane.store import Store
from worker_runtime.wire.jobs import Call, JobStatus, Payload

HEAD, FRAME = 32, 24 + 4096
"""Bytes in front of SQLite's log, and of each page in it."""

ENDPOINT = EndpointRecord("e1", "/p", "palette", {"timeout": 0}, "hash", 1, 1.0)


class Story:
    """The file before, the log that was added to it, and what was told after each commit.

    `told`: how long the log was then, and what the store knew.
    """

    def __init__(self, before: bytes) -> None:
        self.before, self.log = before, b""
        self.told: list[tuple[int, Any]] = []

    def known(self, length: int) -> Any:
        """What was told by the time at which the log had so many bytes."""
        return [state for written, state in self.told if written <= length][-1]


def known_by(store: Store) -> Any:
    """All that a store knows."""
    jobs = {job.id: job for _, number in store.brief_jobs([], None, 99) if (job := store.job(number.id)) is not None}
    return store.unfinished_jobs(), jobs, store.endpoints(), store.counts("e1")


def job(number: int, **changes: Any) -> JobRecord:
    """A call, every third one with bytes of several pages."""
    arguments = Payload.inlined(bytes([number]) * (9000 if number % 3 == 0 else 20))
    return JobRecord(f"j{number}", "e1", Call("a", arguments), 1000.0 + number, **changes)


def ended(number: int, **changes: Any) -> JobRecord:
    """The same when it has ended."""
    result = Payload.inlined(b"r" * number * 50)
    return job(number, status=JobStatus.COMPLETED, attempts=1, finished_at=2000.0 + number, output=result, **changes)


def writes(store: Store) -> list[Callable[[], Awaitable[Any]]]:
    """One commit each."""

    async def several(*records: JobRecord) -> None:
        await asyncio.gather(*(store.save_job(record) for record in records))

    async def folded() -> None:
        store.fold()

    started = {"status": JobStatus.IN_PROGRESS, "attempts": 1, "worker": "w"}
    return [
        lambda: several(*map(job, range(4))),
        lambda: several(job(4), job(0, **started), job(1, **started)),
        lambda: several(ended(0), job(1, status=JobStatus.IN_QUEUE, attempts=1, retries=1)),
        folded,
        lambda: several(ended(1, retries=1), ended(3), job(5)),
        lambda: store.reopen_job(job(0)),
        lambda: several(ended(2)),
        folded,
        lambda: store.collect(2001.5 + 24 * 3600.0),
        lambda: several(job(6), ended(5)),
    ]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Jobs come, start, end, go to their table, and are collected; the process is killed at last."""
    path = tmp_path_factory.mktemp("story") / "flash.db"
    log = path.with_name("flash.db-wal")
    store = Store.open(path)
    asyncio.run(saved(store))
    store.close()
    story = Story(path.read_bytes())
    store = Store.open(path)
    story.told.append((0, known_by(store)))
    for write in writes(store):

        async def commit(write: Callable[[], Awaitable[Any]] = write) -> None:
            await write()

        asyncio.run(commit())
        story.told.append((log.stat().st_size, known_by(store)))
    story.log = log.read_bytes()
    assert path.read_bytes() == story.before, "all is in the log"
    store.close()
    return story


async def saved(store: Store) -> None:
    """Write the endpoint."""
    await store.save_endpoint(ENDPOINT)


def read_again(story: Story, log: bytes, folder: Path) -> Any:
    """What a new control plane finds where the log is so; it can write, too."""
    path = folder / "flash.db"
    path.write_bytes(story.before)
    path.with_name("flash.db-wal").write_bytes(log)
    store = Store.open(path)
    try:
        found = known_by(store)

        async def another() -> None:
            await store.save_job(job(9))

        asyncio.run(another())
        assert store.unfinished_jobs()[-1] == job(9)
    finally:
        store.close()
    return found


def test_the_log_is_cut_after_each_commit_and_in_the_middle_of_each_page(story: Story, tmp_path: Path) -> None:
    borders = [0, HEAD, *range(HEAD + FRAME, len(story.log) + 1, FRAME)]
    assert len(story.told) == 11
    assert len({length for length, _ in story.told}) == 11, "each write was a commit"
    commits = {length for length, _ in story.told}
    for border in borders:
        nearby = {border, max(0, border - 1)} if border in commits else set[int]()
        for cut in {max(0, border - FRAME // 2), *nearby}:
            assert read_again(story, story.log[:cut], tmp_path) == story.known(cut), cut


def same(one: bytes, other: bytes) -> int:
    """How many bytes are the same at the beginning."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


RESTS = [b"", bytes(FRAME), b"\xff" * 3 * FRAME]


@settings(max_examples=50)
@given(number=st.integers(0, 10**9), rest=st.sampled_from(RESTS))
def test_the_log_is_cut_at_any_byte_and_may_be_rubbish_after_it(
    story: Story, tmp_path_factory: pytest.TempPathFactory, number: int, rest: bytes
) -> None:
    log = story.log[: number % (len(story.log) + 1)] + rest
    whole = same(log, story.log)  # the zeros that follow may be what was there
    folder = tmp_path_factory.mktemp("cut")
    try:
        assert read_again(story, log, folder) == story.known(whole)
    finally:
        shutil.rmtree(folder)
