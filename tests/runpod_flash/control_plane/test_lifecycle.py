"""The table of job states and the rules around it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane import lifecycle
from runpod_flash.control_plane.lifecycle import IllegalTransition, JobEvent
from runpod_flash.control_plane.records import JobRecord
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus, Payload, read_output
from worker_runtime.wire.retries import Backoff

ONCE = Call("a", Payload.of(b""), retries=0)


def queued() -> JobRecord:
    return JobRecord("j", "e", {}, 1.0)


@given(st.lists(st.sampled_from(list(JobEvent)), max_size=12))
def test_only_who_asks_for_another_try_leads_out_of_a_final_state(events: list[JobEvent]) -> None:
    status = JobStatus.IN_QUEUE
    for event in events:
        try:
            after = lifecycle.next_status(status, event)
        except IllegalTransition:
            continue
        assert not status.final or event is JobEvent.REOPENED
        status = after


@pytest.mark.parametrize("status", [status for status in JobStatus if status.final])
@pytest.mark.parametrize("event", [event for event in JobEvent if event is not JobEvent.REOPENED])
def test_a_final_state_has_no_way_out(status: JobStatus, event: JobEvent) -> None:
    with pytest.raises(IllegalTransition, match=status):
        lifecycle.next_status(status, event)


@pytest.mark.parametrize("status", list(JobStatus))
def test_failed_and_timed_out_jobs_alone_are_tried_once_more(status: JobStatus) -> None:
    ended = replace(
        queued(), status=status, output=1, error="no", worker="w", started_at=2.0, finished_at=3.0, retries=1
    )
    if status not in (JobStatus.FAILED, JobStatus.TIMED_OUT):
        with pytest.raises(IllegalTransition):
            lifecycle.reopen(ended, 9.0)
        return
    assert lifecycle.reopen(replace(ended, attempts=2), 9.0) == replace(queued(), created_at=9.0, attempts=2)


def test_the_output_of_an_endpoint_s_own_job_is_never_ours() -> None:
    error = ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", "killed by signal 9")
    job = lifecycle.end(replace(queued(), retries=1), error, 5.0, plain=True)
    assert (job.status, job.output) == (JobStatus.FAILED, None)
    assert job.error == "job timed out after 1 retries: killed by signal 9"


def test_each_start_is_an_attempt_and_only_counted_ones_use_the_allowance() -> None:
    job = lifecycle.start(queued(), "w-1", 2.0)
    assert (job.status, job.attempts, job.worker, job.started_at) == (JobStatus.IN_PROGRESS, 1, "w-1", 2.0)
    again = lifecycle.start(lifecycle.recover(job, None, 2.5), "w-2", 3.0)
    assert (again.attempts, again.retries) == (2, 0)
    counted = lifecycle.requeue(again, counts=True)
    assert (counted.attempts, counted.retries, counted.worker) == (2, 1, None)


def test_a_queued_job_recovers_as_it_is() -> None:
    assert lifecycle.recover(queued(), ONCE, 5.0) == queued()


def test_a_job_that_may_start_once_does_not_start_again_after_a_restart() -> None:
    job = lifecycle.recover(lifecycle.start(queued(), "w-1", 2.0), ONCE, 5.0)
    assert (job.status, job.attempts) == (JobStatus.FAILED, 1)
    error = read_output(job.output)
    assert isinstance(error, ErrorInfo)
    assert error.kind is ErrorKind.WORKER_LOST
    plain = lifecycle.recover(lifecycle.start(queued(), "w-1", 2.0), replace(ONCE, plain=True), 5.0)
    assert (plain.status, plain.output) == (JobStatus.FAILED, None)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (ErrorKind.USER, JobStatus.FAILED),
        (ErrorKind.INSTALL, JobStatus.FAILED),
        (ErrorKind.OUT_OF_MEMORY, JobStatus.FAILED),
        (ErrorKind.CANCELLED, JobStatus.CANCELLED),
        (ErrorKind.TIMED_OUT, JobStatus.TIMED_OUT),
    ],
)
def test_the_kind_of_failure_decides_the_final_state(kind: ErrorKind, status: JobStatus) -> None:
    job = lifecycle.refuse(queued(), ErrorInfo(kind, "T", "words"), 5.0)
    assert (job.status, job.error, job.finished_at) == (status, "words", 5.0)
    error = read_output(job.output)
    assert isinstance(error, ErrorInfo)
    assert error.kind is kind


@given(st.sampled_from(list(ErrorKind)), st.none() | st.integers(0, 5), st.integers(0, 10))
def test_retries_follow_the_promise(kind: ErrorKind, allowance: int | None, used: int) -> None:
    allowed = lifecycle.may_retry(kind, allowance, used)
    if kind in (ErrorKind.WORKER_LOST, ErrorKind.OUT_OF_MEMORY):
        assert allowed == (used < (1 if allowance is None else allowance))
    elif kind is ErrorKind.USER:
        assert allowed == (allowance is not None and used < allowance)
    else:
        assert not allowed


@pytest.mark.parametrize(("allowance", "starts"), [(None, 2), (0, 1), (1, 2), (3, 4)])
@pytest.mark.parametrize("kind", [ErrorKind.WORKER_LOST, ErrorKind.OUT_OF_MEMORY])
def test_a_worker_that_ran_out_of_memory_is_one_that_was_lost(
    kind: ErrorKind, allowance: int | None, starts: int
) -> None:
    assert [lifecycle.may_retry(kind, allowance, used) for used in range(starts)] == [True] * (starts - 1) + [False]


@pytest.mark.parametrize("kind", [ErrorKind.USER, ErrorKind.UNPICKLABLE_RESULT])
def test_a_failure_of_the_code_of_a_plain_job_is_told_as_runpod_s_worker_package_does(kind: ErrorKind) -> None:
    error = ErrorInfo(kind, "mine.Oops", "words", "Traceback …", b"pickle", ("Exception",))
    job = lifecycle.end(lifecycle.start(queued(), "w-1", 2.0), error, 5.0, plain=True)
    assert (job.status, job.output) == (JobStatus.FAILED, None)
    assert json.loads(job.error or "") == {
        "error_type": "<class 'mine.Oops'>",
        "error_message": "words",
        "error_traceback": "Traceback …",
        "worker_id": "w-1",
    }


@pytest.mark.parametrize(
    "kind",
    [kind for kind in ErrorKind if kind not in (ErrorKind.WORKER_LOST, ErrorKind.USER, ErrorKind.UNPICKLABLE_RESULT)],
)
def test_other_ends_of_an_endpoint_s_own_job_are_told_as_they_are(kind: ErrorKind) -> None:
    error = ErrorInfo(kind, "Type", "words")
    for job in (
        lifecycle.end(queued(), error, 5.0, plain=True),
        lifecycle.refuse(queued(), error, 5.0, plain=True),
    ):
        assert job.output is None
        assert job.error is not None
        assert job.error.endswith("words")
        assert "job timed out" not in job.error
        assert job.finished_at == 5.0


def test_an_attempt_that_did_not_begin_leaves_no_trace_but_its_number() -> None:
    started = replace(lifecycle.start(queued(), "w-1", 2.0), output="half")
    assert lifecycle.unstart(started) == replace(queued(), attempts=1)


CALL = Call("a", Payload.inlined(b""), retries=3, backoff=Backoff(("ConnectionError",), 1.0, 2.0, 3.0))


@given(
    st.sampled_from(list(ErrorKind)),
    st.integers(0, 5),
    st.sampled_from([(), ("ConnectionError", "OSError"), ("ValueError",)]),
    st.none() | st.integers(0, 4),
    st.none() | st.builds(Backoff, st.none() | st.just(("ConnectionError",)), st.just(1.0), st.just(2.0), st.just(3.0)),
)
def test_an_attempt_follows_where_it_is_allowed_and_the_exception_is_named(
    kind: ErrorKind, used: int, bases: tuple[str, ...], retries: int | None, backoff: Backoff | None
) -> None:
    call = replace(CALL, retries=retries, backoff=backoff)
    pause = lifecycle.pause_s(call, ErrorInfo(kind, "__main__.Mine", "words", bases=bases), used)
    named = kind is not ErrorKind.USER or backoff is None or backoff.on is None or "ConnectionError" in bases
    assert (pause is not None) == (lifecycle.may_retry(kind, retries, used) and named)
    if pause:
        assert kind is ErrorKind.USER
        assert backoff is not None
        assert pause == min(2.0**used, 3.0)


def test_a_pause_is_in_the_record_until_the_next_start() -> None:
    started = lifecycle.start(queued(), "w-1", 2.0)
    paused = lifecycle.requeue(started, counts=True, retry_at=9.0)
    assert (paused.status, paused.retries, paused.retry_at) == (JobStatus.IN_QUEUE, 1, 9.0)
    assert lifecycle.start(paused, "w-2", 9.5).retry_at is None
    assert lifecycle.recover(paused, replace(ONCE, retries=3), 5.0) is paused
    assert lifecycle.unstart(started).retry_at is None
    failed = replace(paused, status=JobStatus.FAILED)
    assert lifecycle.reopen(failed, 9.0).retry_at is None
    assert lifecycle.pause_s(None, ErrorInfo(ErrorKind.USER, "X", "x"), 0) is None
