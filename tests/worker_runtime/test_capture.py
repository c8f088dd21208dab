"""Bytes to lines, and pipes to batches of lines in order."""

import asyncio
import os
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.capture import MAX_LINE, TAIL_LINES, Capture, Lines


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return [*parts, data[start:]]


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", codec="utf-8"))), st.lists(st.integers(0, 9)))
def test_lines_do_not_depend_on_how_the_bytes_arrive(lines: list[str], sizes: list[int]) -> None:
    reader = Lines()
    data = "".join(f"{line}\n" for line in lines).encode()
    assert [line for part in cut(data, sizes) for line in reader.feed(part)] == lines
    assert not reader.partial
    assert reader.flush() == []


@given(st.binary(), st.lists(st.integers(0, 9)))
def test_any_bytes_give_lines(data: bytes, sizes: list[int]) -> None:
    reader = Lines()
    for part in cut(data, sizes):
        for line in reader.feed(part):
            assert "\n" not in line
    reader.flush()


def test_a_line_without_end_is_given_once_and_its_end_is_no_line() -> None:
    reader = Lines()
    assert reader.feed(b"half") == []
    assert reader.flush() == ["half"]
    assert reader.flush() == []
    assert reader.feed(b"\nnext\n\n") == ["next", ""]


def test_a_character_that_is_cut_is_waited_for() -> None:
    reader = Lines()
    assert reader.feed("ab€".encode()[:-1]) == []
    assert reader.flush() == ["ab"]
    assert reader.feed("€".encode()[-1:] + b"\n") == ["€"]


def test_a_progress_bar_leaves_its_last_state() -> None:
    assert Lines().feed(b"\r 10%\r 50%\r100%\r\n") == ["100%"]


@given(st.integers(0, 3 * MAX_LINE), st.integers(1, MAX_LINE))
def test_long_lines_are_cut(length: int, step: int) -> None:
    reader, data = Lines(), b"x" * length
    pieces = [line for start in range(0, length, step) for line in reader.feed(data[start : start + step])]
    pieces += reader.feed(b"\n")
    assert "".join(pieces) == "x" * length
    assert all(len(piece) <= MAX_LINE for piece in pieces)
    assert len(pieces) <= max(1, length // MAX_LINE + 1)


class Scene:
    """A capture on real pipes; remembers what it emits."""

    def __init__(
        self, backlog: Callable[[], int] = lambda: 0, drain: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.emitted: list[tuple[str | None, str, list[str]]] = []
        self.job: str | None = "job"
        (out, self.out), (err, self.err) = os.pipe(), os.pipe()

        async def nothing() -> None:
            return

        self.capture = Capture(
            {"stdout": out, "stderr": err},
            lambda job, stream, lines: self.emitted.append((job, stream, lines)),
            lambda: self.job, backlog, drain or nothing,
        )  # fmt: skip

    def close(self) -> None:
        os.close(self.out)
        os.close(self.err)
        self.capture.finish()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_catching_up_gives_all_that_was_written_before() -> None:
    async def main() -> None:
        scene = Scene()
        os.write(scene.out, b"1\n" * 30_000)
        os.write(scene.err, b"warning\nhalf")
        scene.capture.catch_up()
        assert [line for _, stream, lines in scene.emitted for line in lines if stream == "stdout"] == ["1"] * 30_000
        assert scene.emitted[-1] == ("job", "stderr", ["warning", "half"])
        scene.job = None
        os.write(scene.out, b"late\n")
        scene.close()
        assert scene.emitted[-1] == (None, "stdout", ["late"])
        assert scene.capture.tail == ["warning", "half"]

    asyncio.run(main())


def test_lines_are_emitted_as_they_come_and_halves_a_little_later() -> None:
    async def main() -> None:
        scene = Scene()
        os.write(scene.out, b"one\n")
        await until(lambda: scene.emitted == [("job", "stdout", ["one"])])
        os.write(scene.out, b"half")
        await until(lambda: scene.emitted[1:] == [("job", "stdout", ["half"])])
        scene.close()

    asyncio.run(main())


def test_reading_pauses_while_nobody_takes_the_lines() -> None:
    async def main() -> None:
        full, room = 2**30, asyncio.Event()

        async def drain() -> None:
            await room.wait()

        scene = Scene(lambda: full, drain)
        os.write(scene.out, b"one\n")
        await until(lambda: scene.emitted)
        await asyncio.sleep(0)  # the pause begins
        os.write(scene.out, b"two\n")
        await asyncio.sleep(0.05)
        assert len(scene.emitted) == 1
        full = 0
        room.set()
        await until(lambda: scene.emitted[1:] == [("job", "stdout", ["two"])])
        scene.close()

    asyncio.run(main())


def test_only_the_end_of_standard_error_is_kept() -> None:
    async def main() -> None:
        scene = Scene()
        os.write(scene.err, b"".join(b"%d\n" % number for number in range(100)))
        scene.close()
        assert scene.capture.tail == [str(number) for number in range(100 - TAIL_LINES, 100)]

    asyncio.run(main())
