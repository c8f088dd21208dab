"""Items from workers go to disk in their order, wait for a reader, and make their generator wait."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.lifecycle import recover
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.records import JobRecord
from tests.support.small_plane import ScriptedProcess, SmallPlane, small_plane
from worker_runtime.wire import items, messages, payload
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus, Streamed, read_output

USER = ErrorInfo(ErrorKind.USER, "ValueError", "bad")
LARGE = b"x" * 300_000


@dataclass
class Played:
    """A plane with one job that streams, and the worker that runs it."""

    plane: SmallPlane
    endpoint: str
    job_id: str

    @classmethod
    async def start(cls, plane: SmallPlane, *, retries: int | None = None, plain: bool = False) -> "Played":
        endpoint = await plane.endpoint()
        call = replace(plane.call(stream=not plain, retries=retries), plain=plain)
        record = await plane.submit(endpoint, call)
        played = cls(plane, endpoint, record.id)
        await played.runs()
        return played

    async def written(self) -> None:
        """Wait until what has come is on disk."""

        def nothing_is_under_way() -> bool:
            stream = self.plane.streams._streams.get(self.job_id)
            return stream is None or stream.writing is None

        await self.plane.until(nothing_is_under_way)

    async def runs(self) -> None:
        """Wait until a worker runs the job."""

        def running() -> bool:
            self.plane.connect()
            return any(self.job_id in process.calls for process in self.plane.launcher.alive)

        await self.plane.until(running)

    @property
    def record(self) -> JobRecord:
        return self.plane.platform.job(self.endpoint, self.job_id)

    @property
    def process(self) -> ScriptedProcess:
        found: ScriptedProcess = next(one for one in self.plane.launcher.alive if self.job_id in one.calls)
        return found

    @property
    def worker(self) -> Worker:
        return next(one for one in self.plane.workers() if self.job_id in one.running)

    def yields(self, *values: Any, attempt: int | None = None) -> None:
        for value in values:
            item = items.encode(value)
            self.plane.supervisor.item(self.worker, self.job_id, attempt or self.record.attempts, item)

    async def read(self, after: int = 0) -> tuple[list[Any], int, bool]:
        """The next items, the number of the last one, and whether they are all."""
        record, pieces, more = await self.plane.platform.items(self.job_id, after, 5.0)
        values = [await self._value(chunk) for _, chunk in pieces]
        return values, pieces[-1][0] if pieces else after, record.status.final and not more

    async def read_all(self, after: int = 0) -> list[Any]:
        found: list[Any] = []
        while True:
            values, after, ended = await self.read(after)
            found += values
            if ended and not values:
                return found

    async def _value(self, chunk: Any) -> Any:
        described = items.read(chunk)
        if described is None:
            return chunk
        if described.inline is not None:
            return payload.decode(described.inline)
        return payload.decode(await self.plane.values.read(str(described.sha256)))

    def credits(self) -> tuple[int, int]:
        """Items and bytes that the worker was told to be read."""
        told = [frame for frame in self.process.frames if frame["type"] == messages.CREDIT]
        return sum(frame["items"] for frame in told), sum(frame["bytes"] for frame in told)


def played(
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Callable[[Callable[[SmallPlane], Coroutine[Any, Any, None]]], Callable[[Path], None]]:
    """Run an async test with a small plane."""

    def decorate(test: Callable[[SmallPlane], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
        async def with_plane(folder: Path) -> None:
            async with small_plane(folder, limits=limits) as plane:
                await asyncio.wait_for(test(plane), 20)

        def run(tmp_path: Path) -> None:
            asyncio.run(with_plane(tmp_path))

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


@played()
async def test_small_and_large_items_come_in_their_order(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    values = [1, LARGE, "two", (3,), LARGE + b"y", {"flash": 4}, 5]
    stream.yields(*values)
    plane.finish(b"")
    assert await stream.read_all() == values
    assert read_output(stream.record.output) == Streamed(len(values))


@played()
async def test_an_end_is_told_after_the_items_before_it(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    reading = asyncio.create_task(stream.read_all())
    await plane.turns()
    stream.yields(LARGE, 2)
    plane.finish(error=USER)
    assert not stream.record.status.final
    assert await reading == [LARGE, 2]
    assert stream.record.status is JobStatus.FAILED


@played()
async def test_the_same_question_gives_the_same_answer_until_it_has_arrived(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    stream.yields(1, 2)
    await stream.written()
    first, again = await stream.read(), await stream.read()
    assert first == again
    assert first[0] == [1, 2]
    stream.yields(3)
    await stream.written()
    assert (await stream.read())[0] == [1, 2, 3]
    assert (await stream.read(first[1]))[0] == [3]
    assert (await stream.read())[0] == [3]


@played(Limits(stream_items=4, stream_bytes=1000))
async def test_the_worker_is_told_what_was_read(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    (run,) = [frame for frame in stream.process.frames if frame["type"] == messages.RUN]
    assert run["window"] == [4, 1000]
    stream.yields(1, "ab")
    _, number, _ = await stream.read()
    assert stream.credits() == (0, 0)  # handed out, but nobody says that it has arrived
    stream.yields(3)
    await stream.read(number)
    assert stream.credits() == (2, 1 + 4)
    _, chunks, _ = await plane.platform.stream(stream.endpoint, stream.job_id, 5.0)
    assert chunks == [3]
    assert stream.credits() == (3, 1 + 4 + 1)


@played(Limits(stream_items=4, stream_bytes=1000))
async def test_any_number_of_items_of_a_plain_call_may_be_unread_for_they_are_its_output(plane: SmallPlane) -> None:
    stream = await Played.start(plane, plain=True)
    (run,) = [frame for frame in stream.process.frames if frame["type"] == messages.RUN]
    assert (run["window"][0] > 10**9, run["window"][1]) == (True, 1000)
    stream.yields(*range(9))
    plane.finish(b"[0, 1]")
    await plane.until(lambda: stream.record.status.final)
    assert stream.record.output_json == [0, 1]
    _, chunks, _ = await plane.platform.stream(stream.endpoint, stream.job_id, 5.0)
    assert chunks == list(range(9))


@played(Limits(stream_bytes=6, stream_unread_s=0.05))
async def test_too_many_bytes_of_a_plain_call_unread_are_waited_for_no_longer(plane: SmallPlane) -> None:
    stream = await Played.start(plane, plain=True)
    stream.yields("abc", "def")
    await plane.until(lambda: stream.record.status.final)
    assert (stream.record.status, stream.record.output) == (JobStatus.TIMED_OUT, None)
    assert "nobody has read its stream" in str(stream.record.error)


@played()
async def test_what_a_reader_of_a_plain_stream_has_got_is_not_given_twice(plane: SmallPlane) -> None:
    stream = await Played.start(plane, plain=True)
    stream.yields("a")
    await stream.written()
    assert (await plane.platform.stream(stream.endpoint, stream.job_id, 5.0))[1] == ["a"]
    stream.process.end(-9)
    await plane.until(lambda: stream.record.status.final)
    assert (stream.record.status, stream.record.attempts) == (JobStatus.FAILED, 1)
    assert "items of its stream had been read" in str(stream.record.error)


@pytest.mark.parametrize("read", [False, True])
def test_a_lost_worker(tmp_path: Path, read: bool) -> None:
    """What nobody has read begins anew; what somebody has read ends with what there is."""

    @played()
    async def test(plane: SmallPlane) -> None:
        stream = await Played.start(plane)
        stream.yields(1, LARGE)
        number = (await stream.read())[1] if read else 0
        stream.yields("last")
        stream.process.end(1)
        if read:
            assert (await stream.read_all(number))[-1] == "last"
            assert stream.record.status is JobStatus.FAILED
            assert str(stream.record.error).endswith("and a second start would give them once more")
            return
        await plane.until(lambda: stream.record.attempts == 1 and stream.record.status is JobStatus.IN_QUEUE)
        await stream.runs()
        stream.yields("late", attempt=1)
        stream.yields("anew")
        plane.finish(b"")
        assert await stream.read_all() == ["anew"]
        assert read_output(stream.record.output) == Streamed(1)

    test(tmp_path)


@pytest.mark.parametrize("read", [False, True])
def test_an_exception_with_retries(tmp_path: Path, read: bool) -> None:
    @played()
    async def test(plane: SmallPlane) -> None:
        stream = await Played.start(plane, retries=3)
        stream.yields(1)
        number = (await stream.read())[1] if read else 0
        plane.finish(error=USER)
        if not read:
            await stream.runs()
            stream.yields(2)
            plane.finish(b"")
        assert await stream.read_all(number) == ([] if read else [2])
        assert stream.record.status is (JobStatus.FAILED if read else JobStatus.COMPLETED)

    test(tmp_path)


@played()
async def test_what_was_read_is_known_after_a_restart(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    unread = recover(stream.record, None, 1.0)
    assert unread.status is JobStatus.IN_QUEUE
    stream.yields(1)
    await stream.read()
    (stored,) = plane.store.unfinished_jobs()
    recovered = recover(stored, None, 1.0)
    assert recovered.status is JobStatus.FAILED
    assert "would give them once more" in str(recovered.error)


@played(Limits(stream_items=2, stream_unread_s=0.05))
async def test_a_generator_that_nobody_reads_is_given_up(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    stream.yields(1)
    process = stream.process
    assert not stream.record.status.final
    stream.yields(2)
    await plane.until(lambda: stream.record.status.final)
    assert stream.record.status is JobStatus.TIMED_OUT
    assert "nobody has read its stream" in str(stream.record.error)
    assert messages.CANCEL in [frame["type"] for frame in process.frames]
    assert await stream.read_all() == [1, 2]


@played(Limits(stream_items=2, stream_unread_s=0.2))
async def test_a_slow_reader_is_waited_for(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    number = 0
    for value in range(6):
        stream.yields(value)
        values, number, _ = await stream.read(number)
        assert values == [value]
        await asyncio.sleep(0.1)
    assert stream.record.status is JobStatus.IN_PROGRESS


@played()
async def test_an_item_that_cannot_be_kept_ends_the_job(plane: SmallPlane) -> None:
    plane.dispatcher.results.patience_s = 0.0
    stream = await Played.start(plane)
    stream.yields(1)
    await stream.read()
    plane.values.full = True
    stream.yields(LARGE)
    await plane.until(lambda: stream.record.status.final)
    assert "cannot be stored: the disk is full" in str(stream.record.error)


@played()
async def test_what_is_no_json_ends_the_job(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    plane.supervisor.item(stream.worker, stream.job_id, 1, Item(b"{", plain=True))
    await plane.until(lambda: stream.record.status.final)
    assert "should be JSON" in str(stream.record.error)


@played()
async def test_a_cancelled_stream_takes_nothing_more(plane: SmallPlane) -> None:
    stream = await Played.start(plane)
    stream.yields(1)
    await stream.read()
    worker = stream.worker
    await plane.platform.cancel(stream.endpoint, stream.job_id)
    plane.supervisor.item(worker, stream.job_id, 1, items.encode(2))
    assert await stream.read_all() == [1]


STEPS = st.lists(st.sampled_from(["yield", "large", "read", "lost answer"]), max_size=25)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, batch=st.integers(1, 4))
def test_every_item_arrives_once_in_its_order_whatever_is_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], batch: int
) -> None:
    """Answers of the platform get lost at random; the reader asks again."""

    @played()
    async def test(plane: SmallPlane) -> None:
        stream = await Played.start(plane)
        given_, got, after = list[Any](), list[Any](), 0
        for step in steps:
            if step in ("yield", "large"):
                made = [len(given_) + number for number in range(batch)]
                values = [(each, LARGE) for each in made] if step == "large" else made
                given_ += values
                stream.yields(*values)
            elif len(got) < len(given_):
                values, number, _ = await stream.read(after)
                if step == "read":
                    got += values
                    after = number
        plane.finish(b"")
        assert got + await stream.read_all(after) == given_

    test(tmp_path_factory.mktemp("plane"))
