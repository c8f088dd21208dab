"""Workers that are lent, as the control plane sees it: the test plays the workers and the clients."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.fleet import Worker, WorkerState
from runpod_flash.control_plane.loans import Loans, Wanted, wanted_of
from runpod_flash.control_plane.records import Batch, JobRecord
from runpod_flash.control_plane.shared_values import NoMemory
from runpod_flash.control_plane.store import StoreFull
from tests.support.small_plane import ScriptedProcess, SmallPlane, small_plane
from worker_runtime.wire import direct, messages
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ids import ordered_hex
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus, Payload, read_output
from worker_runtime.wire.ranges import Range

CLIENT = "client"
BEGUN_AT = 4e9  # so that nobody takes it for old


class Scene:
    """A plane with loans, an endpoint whose one worker is free, and what the parties say."""

    def __init__(self, plane: SmallPlane, endpoint: str) -> None:
        self.plane, self.endpoint = plane, endpoint
        self.loans = lending(plane)
        self.number = 0

    @property
    def worker(self) -> Worker:
        (worker,) = self.plane.workers()
        return worker

    @property
    def process(self) -> ScriptedProcess:
        process: ScriptedProcess = self.plane.launcher.processes[-1]
        return process

    def wanted(self, call: Call | None = None) -> Wanted:
        last = self.plane.store.recent_jobs(self.endpoint, 1)[0].id
        record = self.plane.catalog.get(self.endpoint)
        return Wanted(record, call or self.plane.call(), CLIENT, last, "address", "token", "answer")

    def lend(self, call: Call | None = None) -> str:
        """Lend the worker; gives the loan's id."""
        assert self.loans.lend(self.wanted(call))
        header = self.frames(messages.LEND)[-1]
        assert (header["address"], header["token"], header["worker"]) == ("address", "token", self.worker.id)
        self.number = 0
        return str(header["loan"])

    def frames(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.process.frames if frame["type"] == kind]

    def says(self, kind: str, loan: str, body: bytes = b"", **fields: Any) -> None:
        """The worker says something."""
        self.plane.supervisor.of_loan(self.worker, {"type": kind, "loan": loan, **fields}, body)

    def answered(self, loan: str, count: int = 1) -> list[str]:
        """The worker tells of calls that it has answered; gives their jobs."""
        keys = [ordered_hex() for _ in range(count)]
        entries = [[number, key, 1, 2, BEGUN_AT, 500] for number, key in enumerate(keys, self.number + 1)]
        self.number += count
        self.says(messages.RECORDED, loan, b"aVV" * count, calls=entries)
        return [direct.job_of(key) for key in keys]

    def begun(self, loan: str, number: int, *, retries: int | None = None, key: str = "") -> "asyncio.Task[JobRecord]":
        """The client tells of a call."""
        key = key or ordered_hex()
        batch = Batch(self.plane.call(retries=retries), [(key, Payload.inlined(b"a"))], client=CLIENT)
        record = self.plane.catalog.get(self.endpoint)
        return asyncio.ensure_future(self.loans.begun(batch, record, loan, number))

    async def cancelled(self, loan: str, number: int, *, key: str = "") -> str:
        """The client tells of a call and cancels it; gives its job, which has ended."""
        record = await self.begun(loan, number, key=key)
        job = self.plane.dispatcher.unfinished(record.id)
        assert job is not None
        self.plane.dispatcher.cancel(job)
        assert (await self.final(record.id)).status is JobStatus.CANCELLED
        await self.plane.turns()
        assert self.plane.dispatcher.unfinished(record.id) is None
        return record.id

    def ended(self, job: str, error: ErrorInfo | None = None) -> None:
        """The worker tells the end of a job."""
        info = None if error is None else error.to_json()
        self.plane.supervisor.finished(self.worker, job, 1, info, b"value")

    async def final(self, job: str) -> JobRecord:
        found = self.plane.platform
        await self.plane.until(lambda: found.job(self.endpoint, job).status.final)
        return found.job(self.endpoint, job)


def lending(plane: SmallPlane) -> Loans:
    """The plane lends workers from now on."""
    loans = Loans(plane.dispatcher, plane.platform.intake, plane.store, plane.catalog)
    plane.dispatcher.lend_through(loans)
    plane.supervisor.loans = loans
    loans.worker_of = plane.supervisor.worker
    return loans


