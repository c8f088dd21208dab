"""The job API as published."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from runpod_flash.control_plane.records import Policy
from tests.support.plane_app import PlaneApp
from tests.support.waiting import wait_until
from worker_runtime.wire.jobs import JobStatus

pytestmark = pytest.mark.anyio

UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def refused(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["detail"])


async def test_run_then_status_then_cancel(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    headers = {"X-Flash-Client": "c1"}
    job = (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}}, headers=headers)).json()
    assert job["status"] == "IN_QUEUE"
    assert re.fullmatch(f"{UUID7}-u1", job["id"])
    assert set(job) == {"id", "status"}
    assert plane.platform.came_with[job["id"]] == {"client": "c1", "policy": Policy()}
    for method in ("GET", "POST"):
        status = (await plane.client.request(method, f"/v2/{endpoint}/status/{job['id']}")).json()
        assert (status["id"], status["status"]) == (job["id"], "IN_QUEUE")
    health = (await plane.client.get(f"/v2/{endpoint}/health")).json()
    assert health["jobs"] == {"completed": 0, "failed": 0, "inProgress": 0, "inQueue": 1, "retried": 0}
    assert set(health["workers"]) == {"idle", "initializing", "ready", "running", "throttled", "unhealthy"}
    cancelled = (await plane.client.post(f"/v2/{endpoint}/cancel/{job['id']}")).json()
    assert cancelled == {"id": job["id"], "status": "CANCELLED"}


async def test_runsync_waits_for_the_end(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    waiting = asyncio.create_task(plane.client.post(f"/v2/{endpoint}/runsync", json={"input": {"x": 1}}))
    await asyncio.to_thread(wait_until, lambda: plane.platform.jobs)
    (job_id,) = plane.platform.jobs
    assert re.fullmatch(f"sync-{UUID7}", job_id)
    await plane.platform.end(job_id, JobStatus.COMPLETED, {"answer": 42})
    job = (await waiting).json()
    assert (job["id"], job["status"], job["output"]) == (job_id, "COMPLETED", {"answer": 42})
    assert {"delayTime", "executionTime"} <= set(job)


async def test_runsync_gives_the_unfinished_job_when_the_wait_is_over(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    job = (await plane.client.post(f"/v2/{endpoint}/runsync?wait=1000", json={"input": {"x": 1}})).json()
    assert job["status"] == "IN_QUEUE"


@pytest.mark.parametrize("wait", ["999", "300001", "", "-1000", "1e4", "x", "9" * 5000, "٣٠٠٠"])
async def test_waits_out_of_bounds(plane: PlaneApp, wait: str) -> None:
    endpoint = await plane.endpoint()
    response = await plane.client.post(f"/v2/{endpoint}/runsync", params={"wait": wait}, json={"input": {"x": 1}})
    assert "it must be 1000 to 300000 ms" in refused(response, 400)
    assert plane.platform.jobs == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b'{"input": {}}',
        b'{"input": 1}',
        b'{"input": null}',
        b'{"input": {"x": NaN}}',
        b'{"input": {"x": 1}, "policy": 1}',
        b'{"input": {"x": 1}, "policy": {"executionTimeout": 0}}',
        b'{"input": {"x": 1}, "policy": {"executionTimeout": true}}',
        b'{"input": {"x": 1}, "policy": {"executionTimeout": "5"}}',
    ],
)
async def test_bad_bodies(plane: PlaneApp, body: bytes) -> None:
    endpoint = await plane.endpoint()
    for route in ("run", "runsync"):
        refused(await plane.client.post(f"/v2/{endpoint}/{route}", content=body), 400)
    assert plane.platform.jobs == {}


@pytest.mark.parametrize(("route", "limit"), [("run", 10 * 1024**2), ("runsync", 20 * 1024**2)])
async def test_bodies_are_limited(plane: PlaneApp, route: str, limit: int) -> None:
    endpoint = await plane.endpoint()
    empty = len(b'{"input": {"x": ""}}')
    for size, status in ((limit, None), (limit + 1, 413)):
        content = b'{"input": {"x": "%s"}}' % (b"x" * (size - empty))
        work = plane.client.post(f"/v2/{endpoint}/{route}?wait=1000", content=content)
        response = await work
        if status is None:
            assert response.status_code == 200
        else:
            assert f"more than {limit} bytes" in refused(response, status)
            assert response.json()["code"] == "PayloadTooLarge"
    assert len(plane.platform.jobs) == 1


@pytest.mark.parametrize("policy", [{"executionTimeout": 5000}, {"executionTimeout": None, "ttl": 10_000}])
async def test_the_time_limit_of_one_job(plane: PlaneApp, policy: dict[str, Any]) -> None:
    endpoint = await plane.endpoint()
    job = (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}, "policy": policy})).json()
    assert plane.platform.came_with[job["id"]]["policy"].timeout_ms == policy["executionTimeout"]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"ttl": 9999}, "must be 10000 to 604800000 ms"),
        ({"ttl": 604_800_001}, "must be 10000 to 604800000 ms"),
        ({"queueTimeout": 0}, "must be 1 to 604800000 ms"),
        ({"queueTimeout": "1"}, "policy.queueTimeout"),
    ],
)
async def test_times_out_of_bounds(plane: PlaneApp, policy: dict[str, Any], said: str) -> None:
    endpoint = await plane.endpoint()
    body = {"input": {"x": 1}, "policy": policy}
    assert said in refused(await plane.client.post(f"/v2/{endpoint}/run", json=body), 400)
    assert plane.platform.jobs == {}


async def test_how_long_a_job_may_wait_and_live(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    body = {"input": {"x": 1}, "policy": {"ttl": 10_000, "queueTimeout": 5}}
    job = (await plane.client.post(f"/v2/{endpoint}/run", json=body)).json()
    assert plane.platform.came_with[job["id"]]["policy"] == Policy(ttl_ms=10_000, queue_timeout_ms=5)


async def test_one_key_is_one_job(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    headers = {"Idempotency-Key": "k"}
    answers = [await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}}, headers=headers) for _ in "12"]
    assert len({answer.json()["id"] for answer in answers}) == 1
    too_long = {"Idempotency-Key": "k" * 256}
    refused(await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}}, headers=too_long), 400)


async def test_what_is_unknown(plane: PlaneApp) -> None:
    endpoint, other = await plane.endpoint(), await plane.endpoint(name="other")
    job = (await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"x": 1}})).json()["id"]
    cases = [
        ("POST", "/v2/unknown/run", "EndpointNotFound"),
        ("POST", "/v2/serverless/run", "EndpointNotFound"),
        ("GET", f"/v2/unknown/status/{job}", "EndpointNotFound"),
        ("GET", "/v2/unknown/health", "EndpointNotFound"),
        ("GET", f"/v2/{other}/status/{job}", "JobNotFound"),
        ("POST", f"/v2/{endpoint}/cancel/unknown", "JobNotFound"),
    ]
    for method, path, code in cases:
        response = await plane.client.request(method, path, json={"input": {"x": 1}})
        refused(response, 404)
        assert response.json()["code"] == code


async def test_content_that_must_be_uploaded_first(plane: PlaneApp) -> None:
    endpoint = await plane.endpoint()
    plane.platform.missing = {"abc"}
    response = await plane.client.post(f"/v2/{endpoint}/run", json={"input": {"needs": "abc"}})
    assert "upload it and submit again" in refused(response, 422)
    assert response.json()["code"] == "ContentNotFound"
