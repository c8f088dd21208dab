"""The backend that runs calls in this process, through the verbs of `Backend`."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint
from runpod_flash.backends.base import Backend
from runpod_flash.backends.inline import connect
from runpod_flash.calls import AS_USUAL
from runpod_flash.errors import (
    BackendError,
    ConfigError,
    ContentNotFound,
    EndpointNotFound,
    JobNotFound,
    JobTimedOut,
    NotPicklable,
)
from runpod_flash.session import Session
from runpod_flash.settings import Settings
from runpod_flash.web import request
from tests.support.inline import inline_session
from worker_runtime.wire.jobs import Call, Payload

CPU: Any = {"cpu": "cpu3c-2-4"}
RUNNING: list[int] = []
GO, BEGUN = threading.Event(), threading.Event()
BODY = {"name": "x", "timeout": 0, "env": {}}


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Session]:
    with inline_session(tmp_path) as session:
        yield session


def test_it_is_a_backend() -> None:
    backend: Backend = connect(Settings(target="inline", home=Path()), Path())
    assert backend.shares_machine
    assert backend.default_queue_delay == 0


def test_endpoints_are_found_by_name_and_changed_in_place() -> None:
    async def main() -> None:
        settings = Settings(target="inline", home=Path())
        backend = connect(settings, Path())
        assert await backend.find("x") is None
        made = await backend.create(BODY)
        changed = await connect(settings, Path()).update(made["id"], {**BODY, "timeout": 5})
        assert changed == await backend.find("x") == {"id": made["id"], **BODY, "timeout": 5}

    asyncio.run(main())


def test_what_is_not_there() -> None:
    async def main() -> None:
        backend = connect(Settings(target="inline", home=Path()), Path())
        made = await backend.create(BODY)
        call = Call("a" * 64, Payload.of(b"x")).to_input()
        with pytest.raises(EndpointNotFound):
            await backend.submit("e", call, "k")
        with pytest.raises(EndpointNotFound):
            await backend.update("e", BODY)
        with pytest.raises(ContentNotFound, match="artifact"):
            await backend.submit(made["id"], call, "k")
        with pytest.raises(ContentNotFound):
            await backend.get_value("b" * 64)
        for verb in (backend.status, backend.outcome, backend.cancel, backend.logs):
            with pytest.raises(JobNotFound):
                await verb(made["id"], "j")
        with pytest.raises(JobNotFound):
            await backend.facts("j")
        assert await backend.find_submitted(["k"]) == {}
        await backend.drop_instance("nobody's")
        assert not await backend.has_artifact("a" * 64)

    asyncio.run(main())


@Endpoint(**CPU)
def busy() -> None:
    BEGUN.set()
    GO.wait(20)


def test_health_purge_and_what_is_not_served_here(session: Session) -> None:
    GO.clear()
    BEGUN.clear()
    jobs = [busy.spawn() for _ in range(3)]
    assert BEGUN.wait(20)
    health = Endpoint("busy", **CPU).health()
    assert health["jobs"] == {"inQueue": 2, "inProgress": 1, "completed": 0, "failed": 0, "retried": 0}
    assert (health["workers"]["running"], health["workers"]["idle"]) == (1, 0)
    assert Endpoint("busy", **CPU).purge() == 2
    GO.set()
    assert [job.wait().status() for job in jobs] == ["COMPLETED", "CANCELLED", "CANCELLED"]

    async def main() -> None:
        backend = await session.backend()
        endpoint = str(busy.id)
        assert (await backend.describe(endpoint))["name"] == "busy"
        with pytest.raises(BackendError, match="serves no HTTP"):
            await backend.request(endpoint, request("GET", "/x"))
        for asking in (
            backend.describe("e"),
            backend.health("e"),
            backend.purge("e"),
            backend.request("e", request("GET", "/x")),
        ):
            with pytest.raises(EndpointNotFound):
                await asking
        with pytest.raises(JobNotFound):
            await backend.retry(endpoint, "j")
        with pytest.raises(ConfigError, match="takes no plain input"):
            await backend.run_sync(endpoint, {"a": 1}, "k", AS_USUAL, 1)

    asyncio.run(main())


def test_one_key_never_makes_two_jobs(session: Session) -> None:
    @Endpoint(**CPU)
    def count() -> None: ...

    count.remote()

    async def main() -> None:
        backend = connect(session.settings, Path())
        found = await backend.find("count")
        assert found is not None
        (artifact,) = backend._platform.manifests
        call = Call(artifact, Payload.of(_no_arguments())).to_input()
        jobs = {await backend.submit(found["id"], call, "key") for _ in range(3)}
        assert len(jobs) == 1
        (job,) = jobs
        assert (await backend.outcome(found["id"], job))["status"] == "COMPLETED"
        by_key = await backend.find_submitted(["key", "other"])
        assert by_key == {"key": {"id": job, "endpoint": found["id"], "status": "COMPLETED"}}
        facts = await backend.facts(job)
        assert facts["endpoint"] == {"id": found["id"], "name": "count", "project": ""}
        assert (facts["job"]["status"], facts["attempts"], facts["cause"]) == ("COMPLETED", 1, None)

    asyncio.run(main())


def _no_arguments() -> bytes:
    from worker_runtime.wire import payload

    return payload.encode(((), {}))


def test_a_plain_function_may_make_blocking_calls() -> None:
    @Endpoint(**CPU)
    def inner(x: int) -> int:
        return x + 1

    @Endpoint(**CPU)
    def outer(x: int) -> int:
        return inner.remote(x) * 10

    assert outer.remote(1) == 20


def test_max_concurrency_calls_run_at_a_time() -> None:
    def declare(most: int) -> Any:
        @Endpoint(f"busy-{most}", **CPU, max_concurrency=most)
        async def busy() -> int:
            RUNNING.append(1)
            await asyncio.sleep(0.02)
            now = len(RUNNING)
            RUNNING.pop()
            return now

        return busy

    async def main(function: Any) -> int:
        return max(await asyncio.gather(*(function() for _ in range(6))))

    assert asyncio.run(main(declare(1))) == 1
    assert asyncio.run(main(declare(3))) == 3


def test_plain_functions_do_not_share_the_callers_thread() -> None:
    @Endpoint(**CPU)
    def thread() -> int:
        return threading.get_ident()

    assert thread.remote() != threading.get_ident()


def test_arguments_and_results_are_copies() -> None:
    @Endpoint(**CPU)
    def same(x: list[int]) -> list[int]:
        x.append(1)
        return x

    mine: list[int] = []
    assert same.remote(mine) == [1]
    assert mine == []


def test_what_cannot_travel_fails_here_too() -> None:
    @Endpoint(**CPU)
    def lock() -> Any:
        return threading.Lock()

    with pytest.raises(NotPicklable, match="lock"):
        lock.remote()


def test_a_call_that_takes_too_long() -> None:
    @Endpoint(**CPU, execution_timeout_ms=50)
    async def slow() -> None:
        await asyncio.sleep(60)

    with pytest.raises(JobTimedOut, match="execution_timeout_ms=50"):
        slow.remote()


@pytest.mark.parametrize(("retries", "starts"), [(None, 1), (0, 1), (2, 3)])
def test_retries(tmp_path: Path, retries: int | None, starts: int) -> None:
    marks = tmp_path / "marks"

    @Endpoint(**CPU, retries=retries)
    def fail() -> None:
        with marks.open("a") as file:
            file.write("x")
        raise ValueError("again")

    with pytest.raises(ValueError, match="again") as caught:
        fail.remote()
    assert marks.read_text() == "x" * starts
    assert caught.value.__cause__.attempts == starts  # type: ignore[union-attr]
