"""A process's end of an arena, over real sockets and real memory; the control plane's end runs on a loop of its own."""

import gc
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.arena_file import ArenaFile
from tests.support.arena_plane import MEGABYTE, OWNER, Plane, pieces
from tests.support.waiting import wait_until
from worker_runtime.wire import PROTOCOL, payload
from worker_runtime.wire.arena_link import ArenaLost, greeted
from worker_runtime.wire.arena_map import ArenaMap
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.pieces import Pieces
from worker_runtime.wire.ranges import Range

pytestmark = pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system has no shared memory of that kind")

WORKER = {"protocol": PROTOCOL, "worker": "w", "token": "token"}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    plane = Plane(tmp_path, 33 * MEGABYTE)
    yield plane
    plane.close()


def test_a_value_is_read_where_it_was_written_and_its_memory_comes_back(plane: Plane) -> None:
    writer, reader = plane.link(), plane.link(WORKER)
    for _ in range(3):
        placed = writer.place(pieces(b"a"))
        assert placed is not None
        view = reader.lease(placed, time.monotonic() + 5)
        assert view is not None
        value = payload.decode(view)
        assert bytes(value.buffer[:2]) == b"aa"
        value.buffer[:2] = b"zz"  # a copy of that page: what others see stays
        writer.give_back(placed)
        assert bytes(writer.view(placed)[-2:]) == b"aa"
        del value, view
    assert plane.do(lambda: plane.arena.used) <= 3 * (MEGABYTE + 64 * 1024)


def test_what_was_changed_is_not_seen_in_the_next_value_of_that_place(plane: Plane) -> None:
    writer, reader = plane.link(), plane.link(WORKER)
    reader.tidy_later()
    offsets = set()
    for fill in (b"a", b"b", b"c"):
        placed = writer.place(pieces(fill))
        assert placed is not None
        offsets.add(placed.offset)
        view = reader.lease(placed, time.monotonic() + 5)
        assert view is not None
        value = payload.decode(view)
        assert value.buffer.tobytes() == fill * MEGABYTE
        value.buffer[:] = b"z" * MEGABYTE
        del value, view
        writer.give_back(placed)
        plane.do(lambda: None)
    assert len(offsets) == 1, "each had another place, so that this shows nothing"


def test_what_is_in_use_is_given_to_nobody(plane: Plane) -> None:
    writer, reader = plane.link(), plane.link(WORKER)
    first = writer.place(pieces(b"a", 8))
    assert first is not None
    view = reader.lease(first, time.monotonic() + 5)
    assert view is not None
    value = payload.decode(view)
    del view
    writer.give_back(first)
    others = [writer.place(pieces(b"b", 8)) for _ in range(4)]
    assert [each is None for each in others] == [False, False, True, True]
    assert value.buffer.tobytes() == b"a" * (8 * MEGABYTE)
    del value
    wait_until(lambda: writer.place(pieces(b"c", 8)) is not None, what="there is room again")


def test_a_range_that_is_gone_is_not_leased_and_a_wrong_one_not_seen(plane: Plane) -> None:
    link = plane.link()
    placed = link.place(pieces(b"a"))
    assert placed is not None
    link.give_back(placed)
    plane.do(lambda: None)
    assert link.lease(placed, 0.0) is None
    assert link.lease(Range(link.arena + 1, 1, MEGABYTE, 10), 0.0) is None
    for wrong in (Range(link.arena, 1, 2**40, 10), Range(link.arena, 1, MEGABYTE, 2**40), Range(link.arena, 1, 5, 10)):
        with pytest.raises(WireError, match="none of this control plane"):
            link.view(wrong)


def test_all_that_a_process_had_is_free_when_it_and_its_forks_have_ended(plane: Plane) -> None:
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        link = plane.link(WORKER)
        kept = [link.place(pieces(b"a")) for _ in range(3)]
        fork = os.fork()
        if fork and all(kept):
            os.write(tell, str(fork).encode())
        signal.pause()
    fork = int(os.read(told, 20))
    used = plane.do(lambda: plane.arena.used)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert plane.do(lambda: plane.arena.used) == used >= 3 * MEGABYTE
    os.kill(fork, signal.SIGKILL)
    plane.settle(0)
    os.close(told)
    os.close(tell)


