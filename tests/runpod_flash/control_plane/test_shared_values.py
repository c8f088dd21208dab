"""Values in memory, and what of them becomes files."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.arena import HELD_S, Arena
from runpod_flash.control_plane.arena_file import ArenaFile, former
from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.shared_values import SharedValues, adopt
from runpod_flash.errors import ContentNotFound
from worker_runtime.wire.jobs import Call, JobStatus, Payload
from worker_runtime.wire.ranges import Range


class Process:
    """One that uses the arena."""

    def room(self, found: Range, until: float) -> None:
        """It is not used."""


class Server:
    """Knows one worker."""

    def __init__(self) -> None:
        self.talker: Process | None = Process()
        self.pins: list[str] = []
        self.ended: set[str] = set()

    def pin(self, name: str) -> None:
        self.pins.append(name)

    def unpin(self, name: str) -> None:
        self.pins.append(f"-{name}")

    def when_left(self, name: str, act: Callable[[], None]) -> None:
        if name in self.ended:
            act()

    def worker(self, worker_id: str) -> Process | None:
        return self.talker if worker_id == "w" else None

    def close(self) -> None:
        """Nobody talks."""


class Scene:
    """An arena on a disk, blobs, and a program that writes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder / "arenas", folder / "state"
        self.arena = Arena(ArenaFile.create(self.folder, self.state, 4 * 1024**2))
        self.blobs, self.server, self.client = Blobs(folder / "blobs"), Server(), Process()
        self.values = SharedValues(self.blobs, self.arena, self.server)  # type: ignore[arg-type]  # what is asked of it

    def write(self, who: Any, data: bytes) -> Range:
        found = self.arena.alloc(who, len(data))
        assert found is not None
        os.pwrite(self.arena.file.descriptor, data, found[0].offset)
        return Range(found[0].arena, found[0].number, found[0].offset, len(data))


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    made = Scene(folder)
    try:
        yield made
    finally:
        await made.values.close()


def call(found: Range) -> Call:
    return Call("a", Payload.in_range(found))