@contextlib.asynccontextmanager
async def scene(folder: Path, **endpoint: Any) -> AsyncIterator[Scene]:
    async with small_plane(folder) as plane, asyncio.timeout(20):
        workers = {"min": 0, "max": 1, "idleTimeout": 60}
        found = Scene(plane, await plane.endpoint(**{"workers": workers, **endpoint}))
        await plane.serve(found.endpoint)
        yield found


Test = Callable[[Scene], Coroutine[Any, Any, None]]


def played(test: Test) -> Callable[[Path], None]:
    """Run an async test with a scene of its own."""

    async def with_scene(folder: Path) -> None:
        async with scene(folder) as found:
            await test(found)

    def run(tmp_path: Path) -> None:
        asyncio.run(with_scene(tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@played
async def test_answered_calls_are_jobs_that_have_ended(at: Scene) -> None:
    loan = at.lend()
    before = at.plane.store.counts(at.endpoint)["completed"]
    jobs = at.answered(loan, 3)
    for job in jobs:
        record = await at.final(job)
        assert (record.status, record.attempts, record.worker) == (JobStatus.COMPLETED, 1, at.worker.id)
        assert record.output.inline == b"VV"
        assert isinstance(record.input, Call)
        assert record.input.arguments.inline == b"a"
        assert (record.started_at, record.finished_at, record.client) == (BEGUN_AT, BEGUN_AT + 0.0005, CLIENT)
    await at.plane.turns()
    assert at.plane.store.counts(at.endpoint)["completed"] == before + 3
    assert at.plane.dispatcher.active == 0
    at.says(messages.LOAN_OVER, loan, last=3)
    await at.plane.serve(at.endpoint, 2)


@pytest.mark.parametrize("endpoint", [{"timeout": 5000}, {"command": "true"}])
def test_what_has_limits_of_its_own_is_not_lent(tmp_path: Path, endpoint: dict[str, Any]) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            record = at.plane.catalog.get(at.endpoint)
            changed = replace(record, body={**record.body, **endpoint})
            assert not at.loans.lend(replace(at.wanted(), endpoint=changed))
            assert not at.loans.lend(replace(at.wanted(), endpoint=replace(record, owner="somebody")))
            assert not at.loans.lend(replace(at.wanted(), endpoint=replace(record, generation=9)))
            assert not at.loans.lend(at.wanted(at.plane.call(stream=True)))
            assert not at.loans.lend(at.wanted(at.plane.call(instance="object")))
            assert not at.loans.lend(replace(at.wanted(), job="unheard-of"))
            busy = await at.plane.submit(at.endpoint)
            await at.plane.until(lambda: busy.id in at.process.calls)
            assert not at.loans.lend(replace(at.wanted(), job=at.plane.store.recent_jobs(at.endpoint, 2)[1].id))
            assert not at.frames(messages.LEND)

    asyncio.run(main())


@played
async def test_somebody_who_waits_gets_the_worker_as_soon_as_it_is_back(at: Scene) -> None:
    loan = at.lend()
    assert not at.loans.lend(at.wanted()), "it is lent once"
    waiting = await at.plane.submit(at.endpoint, client="another")
    await at.plane.turns()
    assert [frame["loan"] for frame in at.frames(messages.END_LOAN)] == [loan]
    assert waiting.id not in at.process.calls
    at.says(messages.LOAN_OVER, loan, last=0)
    await at.plane.until(lambda: waiting.id in at.process.calls)


@played
async def test_a_client_that_is_gone_has_no_worker(at: Scene) -> None:
    loan = at.lend()
    at.loans.left("another")
    assert not at.frames(messages.END_LOAN)
    at.loans.left(CLIENT)
    assert [frame["loan"] for frame in at.frames(messages.END_LOAN)] == [loan]


@played
async def test_a_call_that_takes_long_runs_is_told_of_and_ends_once(at: Scene) -> None:
    loan, key = at.lend(), ordered_hex()
    record = await at.begun(loan, 1, key=key)
    job = direct.job_of(key)
    assert (record.id, record.status, record.attempts) == (job, JobStatus.IN_PROGRESS, 1)
    assert at.frames(messages.BEGUN) == [{"type": messages.BEGUN, "loan": loan, "number": 1, "job": job, "attempt": 1}]
    at.says(messages.BEGUN, loan, b"a", number=1, key=key, job=job, attempt=1)
    assert (await at.begun(loan, 1, key=key)).id == job, "it is told as often as one likes"
    assert len(at.frames(messages.BEGUN)) == 1
    at.says(messages.RECORDED, loan, b"aVV", calls=[[1, key, 1, 2, BEGUN_AT, 500]])
    assert (await at.final(job)).output.inline == b"VV"
    assert (await at.begun(loan, 1, key=key)).status is JobStatus.COMPLETED
    assert [each.id for each in at.plane.store.recent_jobs(at.endpoint, 5)].count(job) == 1


@played
async def test_what_the_worker_tells_of_ends_like_any_job(at: Scene) -> None:
    loan, key = at.lend(), ordered_hex()
    job = direct.job_of(key)
    at.says(messages.BEGUN, loan, b"a", number=1, key=key, job=job, attempt=1)
    at.ended(job, ErrorInfo(ErrorKind.USER, "ValueError", "no"))
    assert (await at.final(job)).status is JobStatus.FAILED
    assert not at.frames(messages.BEGUN), "it knows"


@played
async def test_a_job_that_is_cancelled_is_called_off_there(at: Scene) -> None:
    loan = at.lend()
    job = (await at.begun(loan, 1)).id
    cancelling = asyncio.ensure_future(at.plane.platform.cancel(at.endpoint, job))
    await at.plane.turns()
    assert at.frames(messages.CANCEL) == [{"type": messages.CANCEL, "job": job, "attempt": 1}]
    assert (await cancelling).status is JobStatus.CANCELLED
    at.ended(job, ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", ""))
    assert not at.worker.running


@played
async def test_a_call_that_is_cancelled_while_the_worker_answers_it_holds_the_worker_no_longer(at: Scene) -> None:
    loan, key = at.lend(), ordered_hex()
    await at.cancelled(loan, 1, key=key)
    at.says(messages.RECORDED, loan, b"aVV", calls=[[1, key, 1, 2, BEGUN_AT, 500]])
    at.says(messages.LOAN_OVER, loan, last=1)
    assert at.worker.idle
    await at.plane.serve(at.endpoint)


@played
async def test_calls_that_were_cancelled_before_they_began_hold_the_worker_no_longer(at: Scene) -> None:
    loan = at.lend()
    jobs = [await at.cancelled(loan, number) for number in (1, 2, 3)]
    at.ended(jobs[0], ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", ""))
    at.says(messages.LOAN_OVER, loan, last=1)
    assert at.worker.idle
    await at.plane.serve(at.endpoint)


@played
async def test_what_the_worker_never_began_waits_for_another(at: Scene) -> None:
    loan = at.lend()
    job = (await at.begun(loan, 1, retries=0)).id
    at.says(messages.LOAN_OVER, loan, last=0)
    await at.plane.until(lambda: at.process.calls.get(job) == 2)
    at.plane.finish()
    assert (await at.final(job)).status is JobStatus.COMPLETED
    late = await at.begun(loan, 1, retries=0)  # that of which nobody had told
    await at.plane.until(lambda: at.process.calls.get(late.id) == 1)


@pytest.mark.parametrize(("retries", "ends"), [(0, JobStatus.FAILED), (None, JobStatus.COMPLETED)])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_worker_that_is_lost(tmp_path: Path, retries: int | None, ends: JobStatus, is_told: bool) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            loan, key = at.lend(), ordered_hex()
            if is_told:
                await at.begun(loan, 1, retries=retries, key=key)
            at.plane.supervisor.gone(at.worker, "it was killed", ["last words"])
            record = await at.begun(loan, 1, retries=retries, key=key)

            def all_ended() -> bool:
                at.plane.connect()
                at.plane.finish()
                return at.plane.platform.job(at.endpoint, record.id).status.final

            await at.plane.until(all_ended)
            final = await at.final(record.id)
            assert (final.status, final.attempts) == (ends, 1 if retries == 0 else 2)
            if retries == 0:
                error = read_output(final.output)
                assert isinstance(error, ErrorInfo)
                assert error.kind is ErrorKind.WORKER_LOST
                assert "it was killed\nlast words" in error.message

    asyncio.run(main())


@pytest.mark.parametrize(("retries", "ends"), [(0, JobStatus.FAILED), (None, JobStatus.COMPLETED)])
def test_a_loan_of_another_control_plane(tmp_path: Path, retries: int | None, ends: JobStatus) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            record = await at.begun("unheard-of", 3, retries=retries)

            def has_ended() -> bool:
                at.plane.finish()
                return at.plane.platform.job(at.endpoint, record.id).status.final

            await at.plane.until(has_ended)
            final = await at.final(record.id)
            assert (final.status, final.attempts, final.retries) == (ends, 1 if retries == 0 else 2, 0)

    asyncio.run(main())


@played
async def test_a_lent_worker_that_shall_end_comes_back_first(at: Scene) -> None:
    loan = at.lend()
    at.plane.supervisor.retire(at.worker)
    assert at.worker.state is WorkerState.DRAINING
    assert at.frames(messages.END_LOAN)
    assert not at.frames(messages.DRAIN)
    job = (await at.begun(loan, 1)).id  # it had just begun
    at.ended(job)
    assert not at.frames(messages.DRAIN)
    at.says(messages.LOAN_OVER, loan, last=1)
    await at.plane.until(lambda: at.frames(messages.DRAIN))
    assert (await at.final(job)).status is JobStatus.COMPLETED


@played
async def test_a_control_plane_that_drains_waits_for_what_is_lent(at: Scene) -> None:
    loan = at.lend()
    at.plane.dispatcher.hold()
    assert at.frames(messages.END_LOAN)
    draining = asyncio.ensure_future(at.plane.dispatcher.drained(10))
    await at.plane.turns()
    assert not draining.done()
    at.says(messages.LOAN_OVER, loan, last=0)
    assert await draining
    assert not at.loans.lend(at.wanted())


@played
async def test_a_disk_that_is_full_ends_it(at: Scene) -> None:
    loan = at.lend()

    def full() -> str:
        raise StoreFull("full")

    at.plane.platform.intake.admit = full
    at.answered(loan)
    assert at.frames(messages.END_LOAN)


@played
async def test_an_endpoint_that_was_deleted_gets_no_jobs(at: Scene) -> None:
    loan = at.lend()
    worker, jobs = at.worker, at.plane.store
    await at.plane.catalog.delete(at.endpoint)
    (job,) = at.answered(loan)
    assert jobs.job(job) is None
    assert worker.state is WorkerState.DRAINING


def test_a_question_that_cannot_be_read(tmp_path: Path) -> None:
    good = {"job": "j", "address": "a", "token": "t", "answer": "b"}
    assert wanted_of(good, None, Call("a", Payload.inlined(b"")), "c").job == "j"  # type: ignore[arg-type]
    for bad in ({"token": 7}, {"address": ""}, {"answer": "x" * 101}, {"job": "ü"}):
        with pytest.raises(WireError, match=next(iter(bad))):
            wanted_of({**good, **bad}, None, Call("a", Payload.inlined(b"")), "c")  # type: ignore[arg-type]


class Memory(NoMemory):
    """Shared memory as loans use it: keeps what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def borrowed(self, worker: str, client: str) -> bool:
        self.said.append(("borrowed", client))
        return bool(client)

    def returned_from(self, client: str) -> None:
        self.said.append(("returned", client))

    def keep(self, call: Call, job: str) -> None:
        self.said += [("keep", name) for name in call.values]

    def lend(self, worker: str, name: str) -> bool:
        self.said.append(("lend", name))
        return True

    def unnamed(self, name: str) -> Range:
        found = Range.parse(name)
        return Range(found.arena, found.number + 1000, found.offset, found.size)

    def filled(self, worker: str, found: Range) -> None:
        self.said.append(("filled", found.name))

    def received(self, worker: str, found: Range) -> Payload | None:
        return Payload.in_range(found, 9.0)

    def ended(self, record: JobRecord) -> None:
        if record.status is not JobStatus.COMPLETED:
            self.said.append(("ended", record.id))

    def inherit(self, client: str, found: Range, named: Range) -> None:
        self.said.append(("inherit", client, found, named))


ARGUMENTS, RESULT = Range(7, 1, 65536, 300_000), Range(7, 2, 655360, 400_000)


def sharing(at: Scene) -> tuple[Memory, str]:
    """The plane shares memory, and has lent a worker to a client that does; gives the loan's id."""
    memory = Memory()
    at.plane.dispatcher.share(memory)
    assert at.loans.lend(replace(at.wanted(), memory="theirs"))
    assert at.frames(messages.LEND)[-1]["memory"] is True
    return memory, str(at.frames(messages.LEND)[-1]["loan"])


@played
async def test_what_lay_in_memory_is_recorded_under_names_that_nobody_else_gets(at: Scene) -> None:
    memory, loan = sharing(at)
    keys = [ordered_hex() for _ in range(3)]
    places = [(ARGUMENTS.name, RESULT.name), (1, RESULT.name), (ARGUMENTS.name, 2)]
    entries = [[number, key, *place, BEGUN_AT, 5] for number, (key, place) in enumerate(zip(keys, places, strict=True))]
    at.says(messages.RECORDED, loan, b"aVV", calls=entries)
    records = [await at.final(direct.job_of(key)) for key in keys]
    outputs = [record.output for record in records]
    assert [output.range for output in outputs[:2]] == [memory.unnamed(RESULT.name).name] * 2
    assert outputs[2].inline == b"VV"
    given = [record.input.arguments for record in records if isinstance(record.input, Call)]
    unnamed = memory.unnamed(ARGUMENTS.name).name
    assert [(each.range, each.inline) for each in given] == [(unnamed, None), (None, b"a"), (unnamed, None)]
    at.says(messages.LOAN_OVER, loan, last=3, unread=0)
    assert memory.said == [("borrowed", "theirs"), ("returned", "theirs")], "no job needs them"


@played
async def test_the_last_result_may_not_have_been_read(at: Scene) -> None:
    for leaves, gone in ((False, False), (True, False), (False, True)):
        memory, loan = sharing(at)
        key = ordered_hex()
        at.says(messages.RECORDED, loan, calls=[[4, key, ARGUMENTS.name, RESULT.name, BEGUN_AT, 5]])
        if leaves:
            at.loans.left(CLIENT)
        at.says(messages.LOAN_OVER, loan, last=4, unread=4, gone=gone)
        name = (await at.final(direct.job_of(key))).output.range
        kept = [("inherit", "theirs", RESULT, Range.parse(name))] if leaves or gone else []
        assert memory.said[1:] == [*kept, ("returned", "theirs")]


@played
async def test_a_call_that_takes_long_needs_its_arguments_and_its_result_is_one_like_any(at: Scene) -> None:
    memory, loan = sharing(at)
    key = ordered_hex()
    batch = Batch(at.plane.call(), [(key, Payload.in_range(ARGUMENTS))], client=CLIENT)
    await at.loans.begun(batch, at.plane.catalog.get(at.endpoint), loan, 1)
    assert memory.said[1:] == [("keep", ARGUMENTS.name), ("lend", ARGUMENTS.name)]
    at.says(messages.RECORDED, loan, calls=[[1, key, ARGUMENTS.name, RESULT.name, BEGUN_AT, 5]])
    assert (await at.final(direct.job_of(key))).output == Payload.in_range(RESULT, 9.0)
    assert memory.said[3:] == [("filled", RESULT.name)]
    at.says(messages.BEGUN, loan, number=2, key=ordered_hex(), range=ARGUMENTS.name)
    assert memory.said[4:] == [("keep", ARGUMENTS.name), ("lend", ARGUMENTS.name)]
    at.plane.supervisor.gone(at.worker, "it was killed", [])
    assert ("returned", "theirs") in memory.said


@played
async def test_a_client_without_shared_memory_is_lent_workers_too(at: Scene) -> None:
    at.lend()
    assert at.frames(messages.LEND)[-1]["memory"] is False


@pytest.mark.parametrize("retries", [0, None])
def test_arguments_of_a_call_that_was_cut_off_stay_for_the_next_attempt(tmp_path: Path, retries: int | None) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            memory, loan = sharing(at)
            at.plane.supervisor.gone(at.worker, "it was killed", [])
            batch = Batch(at.plane.call(retries=retries), [(ordered_hex(), Payload.in_range(ARGUMENTS))], client=CLIENT)
            record = await at.loans.begun(batch, at.plane.catalog.get(at.endpoint), loan, 1)
            assert ("keep", ARGUMENTS.name) in memory.said
            assert (("ended", record.id) in memory.said) is record.status.final is (retries == 0)

    asyncio.run(main())
