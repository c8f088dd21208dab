"""Requests of the job API that are answered without a task, over the core of a real control plane."""

import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.api import prompt_jobs
from runpod_flash.control_plane.api.access import Access
from runpod_flash.control_plane.api.job_routes import JobRoutes
from runpod_flash.control_plane.api.jobs import JobsApi
from runpod_flash.control_plane.api.prompt_jobs import PromptJobs
from runpod_flash.control_plane.limits import Limits, Rate
from runpod_flash.control_plane.principals import Principal
from runpod_flash.control_plane.rates import Rates
from runpod_flash.control_plane.store import StoreFull
from tests.support.small_plane import SmallPlane, small_plane

pytestmark = pytest.mark.anyio

LIMITS = Limits(run_bytes=2000, runsync_bytes=3000)


@dataclass
class Face:
    """The face, and the answers that it has given."""

    plane: SmallPlane
    endpoint: str
    limits: Limits = LIMITS
    answers: list[tuple[int, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rates = Rates(self.limits)
        jobs = JobsApi(self.plane.platform, Access(self.plane.catalog), self.limits, rates, lambda url: None)
        self.prompt = PromptJobs(
            JobRoutes(jobs, None),
            jobs,
            self.plane.platform,
            lambda key: Principal() if key == b"key" else None,
            lambda scope: (b"host", b"elsewhere") in scope["headers"],
        )

    def ask(self, path: str, body: bytes = b"", method: str = "POST", **headers: str) -> bool:
        """Whether it takes the request; what it answers comes to `answers`."""
        named = {"authorization": "Bearer key", **headers}
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path.replace("ID", self.endpoint),
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
        }
        return self.prompt(scope, body, lambda status, _, data: self.answers.append((status, json.loads(data))))

    def call(self, **more: Any) -> bytes:
        """The body of a call."""
        return json.dumps({"input": self.plane.call().to_input(), **more}).encode()

    async def answer(self) -> tuple[int, Any]:
        """The next answer."""
        await self.plane.until(lambda: self.answers)
        return self.answers.pop(0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def face(tmp_path: Path) -> AsyncIterator[Face]:
    async with small_plane(tmp_path) as plane:
        yield Face(plane, await plane.endpoint())


async def test_run_is_answered_when_it_is_on_disk_and_status_at_once(face: Face) -> None:
    assert face.ask("/v2/ID/run", face.call())
    assert not face.answers  # nothing is told before its commit
    status, job = await face.answer()
    assert (status, job["status"], set(job)) == (200, "IN_QUEUE", {"id", "status"})
    assert face.plane.store.job(job["id"]) is not None
    for method in ("GET", "POST"):
        assert face.ask(f"/v2/ID/status/{job['id']}", method=method)
        status, shown = face.answers.pop()
        assert (status, shown["id"], shown["status"]) == (200, job["id"], "IN_QUEUE")


async def test_runsync_is_answered_when_its_end_is_on_disk(face: Face) -> None:
    assert face.ask("/v2/ID/runsync", face.call())

    def ended() -> bool:
        face.plane.connect()
        face.plane.finish()
        return bool(face.answers)

    await face.plane.until(ended)
    status, job = await face.answer()
    assert (status, job["status"]) == (200, "COMPLETED")
    stored = face.plane.store.job(job["id"])
    assert stored is not None
    assert stored.status == "COMPLETED"
    assert {"delayTime", "executionTime", "output", "workerId"} <= set(job)
    await face.plane.turns()
    assert not face.answers


async def test_what_is_cancelled_or_waited_for_too_long_is_answered_as_it_stands(
    face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    face.ask("/v2/ID/runsync", face.call())
    await face.plane.until(lambda: face.plane.dispatcher.active)
    (job,) = face.plane.dispatcher.jobs_of(face.endpoint)
    face.plane.dispatcher.cancel(job)
    assert (await face.answer())[1]["status"] == "CANCELLED"
    monkeypatch.setattr(prompt_jobs, "WAIT_MS", (10, 1000))
    face.ask("/v2/ID/runsync?wait=10", face.call())
    assert (await face.answer())[1]["status"] == "IN_QUEUE"  # nobody takes it


async def test_at_the_end_of_the_control_plane_nobody_waits(face: Face) -> None:
    face.ask("/v2/ID/runsync", face.call())
    await face.plane.turns()
    face.plane.platform.release_waiting()
    assert (await face.answer())[1]["status"] == "IN_QUEUE"
    assert not face.ask("/v2/ID/runsync", face.call())  # the app says what is to be said


@pytest.mark.parametrize("way", ["run", "runsync"])
async def test_what_cannot_be_written_never_came(face: Face, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> str:
        raise StoreFull("no room")

    def broken(_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    face.plane.platform.intake.admit = full
    face.ask(f"/v2/ID/{way}", face.call())
    assert (await face.answer())[0] == 507
    face.plane.platform.intake.admit = str
    with monkeypatch.context() as patched:
        patched.setattr(face.plane.store, "_commit", broken)
        face.ask(f"/v2/ID/{way}", face.call())
        assert (await face.answer())[0] == 500
        assert face.plane.dispatcher.active == 0
    face.ask("/v2/ID/run", face.call())
    assert (await face.answer())[0] == 200


async def test_what_takes_longer_is_submitted_in_a_task(face: Face) -> None:
    key = {"idempotency_key": "k"}
    face.ask("/v2/ID/run", face.call(), **key)
    face.ask("/v2/ID/run", face.call(), **key)
    (_, first), (_, second) = await face.answer(), await face.answer()
    assert first["id"] == second["id"]
    (job,) = face.plane.dispatcher.jobs_of(face.endpoint)
    face.plane.dispatcher.cancel(job)
    face.ask("/v2/ID/runsync", face.call(), **key)
    _, third = await face.answer()
    assert (third["id"], third["status"]) == (first["id"], "CANCELLED")


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/v2/ID/run", b"x", 400, "JSON"),
        ("/v2/ID/run", b"[]", 400, "object"),
        ("/v2/ID/run", b"{}", 400, "input"),
        ("/v2/ID/run", b'{"input": {"x": 1}}', 422, "decorated"),
        ("/v2/ID/run", b'{"input": {"x": "%s"}}' % (b"x" * 2000), 413, "2000"),
        ("/v2/ID/runsync?wait=1", b'{"input": {"x": 1}}', 400, "wait"),
        ("/v2/ID/run", b'{"input": {"x": 1}, "policy": {"ttl": 1}}', 400, "ttl"),
        ("/v2/other/run", b'{"input": {"x": 1}}', 404, "endpoint"),
        ("/v2/ID/status/unknown", b"", 404, "job"),
    ],
)
async def test_refusals_are_those_of_the_app(face: Face, path: str, body: bytes, status: int, word: str) -> None:
    assert face.ask(path, body)
    (found,) = face.answers
    assert found[0] == status
    assert word in found[1]["detail"]
    assert face.plane.dispatcher.active == 0


async def test_what_is_not_for_here_goes_to_the_app(face: Face) -> None:
    assert not face.ask("/v2/ID/health", method="GET")
    assert not face.ask("/v2/ID/status/j", method="HEAD")
    assert not face.ask("/v2/ID/run", method="GET")
    assert not face.ask("/v2/flash/run", face.call())
    assert not face.ask("/v2/serverless/run", face.call())
    assert not face.ask("/v2/ID/run", face.call(), authorization="Bearer other")
    assert not face.ask("/v2/ID/run", face.call(), authorization="")
    assert not face.ask("/v2/ID/run", face.call(), host="elsewhere")
    assert not face.answers


async def test_a_request_counts_until_it_is_answered(tmp_path: Path) -> None:
    limits = replace(LIMITS, rated="everybody", rates={"runsync": Rate(0, 1)})
    async with small_plane(tmp_path) as plane:
        face = Face(plane, await plane.endpoint(), limits)
        face.ask("/v2/ID/runsync", face.call())
        face.ask("/v2/ID/runsync", face.call())
        assert (await face.answer())[0] == 429
        (job,) = plane.dispatcher.jobs_of(face.endpoint)
        plane.dispatcher.cancel(job)
        assert (await face.answer())[0] == 200
        face.ask("/v2/ID/runsync", b"{}")
        assert (await face.answer())[0] == 400  # that was one, too, and is over
        face.ask("/v2/ID/runsync", face.call())
        (job,) = plane.dispatcher.jobs_of(face.endpoint)
        plane.dispatcher.cancel(job)
        assert (await face.answer())[0] == 200
