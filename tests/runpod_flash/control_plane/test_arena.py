"""Who holds which range of an arena."""

import itertools
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runpod_flash.control_plane import arena as module
from runpod_flash.control_plane.arena import HELD_S, Arena
from runpod_flash.control_plane.arena_file import ArenaFile
from runpod_flash.control_plane.arena_space import GRAIN, rounded
from worker_runtime.wire.ranges import MARK, Range, mark_of

SIZE = 1024**2 + 24 * GRAIN
LATER = 2 * HELD_S


class Process:
    """One that uses the arena."""

    def __init__(self) -> None:
        self.rooms: list[Range] = []

    def room(self, found: Range, until: float) -> None:
        assert until > time.monotonic()
        self.rooms.append(found)


@pytest.fixture
def arena(tmp_path: Path) -> Any:
    file = ArenaFile.create(tmp_path / "arenas", tmp_path, SIZE)
    yield Arena(file)
    file.close(remove=True)


def taken(arena: Arena, who: Process, size: int = GRAIN) -> Range:
    found = arena.alloc(who, size)
    assert found is not None
    return found[0]


def test_arguments_live_as_long_as_their_job_and_whoever_reads_them(arena: Arena) -> None:
    client, worker = Process(), Process()
    found = taken(arena, client)
    assert arena.keep(found, "job")
    arena.lend(worker, found)
    arena.let_go("job")
    assert arena.find(found.name) == found
    arena.free(worker, found)
    assert arena.find(found.name) is None


def test_what_was_written_is_a_room_for_its_writer_when_it_is_free(arena: Arena) -> None:
    client = Process()
    found = taken(arena, client)
    arena.keep(found, "job")
    arena.let_go("job")
    (room,) = client.rooms
    assert (room.offset, room.size) == (found.offset, found.size)
    assert room.number != found.number
    assert arena.lease(client, room)
    assert arena.keep(Range(room.arena, room.number, room.offset, 10), "next")


def test_a_room_that_is_not_used_in_time_is_free(arena: Arena) -> None:
    client, heard = Process(), list[str]()
    arena.before_overdue = lambda: heard.append("x")
    arena.free(client, taken(arena, client))
    arena.pass_time(time.monotonic())
    assert arena.used == GRAIN
    assert not heard
    arena.pass_time(time.monotonic() + LATER)
    assert arena.used == 0
    assert heard
    assert not arena.lease(client, client.rooms[0])


def test_what_was_said_in_time_counts_however_late_it_is_heard(arena: Arena) -> None:
    client = Process()
    arena.free(client, taken(arena, client))
    arena.before_overdue = lambda: arena.lease(client, client.rooms[0])
    arena.pass_time(time.monotonic() + LATER)
    assert arena.find(client.rooms[0].name) is not None


def test_a_room_that_its_writer_has_marked_is_held(arena: Arena) -> None:
    client = Process()
    arena.free(client, taken(arena, client))
    (room,) = client.rooms
    mark(arena.file, room)
    arena.pass_time(time.monotonic() + LATER)
    assert arena.find(room.name) is not None
    assert arena.lease(client, room), "it was late, and asks"
    arena.free(client, room)
    assert arena.find(room.name) is None


def test_a_mark_of_a_process_that_has_ended_holds_nothing(arena: Arena) -> None:
    client = Process()
    arena.free(client, taken(arena, client))
    mark(arena.file, client.rooms[0])
    arena.left(client)
    assert arena.used == 0


def test_a_call_or_a_result_in_a_room_needs_no_word_about_that(arena: Arena) -> None:
    worker, other = Process(), Process()
    for _ in range(2):
        arena.free(worker, taken(arena, worker))
    arguments, result = worker.rooms
    assert arena.deliver(other, result) is None
    assert arena.deliver(worker, result) is not None
    assert arena.keep(arguments, "job")
    arena.let_go("job")
    arena.taken(result)
    assert arena.find(arguments.name) is arena.find(result.name) is None
    assert len(worker.rooms) == 4