def test_what_is_in_use_at_a_fork_stays_for_both(plane: Plane) -> None:
    writer, reader = plane.link(), plane.link(WORKER)
    placed = writer.place(pieces(b"a"))
    assert placed is not None
    view = reader.lease(placed, time.monotonic() + 5)
    pid = os.fork()
    if pid == 0:
        del view  # which says nothing to anybody
        os._exit(0)
    os.waitpid(pid, 0)
    del view
    writer.give_back(placed)
    assert plane.do(lambda: plane.arena.find(placed.name)) == placed


@pytest.mark.parametrize(
    "hello",
    [
        {**OWNER, "key": "other"},
        {**OWNER, "protocol": 0},
        {**WORKER, "token": "other"},
        {**WORKER, "worker": "unknown"},
        {"protocol": PROTOCOL},
        {},
    ],
)
def test_who_may_not_is_refused(plane: Plane, hello: dict[str, Any]) -> None:
    with pytest.raises(ArenaLost, match=r"key|spoken|closed"):
        plane.link(hello)


def test_where_there_is_none_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArenaLost, match="cannot be reached"):
        greeted(str(tmp_path / "none"), OWNER)


@pytest.mark.parametrize("words", [b"", b"alloc", b"alloc 1 x", b"free x", b"lease 1 " + b"f" * 64, b"\xff", b"what"])
def test_who_talks_nonsense_is_hung_up_on_and_the_others_go_on(plane: Plane, words: bytes) -> None:
    other, sock = plane.link(), greeted(plane.path, OWNER)
    with sock:
        sock.recv(4096)
        sock.send(words or b" ")
        wait_until(lambda: sock.recv(4096) == b"", what="it is hung up")
    assert other.place(pieces(b"a")) is not None


def test_a_control_plane_that_has_gone_is_noticed(tmp_path: Path) -> None:
    plane = Plane(tmp_path, 33 * MEGABYTE)
    link = plane.link()
    placed = link.place(pieces(b"a"))
    assert placed is not None
    view = link.view(placed)
    plane.close()
    assert not link.lost
    link.look()
    assert link.lost
    assert link.place(pieces(b"b")) is None
    assert link.lost
    assert bytes(view[-1:]) == b"a"


def test_memory_that_is_not_there_is_no_signal(tmp_path: Path) -> None:
    size = os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize
    shared = Path(f"/dev/shm/flash-test-{os.getpid()}")
    shared.mkdir(mode=0o700)
    try:
        file = ArenaFile.create(shared, tmp_path, 2 * size + 2 * MEGABYTE)
        memory = ArenaMap(os.dup(file.descriptor), file.size, file.marks, lambda found: None)
        too_large = Range(file.number, 1, MEGABYTE, size + MEGABYTE)
        with pytest.raises(OSError, match="No space"):
            memory.write(too_large, Pieces([b"x"]), fresh=True)
        file.close(remove=True)
    finally:
        for path in shared.iterdir():
            path.unlink()
        shared.rmdir()


def test_a_room_is_used_again_without_a_word(plane: Plane) -> None:
    writer, reader = plane.link(), plane.link(WORKER)
    first = writer.place(pieces(b"a"))
    assert first is not None
    writer.reuse(first)  # it was asked for, so that it is given back by a word
    plane.do(lambda: None)
    placed, said = set(), []
    plane.server._obey = lambda talker, data: said.append(data)  # type: ignore[method-assign]  # to be seen
    for fill in (b"b", b"c", b"d"):
        found = writer.place(pieces(fill))
        assert found is not None
        placed.add(found)
        view = reader.view(found)
        assert bytes(view[-1:]) == fill
        del view
        writer.reuse(found)
    plane.do(lambda: None)
    assert len(placed) == 1
    assert said == [b"free " + found.name.encode()] * 3, "the reader's, which is none that it was lent"
    assert plane.do(lambda: plane.arena.used) == first_size(placed)


