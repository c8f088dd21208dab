"""A lent worker, its client and the control plane in any order of events: no call is lost, doubled or begun too often.

The worker and the client are models of `worker_runtime/lent.py` and `backends/direct.py`; the control plane is real.
"""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.records import Batch, JobRecord
from tests.runpod_flash.control_plane.test_loans import CLIENT, Scene
from tests.support.small_plane import small_plane
from worker_runtime.wire import direct, messages
from worker_runtime.wire.ids import ordered_hex
from worker_runtime.wire.jobs import JobStatus, Payload

TURNS = st.integers(0, 4)


@dataclass
class Call:
    """A call of the client."""

    key: str
    retries: int | None
    number: int = 0
    told: "asyncio.Task[Any] | None" = None  # the control plane was told, or it went the usual way
    answered: bool = False
    starts: int = 0

    @property
    def job(self) -> str:
        return direct.job_of(self.key)


@dataclass
class Loan:
    """Both ends of a line: what is on its way, what runs, what was answered and not recorded."""

    id: str
    worker: Worker
    number: int = 0
    last: int = 0
    arriving: Call | None = None
    running: Call | None = None
    answered: list[Call] = field(default_factory=list)


class LoansModel(RuleBasedStateMachine):
    """One client, one worker at a time."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.loop = asyncio.new_event_loop()
        self.context = small_plane(self.folder)
        self.calls: list[Call] = []
        self.lost: set[str] = set()  # answered, and the worker was killed before it told
        self.loan: Loan | None = None
        self.run(self._begin())

    async def _begin(self) -> None:
        self.plane = await self.context.__aenter__()
        workers = {"min": 0, "max": 1, "idleTimeout": 60}
        self.at = Scene(self.plane, await self.plane.endpoint(workers=workers))
        await self.plane.serve(self.at.endpoint)

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def turn(self, turns: int) -> None:
        self.run(self.plane.turns(turns))

    def says(self, kind: str, body: bytes = b"", **fields: Any) -> None:
        loan = self.loan
        assert loan is not None

        async def say() -> None:
            self.plane.supervisor.of_loan(loan.worker, {"type": kind, "loan": loan.id, **fields}, body)

        self.run(say())

    @property
    def in_flight(self) -> Call | None:
        """The call that the client has given and not got back."""
        loan = self.loan
        return None if loan is None else loan.arriving or loan.running

    # ---- the control plane

    @rule()
    @precondition(lambda self: self.loan is None)
    def lend(self) -> None:
        async def lend() -> bool:
            ready = [worker for worker in self.plane.workers() if worker.idle and worker.link is not None]
            return bool(ready) and self.at.loans.lend(self.at.wanted())

        if self.run(lend()):
            self.loan = Loan(self.at.frames(messages.LEND)[-1]["loan"], self.at.worker)

    @rule(turns=TURNS)
    def others(self, turns: int) -> None:
        """Somebody else submits."""
        self.run(self.plane.submit(self.at.endpoint, client="other"))
        self.turn(turns)

    @rule(turns=TURNS)
    def go_on(self, turns: int) -> None:
        """Workers come up, what was sent to them the usual way ends."""
        self.run(self._serve())
        self.turn(turns)

    async def _serve(self) -> None:
        self.plane.connect()
        for process in self.plane.launcher.processes:
            for job in process.calls:
                for call in self.calls:
                    call.starts += call.job == job
        self.plane.finish()

    # ---- the client

    @rule(retries=st.sampled_from([0, None]))
    @precondition(lambda self: self.loan is not None and self.in_flight is None)
    def call(self, retries: int | None) -> None:
        loan = self.loan
        assert loan is not None
        loan.number += 1
        loan.arriving = Call(ordered_hex(), retries, loan.number)
        self.calls.append(loan.arriving)

    @rule(turns=TURNS)
    @precondition(lambda self: self.in_flight is not None and self.in_flight.told is None)
    def tell(self, turns: int) -> None:
        """It takes long."""
        call = self.in_flight
        assert call is not None
        self._tell(call)
        self.turn(turns)

    def _tell(self, call: Call) -> None:
        loan, record = self.loan, self.plane.catalog.get(self.at.endpoint)
        assert loan is not None
        call.told = self.loop.create_task(self.at.loans.begun(self._batch(call), record, loan.id, call.number))

    def _batch(self, call: Call) -> Batch:
        return Batch(self.plane.call(retries=call.retries), [(call.key, Payload.inlined(b"a"))], client=CLIENT)

    @rule(turns=TURNS)
    @precondition(lambda self: self.in_flight is not None and self.in_flight.told is not None)
    def cancel(self, turns: int) -> None:
        call = self.in_flight
        assert call is not None
        job = self.plane.dispatcher.unfinished(call.job)
        if job is not None:
            with_loop = self._cancel(call.job)
            self.run(with_loop)
        self.turn(turns)

    async def _cancel(self, job_id: str) -> None:
        job = self.plane.dispatcher.unfinished(job_id)
        assert job is not None
        self.plane.dispatcher.cancel(job)

    # ---- the worker

    @rule()
    @precondition(lambda self: self.loan is not None and self.loan.arriving is not None)
    def take(self) -> None:
        loan = self.loan
        assert loan is not None
        assert loan.arriving is not None
        loan.running, loan.arriving = loan.arriving, None
        loan.running.starts += 1
        loan.last = loan.running.number

    @rule(direct_answer=st.booleans(), turns=TURNS)
    @precondition(lambda self: self.loan is not None and self.loan.running is not None)
    def end_call(self, direct_answer: bool, turns: int) -> None:
        loan = self.loan
        assert loan is not None
        call, loan.running = loan.running, None
        assert call is not None
        call.answered = direct_answer
        if direct_answer:
            loan.answered.append(call)
        else:
            self.flush()
            self.says(messages.BEGUN, b"a", number=call.number, key=call.key, job=call.job, attempt=1)
            self.run(self._done(loan.worker, call.job))
            self.leave()
        self.turn(turns)

    async def _done(self, worker: Worker, job: str) -> None:
        self.plane.supervisor.finished(worker, job, 1, None, b"v")

    @rule()
    @precondition(lambda self: self.loan is not None and self.loan.answered)
    def flush(self) -> None:
        assert self.loan is not None
        answered, self.loan.answered = self.loan.answered, []
        if answered:
            entries = [[call.number, call.key, 1, 1, 4e9, 5] for call in answered]
            self.says(messages.RECORDED, b"av" * len(answered), calls=entries)

    @rule(turns=TURNS)
    @precondition(lambda self: self.loan is not None and self.loan.running is None)
    def leave(self, turns: int = 0) -> None:
        """It says goodbye to both: what it has not begun goes the usual way, where nobody was told of it."""
        loan = self.loan
        assert loan is not None
        self.flush()
        self.says(messages.LOAN_OVER, last=loan.last)
        self.loan, call = None, loan.arriving
        if call is not None and call.told is None:
            submitting = self.plane.platform.submit_many(self.at.endpoint, self._batch(call))
            call.told = self.loop.create_task(submitting)
        self.turn(turns)

    @rule(turns=TURNS)
    @precondition(lambda self: self.loan is not None)
    def kill(self, turns: int) -> None:
        """Its process is killed; the client sees that before the control plane, or after."""
        loan = self.loan
        assert loan is not None
        call = self.in_flight
        if call is not None and call.told is None and turns % 2:
            self._tell(call)
            self.turn(turns)
        self.run(self._gone(loan.worker))
        if call is not None and call.told is None:
            self._tell(call)
        self.lost |= {each.job for each in loan.answered}
        self.loan = None
        self.turn(turns)

    async def _gone(self, worker: Worker) -> None:
        self.plane.supervisor.gone(worker, "it was killed", [])

    # ---- the end

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            if self.loan is not None and self.loan.running is not None:
                self.end_call(True, 1)
            if self.loan is not None:
                self.leave(1)
            self.run(self._settle())
            self.check()
        finally:
            self.run(self.context.__aexit__(None, None, None))
            self.loop.close()
            shutil.rmtree(self.folder)

    async def _settle(self) -> None:
        async def all_ended() -> None:
            while self.plane.dispatcher.active or any(call.told and not call.told.done() for call in self.calls):
                await self._serve()
                await asyncio.sleep(0)

        await asyncio.wait_for(all_ended(), 20)
        await self.plane.turns()
        assert all(not worker.running for worker in self.plane.workers()), "a worker is held by a job that has ended"

    def check(self) -> None:
        for call in self.calls:
            record: JobRecord | None = self.plane.store.job(call.job)
            known = self.plane.store.job_by_key(self.at.endpoint, call.key)
            if call.job in self.lost and record is None:
                continue  # its caller has the value
            job = self.plane.store.job(known or "")
            assert job is not None, "each call is a job"
            assert job.status.final
            if call.answered and call.job not in self.lost:
                assert job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED)
            assert call.starts <= job.attempts
            if call.retries == 0:
                assert call.starts <= 1
        jobs = [job.idempotency_key for job in self.plane.store.recent_jobs(self.at.endpoint, 10_000)]
        ours = {call.key for call in self.calls}
        found = [key for key in jobs if key in ours]
        assert len(found) == len(set(found)), "no call is two jobs"


TestLoans = pytest.mark.slow(LoansModel.TestCase)
TestLoans.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
