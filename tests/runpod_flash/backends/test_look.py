"""What there is on a platform, asked over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from runpod_flash.backends.clients import Address
from runpod_flash.backends.http import HttpBackend
from runpod_flash.errors import BackendError, EndpointNotFound, JobNotFound
from runpod_flash.output import Output
from tests.support import fake_platform
from tests.support.fake_platform import FakePlatform
from tests.support.plane_app import KEY, PlaneApp, plane_app, served
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def backend_at(url: str, key: str = KEY) -> AsyncIterator[HttpBackend]:
    async def locate() -> Address:
        return Address(url, key, "the plane", "no hint")

    backend = HttpBackend(locate, Output(), shares_machine=True, default_queue_delay=0.0)
    async with asyncio.timeout(20):
        try:
            yield backend
        finally:
            await backend.aclose()


@asynccontextmanager
async def both(folder: Path, **options: Any) -> AsyncIterator[tuple[PlaneApp, HttpBackend]]:
    """A control plane's application, and the client of it."""
    async with (
        plane_app(folder, **options) as plane,
        served(plane) as client,
        backend_at(str(client.base_url)) as backend,
    ):
        yield plane, backend


async def test_jobs_are_fetched_page_by_page(tmp_path: Path) -> None:
    async with both(tmp_path) as (plane, backend):
        endpoint = await plane.endpoint()
        for number in range(5):
            await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"n": number}})
        assert [job["endpoint"]["name"] for job in await backend.look.jobs()] == ["palette"] * 5
        assert len(await backend.look.jobs([endpoint], statuses=["IN_QUEUE"], since=1.5, limit=2)) == 2
        asked = plane.platform.asked
        assert asked is not None
        assert (asked.endpoints, asked.since, asked.limit) == ((endpoint,), 1.5, 2)
        with pytest.raises(EndpointNotFound):
            await backend.look.jobs(["nosuchendpoint"])


async def test_overview_and_lines(tmp_path: Path) -> None:
    async with both(tmp_path) as (plane, backend):
        endpoint = await plane.endpoint()
        said = await backend.look.overview()
        assert (said["user"], [each["id"] for each in said["endpoints"]]) == ("", [endpoint])
        job = (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"n": 1}})).json()["id"]
        lines: list[Any] = []
        await backend.look.lines_of_job(job, lines.append)
        assert lines == [{"job": job, "stream": "stdout", "line": "hello"}]
        with pytest.raises(JobNotFound):
            await backend.look.lines_of_job("unknown", lines.append)
        with pytest.raises(EndpointNotFound):
            await backend.look.lines_of_endpoint("nosuchendpoint", lines.append, follow=True)

        heard: list[str] = []
        plane.platform.book.add(endpoint, "w", {}, "stdout", ["before"])
        following = asyncio.ensure_future(
            backend.look.lines_of_endpoint(endpoint, lambda line: heard.append(line["line"]), follow=True)
        )
        await asyncio.to_thread(wait_until, lambda: heard == ["before"], 10)
        plane.platform.book.add(endpoint, "w", {}, "stdout", ["after"])
        await asyncio.to_thread(wait_until, lambda: heard == ["before", "after"], 10)
        plane.platform.book.forget(endpoint)
        await following


async def test_who_follows_goes_on_after_the_last_line_where_a_connection_broke(
    platform: FakePlatform, url: str
) -> None:
    asked: list[dict[str, str]] = []

    def refuse(request: Request) -> Response | None:
        if not request.url.path.endswith("/logs"):
            return None
        asked.append(dict(request.query_params))

        async def lines() -> AsyncIterator[bytes]:
            yield json.dumps({"time": float(len(asked)) + 0.25, "line": f"line {len(asked)}"}).encode() + b"\n\n"
            if len(asked) == 1:
                raise ConnectionError("the test breaks the connection")

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    platform.refuse = refuse
    heard: list[str] = []
    async with backend_at(url, fake_platform.KEY) as backend:
        await backend.look.lines_of_job("j", lambda line: heard.append(line["line"]), tail=5, follow=True)
    assert heard == ["line 1", "line 2"]
    assert asked == [{"tail": "5", "follow": "true"}, {"since": "1.25", "follow": "true"}]


async def test_where_there_is_the_published_api_alone(tmp_path: Path) -> None:
    async with both(tmp_path, published_only=True) as (plane, backend):
        endpoint = await plane.endpoint()
        await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"n": 1}})
        said = await backend.look.overview()
        assert said["jobs"] == 1
        (shown,) = said["endpoints"]
        assert (shown["id"], shown["name"], shown["project"]) == (endpoint, "palette", "")
        assert (shown["jobs"]["inQueue"], shown["workerIds"]) == (1, ["worker-1", "worker-2"])
        assert shown["url"].endswith(f"/v2/{endpoint}")
        with pytest.raises(BackendError, match="has the published API alone, which lists the jobs of an endpoint"):
            await backend.look.jobs()
        with pytest.raises(BackendError, match="which tells nobody what workers write"):
            await backend.look.lines_of_endpoint(endpoint, print)