def first_size(placed: set[Range]) -> int:
    """What the arena has in use for one of these."""
    return -(-next(iter(placed)).size // (64 * 1024)) * 64 * 1024


def test_a_room_whose_time_is_over_goes_back(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = plane.link()
    first = writer.place(pieces(b"a"))
    assert first is not None
    writer.give_back(first)
    plane.do(lambda: None)
    room = writer.place(pieces(b"b"))
    assert room is not None
    until = writer._used[room.number][1]
    monkeypatch.setattr(time, "monotonic", lambda: until + 2)
    plane.do(lambda: plane.arena.pass_time(until + 2))
    assert plane.do(lambda: plane.arena.find(room.name)) == room, "its mark is believed"
    writer.reuse(room)
    plane.do(lambda: None)
    assert plane.do(lambda: plane.arena.find(room.name)) is None


def test_another_process_writes_into_a_room_and_what_it_wrote_is_read_there(plane: Plane) -> None:
    program, worker = plane.link(), plane.link(WORKER)
    offered = program.offer(2 * MEGABYTE)
    assert offered is not None
    whole, fresh = offered
    assert fresh
    for fill in (b"a", b"b"):
        value = pieces(fill)
        assert worker.fill(whole.beginning(value.size), value, fresh=fresh)
        read = payload.decode(program.own(whole.beginning(value.size), again=fill == b"b"))
        assert read.buffer.tobytes() == fill * MEGABYTE
        read.buffer[:] = b"z" * MEGABYTE
        del read
        plane.do(lambda: None)
        (whole, fresh) = program.offer(MEGABYTE) or pytest.fail("it is full")
        assert not fresh


def test_what_is_used_on_is_known_before_it_is_told(plane: Plane) -> None:
    program, worker = plane.link(), plane.link(WORKER)
    placed = program.place(pieces(b"a"))
    assert placed is not None
    view = worker.view(placed)
    assert worker.keep(placed)
    program.give_back(placed)
    plane.do(lambda: None)
    assert plane.do(lambda: plane.arena.find(placed.name)) == placed
    del view
    plane.do(lambda: None)
    assert plane.do(lambda: plane.arena.find(placed.name)) is None
    assert not worker.keep(placed)


def test_what_a_program_held_stays_while_a_worker_may_use_it(plane: Plane) -> None:
    program, ended = plane.link({**OWNER, "name": "program"}), list[str]()
    placed = program.place(pieces(b"a"))
    assert placed is not None
    plane.do(lambda: plane.server.pin("program"))
    plane.do(lambda: plane.server.when_left("program", lambda: ended.append("too early")))
    plane.do(lambda: plane.server.pin("program"))  # it borrows once more, so that it goes on
    plane.do(lambda: plane.server.unpin("program"))
    plane.do(lambda: plane.server.when_left("program", lambda: ended.append("soon")))
    del program
    gc.collect()
    wait_until(lambda: ended == ["soon"], what="it has ended")
    plane.do(lambda: plane.server.when_left("program", lambda: ended.append("at once")))
    assert ended == ["soon", "at once"]
    assert plane.do(lambda: plane.arena.find(placed.name)) == placed
    plane.do(lambda: plane.server.unpin("program"))
    assert plane.do(lambda: plane.arena.used) == 0


def test_a_range_is_used_for_the_same_as_before_where_that_can_be(plane: Plane) -> None:
    program = plane.link()
    uses: set[tuple[str, int]] = set()
    for turn in range(6):
        placed, offered = program.place(pieces(b"a")), program.offer(MEGABYTE)
        assert placed is not None
        assert offered is not None
        uses |= {("place", placed.offset), ("offer", offered[0].offset)}
        given_back = [placed, offered[0]][:: 1 - 2 * (turn % 2)]  # in either order
        for each in given_back:
            program.reuse(each)
        plane.do(lambda: None)
    assert len(uses) == 2
