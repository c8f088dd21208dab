"""Our own SDK as a client of the real worker package: `Endpoint(id=…)`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint
from runpod_flash.errors import JobError, RemoteError, ResponseError
from runpod_flash.session import Session, use
from runpod_flash.settings import Settings
from tests.conformance.endpoints import START_S, Deployments
from tests.conformance.target import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def session(target: Target, tmp_path: Path) -> Iterator[Session]:
    """Calls go to the target."""
    settings = Settings(target=target.url, api_key=target.key, home=tmp_path)
    with use(Session(settings, project=tmp_path)) as session:
        yield session


def client(deployed: Deployments, handler: str, **settings: Any) -> Endpoint:
    return Endpoint(id=deployed.endpoint(handler, **settings).id)


def test_a_handler_that_returns(deployed: Deployments) -> None:
    ep = client(deployed, "sync")
    said = {"said": "hello", "upper": "HELLO"}

    async def main() -> None:
        before = (await ep.health())["jobs"]["completed"]  # other tests have jobs there, too
        job = await ep.run({"prompt": "hello"})
        assert (await job.wait(timeout=START_S)).output == said
        assert (await ep.runsync({"input": {"prompt": "hello"}}, timeout=START_S)).output == said
        assert (await ep.health())["jobs"]["completed"] == before + 2

    asyncio.run(main())


def test_a_handler_that_yields(deployed: Deployments) -> None:
    ep = client(deployed, "generator")
    job = ep.run({"count": 5})
    assert list(job.stream()) == [{"number": number} for number in range(5)]
    assert job.status() == "COMPLETED"
    items = iter(ep.run({"count": 2, "fail": True}).stream())
    assert [next(items), next(items)] == [{"number": 0}, {"number": 1}]
    with pytest.raises(JobError, match="out of numbers"):
        next(items)


def test_a_handler_that_raises(deployed: Deployments) -> None:
    ep = client(deployed, "failing")
    job = ep.runsync({"way": "raise"}, timeout=START_S)
    with pytest.raises(RemoteError, match="ValueError: the model is missing") as caught:
        job.result()
    assert caught.value.type_name == "ValueError"
    assert "handler" in caught.value.remote_traceback
    assert job.retry().wait(timeout=START_S).error is not None
    assert "prompt is too long" in str(ep.runsync({"way": "error"}, timeout=START_S).error)
    assert ep.runsync({"way": "none"}, timeout=START_S).result() is None


def test_a_job_that_waits_is_purged(deployed: Deployments) -> None:
    ep = Endpoint(id=deployed.parked("our-client").id)
    job = ep.run({"a": 1}, priority="low", ttl=600, execution_timeout=60)
    assert ep.purge() == 1
    assert ep.status(job.id).status() == "CANCELLED"


def test_an_http_server(deployed: Deployments) -> None:
    ep = client(deployed, "balanced", type="LOAD_BALANCER", scaling={"type": "REQUEST_COUNT", "requestCount": 4})

    async def main() -> None:
        assert await ep.get("/ping") == {"status": "healthy"}
        seen = await ep.post("/mirror/a b", {"x": 1}, params={"y": "&"})
        assert (seen["path"], seen["query"], seen["start"], seen["type"]) == (
            "a b", "y=%26", '{"x":1}', "application/json",
        )  # fmt: skip
        with pytest.raises(ResponseError) as caught:
            await ep.get("/broken")
        assert caught.value.status == 500

    asyncio.run(main())
