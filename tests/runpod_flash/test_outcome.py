"""What a finished job means to its caller."""

import asyncio
from typing import Any

import pytest

from runpod_flash import errors
from runpod_flash.outcome import failure_of, is_final, succeeded, value_of
from worker_runtime.failures import describe
from worker_runtime.wire import payload
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus, Payload, error_output, value_output


class Refusing:
    """Pickles, but cannot be rebuilt."""

    def __reduce__(self) -> Any:
        return exec, ("import no_such_package.inside",)


class Strange:
    def __reduce__(self) -> Any:
        return exec, ("import json; json.no_such_thing",)


async def nothing(sha256: str) -> bytes:
    raise AssertionError("nothing to fetch")


def job(output: Any = None, status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    return {"id": "j1", "status": status, "output": output, "workerId": "w1", **more}


def value(found: dict[str, Any], fetch: Any = nothing) -> Any:
    return asyncio.run(value_of(found, "f", fetch))


def failed(info: ErrorInfo, **more: Any) -> BaseException:
    return failure_of(job(error_output(info), "FAILED", error="text", **more), "f", ["one", "two"])


def test_a_value() -> None:
    assert value(job(value_output(Payload.of(payload.encode({"a": 1}))))) == {"a": 1}
    assert value(job(value_output(Payload.of(payload.encode(None))))) is None


def test_a_large_value_is_fetched() -> None:
    data = payload.encode(bytes(1_000_000))
    packed = Payload.of(data)

    async def fetch(asked: Payload) -> bytes:
        assert asked == packed
        return data

    assert value(job(value_output(packed)), fetch) == bytes(1_000_000)


def test_an_output_that_is_not_ours_comes_as_it_is() -> None:
    assert value(job({"anything": 1})) == {"anything": 1}
    assert value(job(None)) is None


def test_another_python_version_is_refused_before_unpickling() -> None:
    data = bytearray(payload.encode(1))
    data[4] += 1
    with pytest.raises(errors.WireMismatch, match="job j1 of endpoint 'f', attempt 1 on worker w1 cannot be read"):
        value(job(value_output(Payload.of(bytes(data)))))
    with pytest.raises(errors.WireMismatch, match="does not follow the protocol"):
        value(job({"flash": {"value": {}}}))


def test_a_value_that_cannot_be_loaded_names_package_and_versions() -> None:
    with pytest.raises(
        errors.ShippingError, match=r"'no_such_package' is not installed here.*stored result stays"
    ) as caught:
        value(job(value_output(Payload.of(payload.encode(Refusing())))))
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with pytest.raises(errors.ShippingError, match="module 'json' has no attribute"):
        value(job(value_output(Payload.of(payload.encode(Strange())))))


def test_the_functions_own_exception_is_raised_with_the_facts() -> None:
    try:
        {}["missing"]
    except KeyError as error:
        info = describe(error)
    found = failed(info, retries=2)
    assert type(found) is KeyError
    assert found.args == ("missing",)
    assert "Remote traceback:" in found.__notes__[0]
    assert "KeyError: 'missing'" in found.__notes__[0]
    cause = found.__cause__
    assert isinstance(cause, errors.RemoteError)
    assert (cause.job_id, cause.attempts, cause.logs, cause.type_name) == ("j1", 3, ("one", "two"), "KeyError")
    assert "KeyError: 'missing'" in cause.remote_traceback


@pytest.mark.parametrize(
    "raised", [SystemExit(3), KeyboardInterrupt(), StopIteration(1), StopAsyncIteration(), asyncio.CancelledError()]
)
def test_what_would_end_the_caller_is_told_instead(raised: BaseException) -> None:
    found = failed(describe(raised))
    assert type(found) is errors.RemoteError
    assert found.type_name.endswith(type(raised).__name__)
    assert type(raised).__name__ in str(found)


def test_an_exception_that_cannot_be_rebuilt_is_told_with_its_traceback() -> None:
    found = failed(
        ErrorInfo(ErrorKind.USER, "their.Error", "words", "Traceback …\ntheir.Error: words", exception=b"FPjunk")
    )
    assert type(found) is errors.RemoteError
    assert str(found).startswith("their.Error: words (job j1")
    assert "Traceback …" in found.__notes__[0]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (ErrorKind.INSTALL, errors.InstallError),
        (ErrorKind.WORKER_LOST, errors.WorkerLost),
        (ErrorKind.OUT_OF_MEMORY, errors.OutOfMemory),
        (ErrorKind.CANCELLED, errors.JobCancelled),
        (ErrorKind.TIMED_OUT, errors.JobTimedOut),
        (ErrorKind.EXPIRED, errors.JobExpired),
        (ErrorKind.INFEASIBLE, errors.JobError),
        (ErrorKind.PLATFORM, errors.JobError),
        (ErrorKind.LOAD, errors.RemoteError),
        (ErrorKind.UNPICKLABLE_RESULT, errors.NotPicklable),
        (ErrorKind.TOO_LARGE, errors.PayloadTooLarge),
    ],
)
def test_each_kind_of_failure_has_its_class(kind: ErrorKind, error: type[errors.FlashError]) -> None:
    found = failed(ErrorInfo(kind, "X", "why it failed"))
    assert type(found) is error
    assert "why it failed" in str(found)
    assert "endpoint 'f'" in str(found)
    facts = found if isinstance(found, errors.JobError) else found.__cause__
    assert isinstance(facts, errors.JobError)
    assert (facts.job_id, facts.attempts, facts.logs) == ("j1", 1, ("one", "two"))


