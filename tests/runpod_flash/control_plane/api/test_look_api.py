"""Jobs of all endpoints and the lines of workers, over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runpod_flash.control_plane.platform import JobQuery
from tests.support.plane_app import PlaneApp, served
from tests.support.waiting import wait_until
from worker_runtime.wire.jobs import JobStatus

pytestmark = pytest.mark.anyio


async def submitted(plane: PlaneApp, endpoint: str) -> str:
    return str((await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})).json()["id"])


async def lines(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line:
            yield json.loads(line)


async def test_jobs_are_listed_with_their_endpoint_and_without_output(plane: PlaneApp) -> None:
    endpoint, other = await plane.endpoint(), await plane.endpoint(name="other")
    first, second = await submitted(plane, endpoint), await submitted(plane, other)
    await plane.platform.end(first, JobStatus.COMPLETED, {"large": True})
    listed = (await plane.client.get("/flash/v1/jobs")).json()
    assert [job["id"] for job in listed["jobs"]] == [second, first]
    assert listed["more"] is None
    job = listed["jobs"][1]
    assert job["endpoint"] == {
        "id": endpoint,
        "name": "palette",
        "project": "",
        "app": None,
        "stage": None,
    }
    assert "output" not in job
    assert (job["status"], job["attempts"], job["createdAt"][-1]) == ("COMPLETED", 1, "Z")
    only = (await plane.client.get("/flash/v1/jobs", params={"endpoint": other, "limit": 1})).json()
    assert [job["id"] for job in only["jobs"]] == [second]
    query = [("status", "FAILED"), ("status", "TIMED_OUT"), ("since", "12.5"), ("after", "9")]
    await plane.client.get("/flash/v1/jobs", params=query)
    statuses = frozenset({JobStatus.FAILED, JobStatus.TIMED_OUT})
    assert plane.platform.asked == JobQuery((), statuses, 12.5, 100, 9)


async def test_others_see_neither_jobs_nor_lines(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    job = await submitted(plane, endpoint)
    async with await plane.user("alice") as alice:
        assert (await alice.get("/flash/v1/jobs")).json()["jobs"] == []
        assert (await alice.get("/flash/v1/jobs", params={"endpoint": endpoint})).status_code == 404
        assert (await alice.get(f"/flash/v1/endpoints/{endpoint}/logs")).status_code == 404
        assert (await alice.get(f"/flash/v1/jobs/{job}/logs?follow=true")).status_code == 404


@pytest.mark.parametrize(
    "query",
    ["status=RUNNING", "since=yesterday", "since=-1", "since=nan", "limit=0", "limit=1001", "limit=x", "after=0"],
)
async def test_what_cannot_be_asked_of_jobs(plane: PlaneApp, query: str) -> None:
    refused = await plane.client.get(f"/flash/v1/jobs?{query}")
    assert refused.status_code == 400
    assert query.partition("=")[0] in refused.json()["detail"]


async def test_lines_of_an_endpoint_are_told_by_time_and_number(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    written = plane.platform.book.add(endpoint, "w-1", {}, "stderr", ["one", "two", "three"])
    url = f"/flash/v1/endpoints/{endpoint}/logs"
    told = (await plane.client.get(url)).text.splitlines()
    assert [json.loads(line) for line in told] == written
    assert json.loads(told[0])["job"] is None
    last = (await plane.client.get(url, params={"tail": 1})).text.splitlines()
    assert last == told[2:]
    assert (await plane.client.get(url, params={"tail": 0})).text == ""
    after = (await plane.client.get(url, params={"since": repr(written[0]["time"])})).text.splitlines()
    assert after == told[1:]
    for query in ("tail=-1", "tail=x", "follow=yes"):
        assert (await plane.client.get(f"{url}?{query}")).status_code == 400


async def test_who_follows_an_endpoint_gets_what_was_and_what_comes_and_may_leave(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    book = plane.platform.book
    book.add(endpoint, "w-1", {}, "stdout", ["before"])
    async with served(plane) as client:
        async with client.stream("GET", f"/flash/v1/endpoints/{endpoint}/logs?follow=true") as response:
            heard = lines(response)
            assert (await anext(heard))["line"] == "before"
            book.add(endpoint, "w-1", {"j": 2}, "stdout", ["of a job"])
            line = await anext(heard)
            assert (line["line"], line["job"], line["attempt"]) == ("of a job", "j", 2)
            book.say(endpoint, "w-1", "worker w-1 ended: killed")
            assert (await anext(heard))["stream"] == "platform"
        await asyncio.to_thread(wait_until, lambda: not book._followers)
        async with client.stream("GET", f"/flash/v1/endpoints/{endpoint}/logs?follow=true&tail=0") as response:
            heard = lines(response)
            await asyncio.to_thread(wait_until, lambda: bool(book._followers))
            book.forget(endpoint)
            with pytest.raises(StopAsyncIteration):
                await anext(heard)


async def test_who_follows_a_job_gets_its_lines_until_it_has_ended(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    job, book = await submitted(plane, endpoint), plane.platform.book
    async with served(plane) as client:
        async with client.stream("GET", f"/flash/v1/jobs/{job}/logs?follow=true") as response:
            heard = lines(response)
            assert (await anext(heard))["line"] == "hello"
            book.add(endpoint, "w-1", {"another": 1}, "stdout", ["not this"])
            book.add(endpoint, "w-1", {"another": 1, job: 1}, "stdout", ["of both"])
            assert (await anext(heard))["line"] == "of both"
            book.job_ended(endpoint, job)
            assert [line async for line in heard] == []
        await plane.platform.end(job, JobStatus.COMPLETED)
        whole = await client.get(f"/flash/v1/jobs/{job}/logs?follow=true")
        assert [json.loads(line)["line"] for line in whole.text.splitlines()] == ["hello"]