def test_where_no_mark_can_be_made_there_are_no_rooms(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Process()
    monkeypatch.setattr(arena.file, "make_markable", lambda found: False)
    arena.free(client, taken(arena, client))
    assert client.rooms == []
    assert arena.used == 0


def mark(file: ArenaFile, room: Range) -> None:
    """Mark a room, as its writer does."""
    os.pwrite(file.descriptor, MARK.pack(room.number), file.marks + mark_of(room.offset))


def test_a_result_is_held_until_somebody_takes_it_and_kept_if_nobody_does(arena: Arena) -> None:
    client, worker, kept = Process(), Process(), list[Range]()
    arena.on_overdue = kept.append
    first, second = taken(arena, worker), taken(arena, worker)
    for found in (first, second):
        assert arena.deliver(worker, found) is not None
    assert arena.lease(client, first)
    arena.taken(first)
    arena.pass_time(time.monotonic() + LATER)
    assert kept == [second]
    assert arena.find(second.name) is not None, "until it is kept elsewhere"
    arena.drop_result(second)
    arena.free(client, first)
    assert arena.find(first.name) is arena.find(second.name) is None


def test_a_result_must_lie_where_its_worker_could_write(arena: Arena) -> None:
    worker, other = Process(), Process()
    found = taken(arena, other)
    assert arena.deliver(worker, found) is None
    assert arena.deliver(worker, Range(found.arena, found.number + 1, found.offset, 10)) is None
    assert arena.deliver(other, Range(found.arena, found.number, found.offset, found.size + 1)) is None
    assert arena.deliver(other, found) is not None


def test_what_jobs_need_is_noted_in_the_file(arena: Arena) -> None:
    client = Process()
    found, other = taken(arena, client), taken(arena, client)
    arena.keep(found, "job")
    arena.deliver(client, other)
    assert set(arena.file.noted()) == {found, other}
    arena.let_go("job")
    arena.taken(other)
    assert arena.file.noted() == []


def test_more_than_can_be_noted_goes_another_way(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Process()
    monkeypatch.setattr(arena.file, "note", lambda found: None)
    found = taken(arena, client)
    assert not arena.keep(found, "job")
    assert arena.deliver(client, found) is None


def test_memory_is_given_back_to_the_system_and_asked_for_anew(arena: Arena) -> None:
    client = Process()
    found, fresh = arena.alloc(client, 4 * GRAIN) or pytest.fail("it is full")
    assert fresh
    arena.free(client, found)
    arena.pass_time(time.monotonic() + LATER)
    assert arena.give_to_system(2 * GRAIN)
    assert arena.give_to_system(2 * GRAIN)
    assert not arena.give_to_system(GRAIN)
    _, fresh = arena.alloc(client, GRAIN) or pytest.fail("it is full")
    assert fresh


class Uses(RuleBasedStateMachine):
    """Processes and jobs at random; what nobody holds is free, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        folder = Path(module.__file__).parent  # only its path counts
        self.file = ArenaFile.create(_scratch(), folder, SIZE)
        self.arena = Arena(self.file)
        self.arena.new_number = itertools.count(1).__next__
        self.arena.on_overdue = lambda found: self.results.discard(found)
        self.processes = [Process() for _ in range(3)]
        self.known: list[Range] = []
        self.held: dict[tuple[Process, Range], int] = {}
        self.entered: set[tuple[Process, Range]] = set()  # rooms, by their marks
        self.believed: set[tuple[Process, Range]] = set()
        self.jobs: dict[str, Range] = {}
        self.results: set[Range] = set()
        self.number = 0

    def teardown(self) -> None:
        noted = {found.number for found in self.file.noted()}
        assert noted == {found.number for found in [*self.jobs.values(), *self.results]}
        self.file.close(remove=True)
        shutil.rmtree(_scratch())

    def one(self, data: Any) -> Process:
        return data.draw(st.sampled_from(self.processes))

    def a_range(self, data: Any) -> Range:
        rooms = [room for process in self.processes for room in process.rooms]
        return data.draw(st.sampled_from(self.known + rooms))

    @rule(data=st.data(), size=st.integers(1, 8 * GRAIN))
    def alloc(self, data: Any, size: int) -> None:
        who = self.one(data)
        found = self.arena.alloc(who, size)
        if found is not None:
            assert found[0].size == rounded(size)
            self.known.append(found[0])
            self.held[who, found[0]] = 1

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def lease(self, data: Any) -> None:
        who, found = self.one(data), self.a_range(data)
        was_there = self.arena.find(found.name) is not None
        self.believe([each for each in self.entered if each[1] == found and each[0] is not who])
        assert self.arena.lease(who, found) == was_there
        if was_there and (who, found) not in self.believed:
            self.held[who, found] = self.held.get((who, found), 0) + 1
        self.believed.discard((who, found))

    @precondition(lambda self: self.rooms())
    @rule(data=st.data())
    def enter(self, data: Any) -> None:
        who, room = data.draw(st.sampled_from(self.rooms()))
        mark(self.file, room)
        self.entered.add((who, room))

    @precondition(lambda self: self.entered)
    @rule(data=st.data())
    def use_again(self, data: Any) -> None:
        """Who is done with a room takes the mark away, as long as nobody has seen it."""
        each = data.draw(st.sampled_from(sorted(self.entered, key=lambda each: each[1].number)))
        room = each[1]
        if self.is_room(room):
            os.pwrite(self.file.descriptor, bytes(MARK.size), self.file.marks + mark_of(room.offset))
            self.entered.discard(each)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def inherit(self, data: Any) -> None:
        """A program has ended, and nobody else uses its range."""
        found = self.a_range(data)
        if any(count and each == found for (_, each), count in self.held.items()):
            return
        named = self.arena.unnamed(found)
        held = self.arena._held.get(found.number)
        may = held is not None and not held.is_needed
        self.arena.inherit(found, named)
        if may:
            self.entered = {each for each in self.entered if each[1] != found}
            self.known.append(named)
            self.results.add(named)

    def rooms(self) -> list[tuple[Process, Range]]:
        return [(process, room) for process in self.processes for room in process.rooms if self.is_room(room)]

    def is_room(self, found: Range) -> bool:
        held = self.arena._held.get(found.number)
        return held is not None and held.room

    def believe(self, marks: Iterable[tuple[Process, Range]]) -> None:
        """What follows lets the arena see these marks."""
        for each in [each for each in marks if self.is_room(each[1])]:
            self.held[each] = 1
            self.believed.add(each)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), unbacked=st.booleans())
    def free(self, data: Any, unbacked: bool) -> None:
        who, found = self.one(data), self.a_range(data)
        self.arena.free(who, found, unbacked=unbacked)
        if self.held.get((who, found)):
            self.held[who, found] -= 1

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def keep(self, data: Any) -> None:
        found = self.a_range(data)
        self.number += 1
        if self.arena.keep(found, f"job{self.number}"):
            self.jobs[f"job{self.number}"] = found
            for key in [key for key in self.held if key[1] == found]:
                if self.is_writer(key[0], found):
                    self.held[key] = 0

    def is_writer(self, who: Process, found: Range) -> bool:
        held = self.arena._held.get(found.number)
        return held is not None and held.writer is who

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def let_go(self, data: Any) -> None:
        job = data.draw(st.sampled_from(sorted(self.jobs)))
        del self.jobs[job]
        self.arena.let_go(job)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def deliver(self, data: Any) -> None:
        who, found = self.one(data), self.a_range(data)
        may = bool(self.held.get((who, found))) or (who, found) in self.rooms()
        assert (self.arena.deliver(who, found) is not None) == may
        if may:
            self.held[who, found] = 0
            self.results.add(found)

    @precondition(lambda self: self.results)
    @rule(data=st.data())
    def take(self, data: Any) -> None:
        found = data.draw(st.sampled_from(sorted(self.results, key=lambda each: each.number)))
        self.results.discard(found)
        self.arena.taken(found)

    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        who = self.one(data)
        self.arena.left(who)
        self.processes[self.processes.index(who)] = Process()
        for key in [key for key in self.held if key[0] is who]:
            del self.held[key]

    @rule()
    def pass_time(self) -> None:
        overdue = set(self.results)
        self.believe(self.entered)
        self.arena.pass_time(time.monotonic() + LATER)
        for found in overdue:
            self.arena.drop_result(found)
        self.results.clear()

    @invariant()
    def what_is_held_is_there_and_nothing_overlaps(self) -> None:
        needed = {found for (_, found), count in self.held.items() if count} | set(self.jobs.values()) | self.results
        assert all(self.arena.find(found.name) == found for found in needed)
        there = sorted((held.found.offset, held.found.end) for held in self.arena._held.values())
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(there))
        assert sum(end - start for start, end in there) == self.arena.used
        rooms = sum(held.room for held in self.arena._held.values())
        assert len({found.number for found in needed}) + rooms == len(self.arena._held)


def _scratch() -> Path:
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    return folder / f"flash-test-arena-{os.getpid()}"


TestUses = Uses.TestCase
TestUses.settings = settings(max_examples=40, stateful_step_count=40, deadline=None, phases=(Phase.generate,))