def test_who_expects_a_lost_worker_hears_of_one_that_ran_out_of_memory() -> None:
    with pytest.raises(errors.WorkerLost, match="used 3 GB"):
        raise failed(ErrorInfo(ErrorKind.OUT_OF_MEMORY, "OutOfMemory", "used 3 GB"))


def test_every_kind_is_known() -> None:
    for kind in ErrorKind:
        assert isinstance(failed(ErrorInfo(kind, "X", "m")), errors.FlashError)


@pytest.mark.parametrize(
    ("status", "error"),
    [("CANCELLED", errors.JobCancelled), ("TIMED_OUT", errors.JobTimedOut), ("FAILED", errors.JobError)],
)
def test_a_status_alone_is_enough(status: str, error: type[errors.JobError]) -> None:
    found = failure_of({"id": "j1", "status": status, "error": "said so"}, "f")
    assert type(found) is error
    assert "job j1 of endpoint 'f'" in str(found)
    assert "said so" in str(found)
    assert found.attempts == 0


def test_what_a_handler_raised_is_told_with_its_traceback() -> None:
    told = '{"error_type": "<class \'lib.Wrong\'>", "error_message": "no", "error_traceback": "line 1\\n"}'
    error = failure_of(job(None, "FAILED", error=told), "f", ["one"])
    assert isinstance(error, errors.RemoteError)
    assert str(error) == "lib.Wrong: no (job j1 of endpoint 'f', attempt 1 on worker w1)"
    assert (error.type_name, error.remote_traceback, error.logs) == ("lib.Wrong", "line 1\n", ("one",))
    assert error.__notes__ == ["Remote traceback:\nline 1"]


@pytest.mark.parametrize(
    "told", ["plain words", '"text"', "[1]", '{"error_type": 3, "error_message": "x"}', None, "{}"]
)
def test_a_handlers_error_in_other_words_is_told_as_it_is(told: str | None) -> None:
    error = failure_of(job(None, "FAILED", error=told), "f")
    assert type(error) is errors.JobError
    assert (told or "failed") in str(error)


def test_a_failure_that_is_garbage_is_still_an_error() -> None:
    assert isinstance(failure_of(job({"flash": {"error": {}}}, "FAILED"), "f"), errors.WireMismatch)


def test_final_or_not() -> None:
    assert [status for status in JobStatus if not is_final({"status": status.value})] == ["IN_QUEUE", "IN_PROGRESS"]
    assert not is_final({"status": "UNHEARD_OF"})
    assert not is_final({})
    assert succeeded({"status": "COMPLETED"})
    assert not succeeded({"status": "FAILED"})
