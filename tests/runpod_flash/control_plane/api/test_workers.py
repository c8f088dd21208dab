"""The worker protocol over HTTP: who may speak it, and its answers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from runpod_flash.control_plane.api.workers import BATCH_LIMIT, _names_jobs
from runpod_flash.control_plane.fleet import Worker, WorkerState
from tests.support.command_plane import QUICK, CommandPlane, command_plane, held
from tests.support.plane_app import served_app
from worker_runtime.wire.jobs import JobStatus

pytestmark = pytest.mark.anyio

ONE = {"min": 1, "max": 1, "idleTimeout": 60}
SHORT = held(take_hold_s=0.05)


@pytest.fixture
async def it(tmp_path: Path, anyio_backend: str) -> AsyncIterator[CommandPlane]:
    async with command_plane(tmp_path, limits=SHORT) as plane:
        yield plane


def paths(endpoint: str, worker: str, job: str = "job") -> list[tuple[str, str]]:
    """Every request of the protocol."""
    base = f"/v2/{endpoint}"
    return [
        ("GET", f"{base}/job-take/{worker}?gpu=cpu&job_in_progress=0"),
        ("GET", f"{base}/job-take-batch/{worker}?gpu=cpu&batch_size=2&job_in_progress=0"),
        ("GET", f"{base}/job-stop/{worker}?gpu=cpu"),
        ("POST", f"{base}/job-done/{worker}/{job}?gpu=cpu&isStream=false"),
        ("POST", f"{base}/job-stream/{worker}/{job}?gpu=cpu&isStream=false"),
        ("GET", f"{base}/ping/{worker}?runpod_version=1.12.0"),
    ]


async def all_refused(http: httpx.AsyncClient, endpoint: str, worker: str, job: str = "job") -> None:
    for method, path in paths(endpoint, worker, job):
        answer = await http.request(method, path, json={"output": "stolen"} if method == "POST" else None)
        assert answer.status_code == 403, f"{path}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"


async def test_only_the_worker_itself_may_speak_for_it(it: CommandPlane) -> None:
    endpoint, other = await it.endpoint(workers=ONE), await it.endpoint(workers=ONE)
    first, second = await it.worker(), await it.worker(1)
    own, others = sorted((first, second), key=lambda worker: worker.pool.key.endpoint != endpoint)
    record = await it.submit(endpoint)
    assert await it.take(own) == [record.id]
    async with it.http(others) as stranger, it.http(own) as itself:
        await all_refused(stranger, endpoint, own.id, record.id)  # the key of another worker
        await all_refused(it.client, endpoint, own.id, record.id)  # a user's, even the owner's
        await all_refused(itself, other, own.id, record.id)  # an endpoint that is not its own
        await all_refused(itself, "unknown", own.id, record.id)
        await all_refused(itself, endpoint, "w-unknown", record.id)
        await all_refused(itself, endpoint, others.id, record.id)
        assert it.job(record).status is JobStatus.IN_PROGRESS
        for method, path in paths(endpoint, own.id, record.id):
            answer = await itself.request(method, path, json={"output": 1} if method == "POST" else None)
            assert answer.status_code in (200, 204), f"{path}: {answer.text}"
    assert it.job(record).output == 1


async def test_without_a_key_nothing_is_said(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=ONE)
    worker = await it.worker()
    for key in ("", "Bearer", "wrong"):
        for method, path in paths(endpoint, worker.id):
            answer = await it.client.request(method, path, headers={"Authorization": key})
            assert answer.status_code == 401


async def test_workers_of_other_kinds_do_not_speak_it(it: CommandPlane) -> None:
    """What the SDK ships must not answer its own jobs, and who answers requests must be healthy to be ready."""
    own = await it.plane.endpoint()
    await it.plane.submit(own)
    await it.worker()
    balanced = await it.endpoint(type="LOAD_BALANCER", workers=ONE)
    await it.worker(1)
    for worker in it.plane.workers():
        endpoint = worker.pool.key.endpoint
        async with it.http(worker) as http:
            await all_refused(http, endpoint, worker.id)
        assert worker.state is WorkerState.STARTING
    assert {worker.pool.key.endpoint for worker in it.plane.workers()} == {own, balanced}


async def one(it: CommandPlane) -> tuple[str, Worker, httpx.AsyncClient]:
    endpoint = await it.endpoint(workers=ONE)
    worker = await it.worker()
    return endpoint, worker, it.http(worker)


async def test_take_batch_stop_ping_and_done_as_published(it: CommandPlane) -> None:
    endpoint, worker, http = await one(it)
    async with http:
        take, batch, stop, *_ = (path for _, path in paths(endpoint, worker.id))
        empty = [await http.get(path) for path in (take, batch, stop)]
        assert [(answer.status_code, answer.content) for answer in empty] == [(204, b"")] * 3
        records = [await it.submit(endpoint) for _ in range(4)]
        single = (await http.get(take)).json()
        assert single == {"id": records[0].id, "input": records[0].input}
        several = (await http.get(batch)).json()
        assert [job["id"] for job in several] == [record.id for record in records[1:3]]
        await it.plane.platform.cancel(endpoint, single["id"])
        assert (await http.get(stop)).json() == {"jobsToStop": [single["id"]]}
        assert (await http.get(stop)).status_code == 204
        named = ",".join(job["id"] for job in several)
        for _ in range(QUICK.silent_pings + 1):
            answer = await http.get(f"/v2/{endpoint}/ping/{worker.id}?job_id={named}&runpod_version=1.12.0")
            assert answer.status_code == 200
        assert [it.job(record).status for record in records[1:3]] == [JobStatus.IN_PROGRESS] * 2
        assert single["id"] not in worker.running
        done = f"/v2/{endpoint}/job-done/{worker.id}/{several[0]['id']}?isStream=false"
        as_sent = {"Content-Type": "application/x-www-form-urlencoded", "charset": "utf-8"}
        answer = await http.post(done, content=b'{"output": {"n": 1}}', headers=as_sent)
        assert answer.status_code == 200
        assert it.job(records[1]).output == {"n": 1}


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "x", "", str(BATCH_LIMIT + 1), "000000001999", "٣", "9" * 5000])
async def test_sizes_of_batches_out_of_bounds(it: CommandPlane, size: str) -> None:
    endpoint, worker, http = await one(it)
    async with http:
        answer = await http.get(f"/v2/{endpoint}/job-take-batch/{worker.id}", params={"batch_size": size})
        assert answer.status_code == 400
        assert f"it must be 1 to {BATCH_LIMIT}" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'{"output": NaN}', b"[" * 100_000, b"\xff"])
async def test_bodies_that_are_no_answer_change_nothing(it: CommandPlane, body: bytes) -> None:
    endpoint, worker, http = await one(it)
    record = await it.submit(endpoint)
    assert await it.take(worker) == [record.id]
    async with http:
        for kind in ("job-done", "job-stream"):
            answer = await http.post(f"/v2/{endpoint}/{kind}/{worker.id}/{record.id}", content=body)
            assert answer.status_code == 400
        assert (await http.post(f"/v2/{endpoint}/job-stream/{worker.id}/{record.id}", json={})).status_code == 400
    assert it.job(record).status is JobStatus.IN_PROGRESS


async def test_pings_of_a_sick_worker(it: CommandPlane) -> None:
    endpoint, worker, http = await one(it)
    async with http:
        sick = {"status": "unhealthy", "check": "gpu_test", "reason": "no CUDA" * 200, "runpod_version": "1.12.0"}
        assert (await http.get(f"/v2/{endpoint}/ping/{worker.id}", params=sick)).status_code == 200
    assert not worker.healthy


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("1.12.0", True), ("1.10.0", True), ("2.0", True), ("1.9.1", False), ("1.7.9", False), ("1.6.0.dev1", False),
        ("0.9", False), ("", False), ("dev", False), ("1", False), ("1.²", False), ("1..10", False),
    ],
)  # fmt: skip
def test_which_packages_name_all_jobs(version: str, names: bool) -> None:
    assert _names_jobs(version) is names


@pytest.mark.parametrize("version", ["1.9.1", "", "1.²", "x" * 3000])
async def test_jobs_of_old_packages_are_not_lost(it: CommandPlane, version: str) -> None:
    endpoint, worker, http = await one(it)
    record = await it.submit(endpoint)
    assert await it.take(worker) == [record.id]
    async with http:
        for _ in range(3 * QUICK.silent_pings):
            answer = await http.get(f"/v2/{endpoint}/ping/{worker.id}", params={"runpod_version": version})
            assert answer.status_code == 200
    assert it.job(record).status is JobStatus.IN_PROGRESS


async def test_a_worker_that_breaks_its_connection_off_gets_nothing(tmp_path: Path, anyio_backend: str) -> None:
    async with command_plane(tmp_path) as it, served_app(it.app, it.hub) as client:
        endpoint, worker, http = await one(it)
        await http.aclose()
        (_, path), *_ = paths(endpoint, worker.id)
        key = {"Authorization": worker.key}
        taking = asyncio.ensure_future(client.get(path, headers=key))
        await it.plane.until(lambda: worker.offers == 1)
        taking.cancel()
        await it.plane.until(lambda: worker.offers == 0)
        record = await it.submit(endpoint)
        await it.plane.turns()
        assert it.job(record).status is JobStatus.IN_QUEUE
        assert (await client.get(path, headers=key)).json()["id"] == record.id
        assert it.job(record).retries == 0
