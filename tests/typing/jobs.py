"""Handles of jobs, for type checkers; never run. `type: ignore` marks what must be an error."""

from typing import Any, assert_type

from runpod_flash import Endpoint, EndpointJob
from runpod_flash.errors import JobError, RemoteError


@Endpoint(name="count", cpu="cpu3c-1-2")
def count(text: str) -> dict[str, int]:
    return {text: len(text)}


async def awaited(job: EndpointJob[dict[str, int]]) -> None:
    assert_type(await job.result.aio(), dict[str, int])
    assert_type(await job.result.aio(timeout=2.5), dict[str, int])
    assert_type(await job.wait.aio(timeout=None), EndpointJob[dict[str, int]])
    assert_type(await job.status.aio(), str)
    assert_type(await job.cancel.aio(), EndpointJob[dict[str, int]])
    assert_type(await job.logs.aio(), list[str])
    assert_type(await job.retry.aio(), EndpointJob[dict[str, int]])
    assert_type(await job.cause.aio(), str | None)
    assert_type(await job.result(), Any)  # blocks or not, by where it is called: so its type says nothing
    assert_type(await count.recover.aio(), list[EndpointJob[dict[str, int]]])


def blocking(job: EndpointJob[dict[str, int]]) -> None:
    assert_type(job.result.blocking(), dict[str, int])
    assert_type(job.result.blocking(2)["x"], int)
    assert_type(job.wait.blocking(timeout=1).result.blocking(), dict[str, int])
    assert_type(job.status.blocking(), str)
    assert_type(job.cancel.blocking(), EndpointJob[dict[str, int]])
    assert_type(job.logs.blocking(), list[str])
    assert_type(job.retry.blocking().result.blocking(), dict[str, int])
    assert_type(job.cause.blocking(), str | None)
    assert_type(job.result(), Any)


def seen(job: EndpointJob[dict[str, int]]) -> None:
    assert_type(job.id, str)
    assert_type(job.done, bool)
    assert_type(job.output, dict[str, int] | None)
    assert_type(job.error, str | None)


def found_again() -> None:
    assert_type(count.job("id"), EndpointJob[dict[str, int]])
    assert_type(count.job("id").result.blocking(), dict[str, int])
    assert_type(count.recover.blocking(), list[EndpointJob[dict[str, int]]])
    assert_type([job.output for job in count.recover.blocking()], list[dict[str, int] | None])
    assert_type(Endpoint(name="count").job("id").result.blocking(), Any)


def failed(error: JobError, remote: RemoteError) -> None:
    assert_type(error.job_id, str)
    assert_type(error.attempts, int)
    assert_type(error.logs, tuple[str, ...])
    assert_type(remote.type_name, str)
    assert_type(remote.remote_traceback, str)


async def mistakes(job: EndpointJob[dict[str, int]]) -> None:
    job.result.blocking("soon")  # type: ignore[arg-type]
    await job.result.aio(patience=3)  # type: ignore[call-arg]
    job.wait.blocking(1, 2)  # type: ignore[call-arg]
    job.result.later()  # type: ignore[attr-defined]
    job.id = "other"  # type: ignore[misc]
    text: list[str] = job.result.blocking()  # type: ignore[assignment]
    count.job(5)  # type: ignore[arg-type]
    other: EndpointJob[str] = count.spawn("x")  # type: ignore[assignment]
    del text, other
