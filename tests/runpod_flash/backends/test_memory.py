"""Shared memory of a program whose control plane is started anew."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runpod_flash.backends.borrowed import Ranges
from runpod_flash.backends.memory import SharedMemory
from tests.support.arena_plane import MEGABYTE, Plane, pieces
from worker_runtime.wire import arena_link

pytestmark = pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system has no shared memory of that kind")


def shared(folder: Path, on_full: Callable[[str], None] = lambda message: None) -> SharedMemory:
    return SharedMemory(folder / "arena.sock", lambda: "key", on_full)


def test_a_value_is_brought_to_the_next_control_plane_though_that_was_asked_for_in_vain_before(tmp_path: Path) -> None:
    before, memory = Plane(tmp_path, 33 * MEGABYTE), shared(tmp_path)
    placed = memory.place(pieces(b"a"))
    assert placed is not None
    ranges = Ranges(memory)
    ranges.of_call(1, placed)
    source = ranges.source
    assert source is not None
    assert source() is placed, "it is there already"
    before.close()
    for _ in range(2):
        assert "room" not in ranges.room_for(1, MEGABYTE), "there is no memory"
    assert ranges.source is source
    after = Plane(tmp_path, 33 * MEGABYTE)
    try:
        anew = source()
        assert anew.range is not None
        assert anew.range != placed.range
        found = after.do(lambda: after.arena.find(anew.range or ""))
        assert found is not None
        assert after.file.read(found)[-2:] == b"aa"
    finally:
        after.close()


def test_without_another_control_plane_a_value_stays_where_it_was(tmp_path: Path) -> None:
    plane, memory = Plane(tmp_path, 33 * MEGABYTE), shared(tmp_path)
    placed = memory.place(pieces(b"a"))
    assert placed is not None
    source = memory.source(placed)
    plane.close()
    assert source() is placed


def test_that_memory_is_short_is_said_where_it_is_short_and_not_where_no_answer_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane, said = Plane(tmp_path, 33 * MEGABYTE), list[str]()
    memory = shared(tmp_path, said.append)
    try:
        assert memory.place(pieces(b"a")) is not None
        with monkeypatch.context() as busy:
            busy.setattr(arena_link, "_ANSWER_S", 0.0)
            assert memory.place(pieces(b"b", 20)) is None, "nobody has waited for the answer"
        assert said == []
        assert memory.place(pieces(b"c", 40)) is None
        assert "no shared memory is left for a value of 40 MB" in said[0]
    finally:
        plane.close()
