"""Clients of endpoints that are there, for type checkers; never run. `type: ignore` marks what must be an error."""

from typing import Any, assert_type

from runpod_flash import Endpoint, EndpointJob

client = Endpoint(id="abc123")


async def awaited() -> None:
    job = await client.run.aio({"prompt": "x"}, webhook="https://example.com/end", execution_timeout=2.5)
    assert_type(job, EndpointJob[Any])
    assert_type(await job.result.aio(), Any)
    assert_type(await client.runsync.aio({"prompt": "x"}, timeout=3), EndpointJob[Any])
    assert_type(await client.status.aio("id"), EndpointJob[Any])
    assert_type(await client.cancel.aio("id"), EndpointJob[Any])
    assert_type(await client.health.aio(), dict[str, Any])
    assert_type(await client.purge.aio(), int)
    assert_type(await client.get("/models", params={"page": 2}, headers={"A": "b"}, timeout=3), Any)
    assert_type(await client.post("/predict", {"x": 1}), Any)
    async for item in client.stream("id"):
        assert_type(item, Any)


def blocking() -> None:
    assert_type(client.run.blocking({"prompt": "x"}).result.blocking(), Any)
    assert_type(client.purge.blocking(), int)
    assert_type(client.delete.blocking("/cache"), Any)
    for item in client.run.blocking({}).stream():
        assert_type(item, Any)


async def mistakes() -> None:
    await client.run.aio()  # type: ignore[call-arg]
    client.run.blocking({}, web_hook="x")  # type: ignore[call-arg]
    client.status.blocking(5)  # type: ignore[arg-type]
    await client.get(5)  # type: ignore[arg-type]
    await client.get("/x", header={})  # type: ignore[call-arg]
    await client.head("/x")  # type: ignore[attr-defined]
    Endpoint(id=5)  # type: ignore[arg-type]
