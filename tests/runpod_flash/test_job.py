"""The handle of a job."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint
from runpod_flash.errors import ConfigError, JobCancelled, JobNotFound, WaitTimedOut
from runpod_flash.session import Session
from tests.support.inline import inline_session

CPU: Any = {"cpu": "cpu3c-2-4"}
GO = threading.Event()
TRIES: list[int] = []


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    GO.clear()
    with inline_session(tmp_path) as session:
        yield session
    GO.set()


@Endpoint(**CPU)
def add(a: int, b: int) -> int:
    return a + b


@Endpoint(**CPU)
def fail() -> None:
    raise ValueError("bad")


@Endpoint(**CPU)
def until_told() -> str:
    GO.wait(60)
    return "told"


def test_blocking() -> None:
    job = add.spawn(1, 2)
    assert job.id
    assert job.result() == 3
    assert (job.output, job.error, job.done) == (3, None, True)
    assert job.status() == "COMPLETED"
    assert job.wait() is job
    assert job.logs() == []
    assert repr(job) == f"EndpointJob(id={job.id!r}, status='COMPLETED')"


def test_awaited() -> None:
    async def main() -> None:
        job = await add.spawn.aio(1, 2)
        assert await job.wait(timeout=10) is job
        assert job.output == 3
        assert await job.status() == "COMPLETED"
        assert await job.result.aio() == 3
        assert job.result.blocking() == 3

    asyncio.run(main())


def test_a_failure_is_raised_by_result_and_told_by_wait() -> None:
    job = fail.spawn()
    job.wait()
    assert job.done
    assert job.output is None
    assert job.error == "ValueError: bad"
    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            job.result()


@pytest.mark.parametrize("timeout", [0.0, 0.2])
def test_a_deadline_is_kept_and_the_job_lives_on(timeout: float) -> None:
    job = until_told.spawn()
    for wait in (job.wait, job.result):
        start = time.monotonic()
        with pytest.raises(
            WaitTimedOut, match=f"job {job.id} of endpoint 'until_told' has not ended after {timeout} s"
        ):
            wait(timeout=timeout)
        assert time.monotonic() - start < timeout + 1.0  # far below the job, which ends only when it is told to
    assert not job.done
    GO.set()
    assert job.result(timeout=10) == "told"


def test_a_timeout_error_of_the_function_is_its_own() -> None:
    @Endpoint(**CPU)
    def late() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        late.spawn().result(timeout=10)


def test_a_failed_job_is_retried_and_what_was_seen_is_forgotten() -> None:
    @Endpoint(**CPU)
    def flaky() -> str:
        TRIES.append(1)
        if len(TRIES) == 1:
            raise ValueError("bad")
        return "good"

    TRIES.clear()
    job = flaky.spawn()
    job.wait()
    assert job.error == "ValueError: bad"
    assert job.retry() is job
    assert (job.done, job.error, job.output) == (False, None, None)
    assert job.result(timeout=10) == "good"
    with pytest.raises(ConfigError, match="only a job that failed or timed out"):
        job.retry()


def test_the_stream_of_a_function_is_empty_and_ends_with_it() -> None:
    job = add.spawn(1, 2)
    assert list(job.stream()) == []
    assert job.done
    with pytest.raises(ValueError, match="bad"):
        list(fail.spawn().stream())


def test_cancel() -> None:
    job = until_told.spawn()
    assert job.cancel() is job
    assert job.done
    assert job.status() == "CANCELLED"
    with pytest.raises(JobCancelled, match=job.id):
        job.result()


def test_a_handle_from_an_id() -> None:
    job = add.job(add.spawn(3, 4).id)
    assert not job.done
    assert job.result() == 7
    with pytest.raises(JobNotFound):
        add.job("no-such-job").status()
    assert Endpoint("add").job(job.id).result() == 7
    assert Endpoint("add").recover() == []


def test_a_none_result_is_a_result() -> None:
    @Endpoint(**CPU)
    def nothing() -> None: ...

    job = nothing.spawn()
    assert job.result() is None
    assert job.done