def record(job: str, status: JobStatus) -> JobRecord:
    return JobRecord(job, "e", {}, 0.0, status)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def test_a_value_is_found_wherever_it_is(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            found = at.write(at.client, b"abc")
            assert at.values.has(found.name)
            assert await at.values.read(found.name) == b"abc"
            pieces = at.values.pieces(found.name)
            assert pieces is not None
            assert b"".join([piece async for piece in pieces]) == b"abc"
            at.arena.free(at.client, found)
            assert at.values.pieces(found.name) is None
            assert not at.values.has(found.name)
            assert not at.values.has("f" * 64)

    asyncio.run(run())


def test_a_worker_reads_arguments_until_its_call_ends_and_longer_if_it_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            for holds in (False, True):
                found = at.write(at.client, b"abc")
                at.values.keep(call(found), "j")
                assert at.values.lend("w", found.name)
                assert not at.values.lend("other", found.name)
                at.values.ended(record("j", JobStatus.COMPLETED))
                assert at.arena.ranges_of("j"), "its client hears of it first"
                await asyncio.sleep(0)
                assert not at.arena.ranges_of("j")
                assert at.values.shares(found.name)
                if holds:
                    at.values.holds("w", [found.name])
                at.values.returned("w", call(found))
                assert at.values.shares(found.name) is holds
                at.arena.left(at.server.talker)
                assert not at.values.shares(found.name)

    asyncio.run(run())


def test_arguments_that_are_gone_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            with pytest.raises(ContentNotFound, match="shared memory"):
                at.values.keep(call(Range(at.arena.file.number, 1, 1024**2, 3)), "j")

    asyncio.run(run())


def test_a_result_that_nobody_takes_in_time_becomes_a_file_of_the_same_name(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            found = at.write(at.server.talker, b"abc")
            assert at.values.received("other", found) is None
            told = at.values.received("w", found)
            assert told is not None
            assert (told.range, told.size) == (found.name, 3)
            assert told.until > time.monotonic()
            at.arena.pass_time(time.monotonic() + 2 * HELD_S)
            await until(lambda: not at.values.shares(found.name))
            assert at.blobs.path(found.name).read_bytes() == b"abc"
            assert await at.values.read(found.name) == b"abc"

    asyncio.run(run())


def test_what_a_worker_had_written_that_has_ended_is_gone_unless_it_is_a_programs(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            own, lent, unwanted = at.write(at.server.talker, b"abc"), *(at.write(at.client, b"def") for _ in range(2))
            assert not at.values.has_left("w")
            at.arena.left(at.server.talker)
            at.server.talker = None
            assert at.values.has_left("w")
            assert at.values.received("w", own) is None
            assert at.values.received("w", lent) is None, "it was not said to be filled"
            for each in (lent, unwanted):
                at.values.filled("w", each)
            at.values.discard("w", unwanted)
            told = at.values.received("w", lent)
            assert told is not None
            assert told.range == lent.name
            at.arena.left(at.client)
            assert at.values.shares(lent.name), "until it is taken"
            assert not at.values.shares(unwanted.name)

    asyncio.run(run())


def test_a_result_that_nobody_wants_is_free(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            found = at.write(at.server.talker, b"abc")
            at.values.discard("w", found)
            assert not at.values.shares(found.name)

    asyncio.run(run())


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.TIMED_OUT, JobStatus.COMPLETED, JobStatus.CANCELLED])
def test_arguments_of_a_job_that_may_be_tried_again_become_a_file(tmp_path: Path, status: JobStatus) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            found = at.write(at.client, b"abc")
            at.values.keep(call(found), "j")
            at.values.ended(record("j", status))
            await until(lambda: not at.values.shares(found.name))
            again = status in (JobStatus.FAILED, JobStatus.TIMED_OUT)
            assert at.values.has(found.name) is again
            if again:
                at.values.keep(call(found), "j")
                assert await at.values.read(found.name) == b"abc"

    asyncio.run(run())


def test_the_next_control_plane_has_what_jobs_need(tmp_path: Path) -> None:
    async def run() -> None:
        at = Scene(tmp_path)
        needed, result, other = (at.write(at.server.talker, data) for data in (b"abc", b"def", b"ghi"))
        at.values.keep(call(needed), "j")
        at.values.received("w", result)
        await adopt(former(at.folder, at.state), at.blobs)
        assert [at.blobs.has(each.name) for each in (needed, result, other)] == [True, True, False]
        assert at.blobs.path(result.name).read_bytes() == b"def"
        assert former(at.folder, at.state) == []
        await at.values.close()

    asyncio.run(run())


def test_what_cannot_be_kept_stays_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        at = Scene(tmp_path)
        found = at.write(at.client, b"abc")
        at.values.keep(call(found), "j")

        async def full(name: str, pieces: Any) -> None:
            raise OSError("no space")

        with monkeypatch.context() as patched:
            patched.setattr(at.blobs, "put_copy", full)
            await at.values.close()
        await adopt(former(at.folder, at.state), at.blobs)
        assert at.blobs.path(found.name).read_bytes() == b"abc"

    asyncio.run(run())


def test_a_result_that_its_program_may_not_have_read_is_one_like_any_when_that_has_ended(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            found = at.write(at.client, b"abc")
            assert at.values.borrowed("w", "program")
            assert not at.values.borrowed("w", "")
            assert not at.values.borrowed("unknown", "program")
            named = at.values.unnamed(found.name)
            assert (named.offset, named.size) == (found.offset, found.size)
            at.values.inherit("program", found, named)
            assert not at.values.has(named.name), "it goes on"
            at.server.ended.add("program")
            at.values.inherit("program", found, named)
            at.values.returned_from("program")
            at.arena.left(at.client)
            assert not at.values.has(found.name)
            assert await at.values.read(named.name) == b"abc"
            at.arena.pass_time(time.monotonic() + 2 * HELD_S)
            await until(lambda: not at.values.shares(named.name))
            assert await at.values.read(named.name) == b"abc"
            assert at.server.pins == ["program", "-program"]

    asyncio.run(run())


def test_a_result_in_a_room_of_the_program_goes_to_whoever_waits_for_the_job(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as at:
            found = at.write(at.client, b"abc")
            at.values.filled("w", found)
            told = at.values.received("w", found)
            assert told is not None
            assert told.range == found.name
            at.arena.free(at.client, found)
            assert at.values.has(found.name), "nobody has taken it"
            at.arena.taken(found)
            assert not at.values.has(found.name)

    asyncio.run(run())
