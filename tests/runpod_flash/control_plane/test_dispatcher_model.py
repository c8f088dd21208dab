"""Dispatcher and journal against a small model, with crashes between any two steps. No processes; many runs.

The model is what a client may rely on: a submit that was acknowledged is one job, which ends once, however often it is
asked for; no attempt begins twice; `retries` is kept; nothing that was told changes.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runpod_flash.control_plane import recorder
from runpod_flash.control_plane.records import JobRecord
from tests.support.crashing_plane import Life, World
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus, Payload, read_output

KEYS = st.sampled_from([f"key-{number}" for number in range(8)])
NUMBERS = st.integers(0, 99)
TURNS = st.integers(0, 5)
"""After what was done, the loop turns as often: about five turns bring a call to a worker or its end to the client."""
USER = ErrorInfo(ErrorKind.USER, "ValueError", "bad")
ALLOWANCE = {"key-0": 0, "key-1": 0, "key-2": 1, "key-3": 3, "key-4": 0}
INSTANCES = {"key-4": "object-1", "key-5": "object-1", "key-6": "object-2"}
END = 400


class DispatcherModel(RuleBasedStateMachine):
    """Clients, workers and the one who kills, in any order."""

    @initialize()
    def begin(self) -> None:
        self.again_s, recorder.AGAIN_S = recorder.AGAIN_S, 0.0
        self.world = World()
        self.life: Life = self.world.begin()
        self.life.run(self.life.starting)
        self.acknowledged: dict[str, str] = {}  # key: job
        self.seen: dict[str, JobRecord] = {}  # job: its end, as it was first seen
        self.lives, self.age = 1, 0

    def turn(self, turns: int) -> None:
        self.age += 1
        self.life.step(turns)

    def next_life(self, serving: bool) -> None:
        self.life = self.world.begin()
        self.lives, self.age = self.lives + 1, 0
        if serving:
            self.life.run(self.life.starting)

    # ---- what clients do

    @rule(key=KEYS, turns=TURNS)
    @precondition(lambda self: self.life.serving)
    def submit(self, key: str, turns: int) -> None:
        """A first submit, or one more of the same after a broken connection."""
        self.ask(key)
        self.turn(turns)

    def ask(self, key: str) -> None:
        if key not in self.life.submits or self.life.submits[key].done():
            self.life.submit(key, ALLOWANCE.get(key), INSTANCES.get(key))

    @rule(number=NUMBERS, turns=TURNS)
    @precondition(lambda self: self.life.serving and self.life.dispatcher.active)
    def cancel(self, number: int, turns: int) -> None:
        jobs = [job for job in self.acknowledged.values() if self.life.dispatcher.unfinished(job)]
        if jobs:
            self.life.cancel(jobs[number % len(jobs)])
        self.turn(turns)

    # ---- what workers do

    @rule(turns=TURNS)
    @precondition(lambda self: self.life.serving and self.life.fleet.pools and len(self.life.workers) < 3)
    def start_worker(self, turns: int) -> None:
        self.life.start_worker()
        self.turn(turns)

    @rule(number=NUMBERS, good=st.booleans(), turns=TURNS)
    @precondition(lambda self: any(worker.calls for worker in self.life.workers))
    def answer(self, number: int, good: bool, turns: int) -> None:
        running = [(worker, job) for worker in self.life.workers for job in worker.calls]
        if running:
            worker, job = running[number % len(running)]
            self.life.answer(worker, job, None if good else USER)
        self.turn(turns)

    @rule(number=NUMBERS, turns=TURNS)
    @precondition(lambda self: self.life.workers)
    def lose_worker(self, number: int, turns: int) -> None:
        self.life.lose(self.life.workers[number % len(self.life.workers)])
        self.turn(turns)

    @rule(number=NUMBERS, turns=TURNS)
    @precondition(lambda self: any(worker.calls for worker in self.life.past))
    def late_answer(self, number: int, turns: int) -> None:
        """A worker that was given up says what it has done all the same."""
        late = [(worker, job) for worker in self.life.past for job in worker.calls]
        if late:
            self.life.answer(*late[number % len(late)])
        self.turn(turns)

    # ---- what happens to all of them

    @rule(turns=TURNS)
    @precondition(lambda self: not self.life.serving)
    def replay(self, turns: int) -> None:
        self.turn(turns)

    @rule(full=st.sampled_from([True, False, False, False]), turns=TURNS)
    @precondition(lambda self: self.age > 3)
    def fill_or_free_the_disk(self, full: bool, turns: int) -> None:
        pages = self.life.store._connection.execute("PRAGMA page_count").fetchone()[0]
        self.life.store._connection.execute(f"PRAGMA max_page_count = {pages if full else 2**30}")
        self.turn(turns)

    @rule(serving=st.booleans())
    @precondition(lambda self: self.age > 5 or self.life.writing or not self.life.serving)
    def crash(self, serving: bool) -> None:
        self.life.crash()
        self.next_life(serving)

    @rule(serving=st.booleans())
    @precondition(lambda self: self.life.serving and self.age > 5)
    def stop_and_start(self, serving: bool) -> None:
        self.life.stop()
        self.next_life(serving)

    # ---- what must hold

    @invariant()
    def acknowledged_submits_are_one_job(self) -> None:
        for key, task in self.life.submits.items():
            if task.done() and task.exception() is None:
                job = task.result().id
                assert self.acknowledged.setdefault(key, job) == job

    @invariant()
    def no_acknowledged_job_is_lost_and_no_end_changes(self) -> None:
        if not self.life.serving:
            return
        for job in self.acknowledged.values():
            record = self.life.status(job)
            if record.status.final:
                assert self.seen.setdefault(job, record) == record, "an end has changed"
            else:
                assert job not in self.seen, "a job that had ended goes on"

    @invariant()
    def what_was_told_is_the_end_and_stays_it(self) -> None:
        for job, ends in self.world.told.items():
            assert all((end["status"], end.get("output")) == (ends[0]["status"], ends[0].get("output")) for end in ends)
            if self.life.serving:
                record = self.life.status(job)
                assert (str(record.status), record.output_json) == (ends[0]["status"], ends[0].get("output"))

    @invariant()
    def a_job_that_may_start_once_starts_once(self) -> None:
        for key, job in self.acknowledged.items():
            starts = self.world.starts.get(job, [])
            assert starts == sorted(set(starts))
            if ALLOWANCE.get(key) == 0:
                assert len(starts) <= 1, f"retries=0 and {len(starts)} starts"

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self._end()
            for key, job in self.acknowledged.items():
                self._check(key, job)
            self._check_counters()
        finally:
            recorder.AGAIN_S = self.again_s
            self.world.close()

    def _end(self) -> None:
        """Everybody goes on in good weather until all is done."""
        self.life.store._connection.execute(f"PRAGMA max_page_count = {2**30}")
        for _ in range(END):
            self.life.step(2)
            if not self.life.serving:
                continue
            for key, task in list(self.life.submits.items()):
                if task.done() and task.exception() is not None:
                    self.ask(key)
            if len(self.life.workers) < 2:
                self.life.start_worker()
            for worker in self.life.workers:
                for job in list(worker.calls):
                    self.life.answer(worker, job)
            if self.life.dispatcher.active == 0 and all(task.done() for task in self.life.submits.values()):
                break
        self.acknowledged_submits_are_one_job()
        self.no_acknowledged_job_is_lost_and_no_end_changes()
        assert self.life.dispatcher.active == 0, "something never ends"

    def _check(self, key: str, job: str) -> None:
        record = self.seen[job]
        starts = self.world.starts.get(job, [])
        assert len(starts) <= record.attempts
        assert record.retries <= {None: 1}.get(ALLOWANCE.get(key), ALLOWANCE.get(key) or 0)
        if record.status is JobStatus.COMPLETED:
            found = read_output(record.output)
            assert isinstance(found, Payload)
            assert found.inline == f"{job} {record.attempts}".encode(), "the value is of another attempt"
            assert record.attempts in starts

    def _check_counters(self) -> None:
        """The counters that outlive jobs have counted each end once."""
        (endpoint,) = self.life.catalog.list()
        ends = self.life.store.recent_jobs(endpoint.id, 1000)
        counts = self.life.store.counts(endpoint.id)
        failed = sum(record.status in (JobStatus.FAILED, JobStatus.TIMED_OUT) for record in ends)
        completed = sum(record.status is JobStatus.COMPLETED for record in ends)
        assert (counts["completed"], counts["failed"]) == (completed, failed)
        assert len(ends) == len({record.idempotency_key for record in ends}), "a key has made two jobs"


def _case(max_examples: int) -> Any:
    case = type("Case", (DispatcherModel,), {}).TestCase
    case.settings = settings(
        max_examples=max_examples, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return case


class TestSomeRuns(_case(30)):  # type: ignore[misc]
    """A few runs, with every change."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestManyRuns(_case(3000)):  # type: ignore[misc]
    """Thousands of runs."""
