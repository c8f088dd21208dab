"""Clients of endpoints that are there, for type checkers; never run. `type: ignore` marks what must be an error."""

from collections.abc import Coroutine
from typing import Any, assert_type

from runpod_flash import Endpoint, EndpointJob
from runpod_flash.agreement import Provisioned
from runpod_flash.errors import ResponseError

ep = Endpoint(id="abc123")


@Endpoint(name="typed", cpu="cpu3c-1-2")
def typed(x: int) -> float:
    return x


class Model:
    pass


RemoteModel = Endpoint(name="model", cpu="cpu3c-1-2")(Model)


async def awaited() -> None:
    job = await ep.run.aio({"prompt": "hello"}, webhook="https://hook", execution_timeout=60, ttl=600, priority="low")
    assert_type(job, EndpointJob[Any])
    assert_type(await ep.runsync.aio({"a": 1}, timeout=90.0), EndpointJob[Any])
    assert_type(await ep.status.aio("id"), EndpointJob[Any])
    assert_type(await ep.cancel.aio("id"), EndpointJob[Any])
    assert_type(await ep.health.aio(), dict[str, Any])
    assert_type(await ep.purge.aio(), int)
    assert_type(await job.retry.aio(), EndpointJob[Any])
    assert_type([item async for item in job.stream()], list[Any])
    assert_type([item async for item in ep.stream("id")], list[Any])
    assert_type(await ep.post("/v1/completions", {"prompt": "Hello"}, headers={"X-A": "b"}, timeout=5), Any)
    assert_type(await ep.get("/v1/models", params={"page": 1, "tag": ["a", "b"]}), Any)
    assert_type(await ep.put.aio("/x", json=[1]), Any)
    later: Coroutine[Any, Any, Any] = ep.delete("/x")
    await later
    for found in (await ep.provision.aio(), await typed.provision.aio(), await RemoteModel.provision.aio()):
        assert_type(found, Provisioned)
        assert_type(found.id, str)
        assert_type(found.url, str)


def blocking() -> None:
    assert_type(ep.run.blocking({"a": 1}), EndpointJob[Any])
    assert_type(list(ep.stream("id")), list[Any])
    assert_type(ep.get.blocking("/v1/models"), Any)
    assert_type(typed.provision.blocking(), Provisioned)
    assert_type(ep.run({"a": 1}), Any)  # blocks or not, by where it is called: so its type says nothing
    assert_type(typed.id, str | None)
    assert_type(typed.url, str | None)


def refused(error: ResponseError) -> None:
    assert_type(error.status, int)
    assert_type(error.body, Any)
    assert_type(error.headers, dict[str, str])


async def mistakes() -> None:
    Endpoint(id=3)  # type: ignore[arg-type]
    ep.run.blocking()  # type: ignore[call-arg]
    ep.run.blocking({"a": 1}, prority="low")  # type: ignore[call-arg]
    ep.runsync.blocking({"a": 1}, "soon")  # type: ignore[arg-type]
    await ep.get(3)  # type: ignore[arg-type]
    await ep.get("/x", headers=["a"])  # type: ignore[arg-type]
