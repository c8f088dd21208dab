"""What is kept of a job's output, and how it gets to disk."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane import job_logs
from runpod_flash.control_plane.job_logs import CHARACTERS, LINES, LogSaver, LogTail
from runpod_flash.control_plane.records import LogLine
from runpod_flash.control_plane.store import StoreFull


def line(text: str) -> LogLine:
    return {"attempt": 1, "stream": "stdout", "line": text}


@given(st.lists(st.lists(st.integers(0, CHARACTERS).map(lambda size: line("x" * size)), max_size=4), max_size=5))
def test_the_last_lines_are_kept_within_the_bound(parts: list[list[LogLine]]) -> None:
    tail = LogTail()
    for part in parts:
        tail.extend(part)
    given_lines = [each for part in parts for each in part]
    kept = tail.lines()
    assert kept == given_lines[len(given_lines) - len(kept) :]
    assert sum(len(each["line"]) for each in kept) <= CHARACTERS
    assert not given_lines or kept


def test_no_more_than_so_many_lines_are_kept() -> None:
    tail = LogTail(line(str(number)) for number in range(LINES + 5))
    assert (len(tail), tail.lines()[0]["line"]) == (LINES, "5")


class Disk:
    """Takes what is saved. `full`: nothing can be written."""

    def __init__(self) -> None:
        self.saved: list[tuple[str, list[str]]] = []
        self.full = False

    async def save(self, job_id: str, lines: Sequence[LogLine]) -> None:
        if self.full:
            raise StoreFull("no room")
        self.saved.append((job_id, [each["line"] for each in lines]))


def test_many_changes_are_one_write_and_an_end_writes_at_once() -> None:
    async def play() -> None:
        disk, tail = Disk(), LogTail()
        saver = LogSaver(disk.save)
        for number in range(50):
            tail.extend([line(str(number))])
            saver.changed("j1", tail)
        saver.save("j1", tail)
        saver.save("j1", tail)  # nothing new
        await asyncio.sleep(0)
        assert [(job, len(lines)) for job, lines in disk.saved] == [("j1", 50)]
        tail.extend([line("more")])
        saver.changed("j1", tail)
        saver.close()
        await asyncio.sleep(0)
        assert [len(lines) for _, lines in disk.saved] == [50, 51]

    asyncio.run(play())


def test_what_is_written_while_a_job_runs_is_saved_after_a_while() -> None:
    async def play() -> None:
        disk, tail = Disk(), LogTail([line("one")])
        saver = LogSaver(disk.save)
        tail.extend([line("two")])
        saver.changed("j1", tail)
        async with asyncio.timeout(job_logs.SAVE_S + 5):
            while not disk.saved:
                await asyncio.sleep(0.01)
        assert disk.saved == [("j1", ["one", "two"])]

    asyncio.run(play())


def test_what_could_not_be_written_is_written_with_the_next_save() -> None:
    async def play() -> None:
        disk, tail = Disk(), LogTail()
        saver = LogSaver(disk.save)
        tail.extend([line("one")])
        disk.full = True
        saver.save("j1", tail)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        disk.full = False
        saver.save("j1", tail)
        await asyncio.sleep(0)
        assert disk.saved == [("j1", ["one"])]

    asyncio.run(play())
