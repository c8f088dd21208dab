"""The file behind an arena."""

import os
from pathlib import Path

import pytest

from runpod_flash.control_plane import arena_file
from runpod_flash.control_plane.arena_file import SLOTS, ArenaFile, former, own_folder, sweep
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ranges import Range

SIZE = 4 * 1024**2


def test_what_is_noted_is_found_by_the_next_control_plane_and_by_no_other(tmp_path: Path) -> None:
    folder, state, other = tmp_path / "arenas", tmp_path / "a", tmp_path / "b"
    file = ArenaFile.create(folder, state, SIZE)
    found, gone = (Range(file.number, number, file.start, 3) for number in (1, 2))
    os.pwrite(file.descriptor, b"abc", file.start)
    slots = [file.note(each) for each in (found, gone)]
    assert slots[1] is not None
    file.forget(slots[1])
    file.close(remove=False)  # as a kill does
    assert former(folder, other) == []
    (again,) = former(folder, state)
    assert again.noted() == [found]
    assert again.read(found) == b"abc"
    again.close(remove=True)
    assert former(folder, state) == []


def test_ranges_of_another_arena_or_outside_are_not_read(tmp_path: Path) -> None:
    file = ArenaFile.create(tmp_path / "arenas", tmp_path, SIZE)
    for found in (
        Range(file.number + 1, 1, file.start, 3),
        Range(file.number, 1, 0, 3),
        Range(file.number, 1, SIZE, 3),
        Range(file.number, 1, file.start, 0),
    ):
        with pytest.raises(WireError, match="none of this arena"):
            file.read(found)
    file.close(remove=True)


def test_there_are_only_so_many_notes(tmp_path: Path) -> None:
    file = ArenaFile.create(tmp_path / "arenas", tmp_path, SIZE)
    found = Range(file.number, 1, file.start, 3)
    slots = [file.note(found) for _ in range(SLOTS + 1)]
    assert slots[-1] is None
    assert len(set(slots)) == SLOTS + 1
    file.close(remove=True)


def test_what_was_left_for_a_state_folder_that_has_gone_is_removed(tmp_path: Path) -> None:
    folder, gone, there = tmp_path / "arenas", tmp_path / "gone", tmp_path / "there"
    there.mkdir()
    files = [ArenaFile.create(folder, state, SIZE) for state in (gone, there)]
    sweep(folder)
    assert [file.path.exists() for file in files] == [False, True]
    for file in files:
        file.close(remove=True)


def test_nothing_is_left_of_arenas_that_nobody_needs(tmp_path: Path) -> None:
    folder, state = tmp_path / "shm", tmp_path / "state"
    state.mkdir()
    one, other = (ArenaFile.create(folder, state, 2 * 1024**2) for _ in range(2))
    one.close(remove=True)
    assert len(list(folder.iterdir())) == 2  # the other one, and whose it is
    other.close(remove=True)
    assert not list(folder.iterdir())


def test_a_folder_that_others_can_use_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(tmp_path)
    for folder in (open_to_all, elsewhere):
        with pytest.raises(PermissionError, match="not this user's alone"):
            own_folder(folder)


def test_what_is_no_arena_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "arenas"
    file = ArenaFile.create(folder, tmp_path, SIZE)
    os.pwrite(file.descriptor, b"another", 0)
    file.close(remove=False)
    assert former(folder, tmp_path) == []
    assert file.path.exists()


@pytest.mark.skipif(not arena_file.SHARED_MEMORY.is_dir(), reason="this system has no shared memory of that kind")
def test_memory_that_is_given_back_reads_as_zeros() -> None:
    folder = arena_file.SHARED_MEMORY / f"flash-test-file-{os.getpid()}"
    file = ArenaFile.create(folder, folder, SIZE)
    found = Range(file.number, 1, file.start, 3)
    os.pwrite(file.descriptor, b"abc", file.start)
    before = os.fstat(file.descriptor).st_blocks
    file.punch(file.start, file.start + 65536)
    assert file.read(found) == bytes(3)
    assert os.fstat(file.descriptor).st_blocks < before
    file.close(remove=True)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
