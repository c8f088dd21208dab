"""How jobs come in, come back after a restart, and are tried once more. What the SDK sends is tried at the platform."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from runpod_flash.control_plane import intake as intake_module
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.webhook_table import WebhookTable
from runpod_flash.errors import EndpointNotFound, JobNotFound
from tests.support.command_plane import CommandPlane, command_plane, played, played_with
from tests.support.receiver import receiver
from tests.support.small_plane import BODY
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus

WORKERS = {"min": 0, "max": 1, "idleTimeout": 60}
NOBODY = {"min": 0, "max": 0, "idleTimeout": 60}
TOO_MANY_GPUS = {"pools": ["AMPERE_24"], "count": 8, "excludedTypes": []}


# ---- what a job is


@played
async def test_a_job_of_a_command_takes_any_object_and_the_terms_of_its_endpoint(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=NOBODY, timeout=600_000)
    as_it_is = await it.submit(endpoint, {"any": ["thing", None]}, sync=True)
    own = await it.submit(endpoint, timeout_ms=7000, ttl_ms=20_000, low_priority=True)
    first, second = it.job(as_it_is), it.job(own)
    assert first.input == {"any": ["thing", None]}
    assert (first.timeout_ms, first.ttl_ms, first.queue_timeout_ms, first.keep_s) == (600_000, 86_400_000, 0, 60)
    assert (second.timeout_ms, second.ttl_ms, second.low_priority, second.keep_s) == (7000, 20_000, True, 1800)


@played
async def test_an_endpoint_that_is_made_without_timeout_gives_its_jobs_ten_minutes(it: CommandPlane) -> None:
    body = {name: value for name, value in BODY.items() if name not in ("timeout", "image")}
    body = {**body, "command": "serve", "workers": {"min": 0, "max": 0}, "cpu": [{"id": "cpu3c", "vcpuCount": 1}]}
    made = await it.client.post("/v2/serverless", json=body)
    assert made.status_code == 201, made.text
    record = await it.submit(made.json()["id"])
    assert it.job(record).timeout_ms == 600_000


@played
async def test_a_load_balanced_endpoint_takes_no_jobs(it: CommandPlane) -> None:
    endpoint = await it.endpoint(type="LOAD_BALANCER", workers=NOBODY)
    with pytest.raises(Problem, match="not allowed for LB API"):
        await it.submit(endpoint)


@played
async def test_the_same_key_is_the_same_job(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=NOBODY)
    headers = {"Idempotency-Key": "k"}
    asks = [it.client.post(f"/v2/{endpoint}/run", json={"input": {"n": n}}, headers=headers) for n in range(3)]
    answers = [answer.json() for answer in await asyncio.gather(*asks)]
    assert len({answer["id"] for answer in answers}) == 1


# ---- secrets


@played
async def test_secrets_are_in_no_answer(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    secret = {"accessId": "AKIA-hidden", "accessSecret": "hidden-too", "bucketName": "hidden-bucket"}
    async with receiver() as hooks:
        body = {"input": {"x": 1}, "s3Config": secret, "webhook": hooks.url("/hook")}
        said = [await it.client.post(f"/v2/{endpoint}/run", json=body)]
        job = said[0].json()["id"]
        worker = await it.worker()
        (given,) = await it.commands.desk.take(worker, 1, busy=False)
        assert given["s3Config"] == secret
        sending = asyncio.ensure_future(it.webhooks.run())
        await it.done(worker, job, {"error": "bad"})
        for path in (f"status/{job}", "requests", f"stream/{job}", "health", "metrics"):
            said.append(await it.client.get(f"/v2/{endpoint}/{path}"))
        said.append(await it.client.get(f"/flash/v1/jobs/{job}"))
        said.append(await it.client.get("/flash/v1/status"))
        async with asyncio.timeout(20):
            while not hooks.got:
                await asyncio.sleep(0.01)
        sending.cancel()
        await asyncio.wait([sending])
    assert all(answer.status_code == 200 for answer in said), [answer.text for answer in said]
    assert not any("hidden" in answer.text for answer in said)
    assert "hidden" not in str(hooks.got)
    assert "hidden" not in repr(it.plane.platform.job(endpoint, job))


@played
async def test_without_a_way_to_keep_secrets_they_are_refused(it: CommandPlane) -> None:
    it.plane.platform.intake.seal = intake_module._no_seal
    endpoint = await it.endpoint(workers=NOBODY)
    with pytest.raises(Problem, match="cannot keep 's3Config' secret"):
        await it.submit(endpoint, s3_config={"accessId": "x"})
    assert it.plane.platform.requests(endpoint, 10) == []


# ---- ends that somebody waits for


@played_with(gpus="NVIDIA L4:24")
async def test_a_job_that_is_refused_at_once_wakes_its_webhook_and_its_stream(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS, gpu=TOO_MANY_GPUS)
    it.webhooks._ended.clear()
    record = await it.submit(endpoint, webhook="http://127.0.0.1:1/hook")
    ended = it.job(record)
    assert (ended.status, ended.output) == (JobStatus.FAILED, None)
    assert ended.error
    assert it.webhooks._ended == {record.id}
    assert WebhookTable(it.plane.store).waiting() == [record.id]


@played
async def test_every_end_wakes_its_webhook(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    records = [await it.submit(endpoint, webhook="http://127.0.0.1:1/hook") for _ in range(5)]
    worker = await it.worker()
    await it.take(worker, 3)
    await it.done(worker, records[0].id, {"output": 1})
    await it.done(worker, records[1].id, {"error": "bad"})
    timed_out = it.plane.job(records[2])
    it.plane.dispatcher.end(timed_out, ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", "too long"))
    await it.plane.platform.cancel(endpoint, records[3].id)
    assert await it.plane.platform.purge(endpoint) == 1
    await timed_out.done
    await it.plane.turns()
    assert it.webhooks._ended == {record.id for record in records}
    assert sorted(WebhookTable(it.plane.store).waiting()) == sorted(record.id for record in records)


# ---- once more


@played
async def test_a_failed_job_is_tried_again_with_its_id_and_input(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint, webhook="http://127.0.0.1:1/hook", s3_config={"accessId": "x"})
    await it.done(worker, record.id, {"error": "bad", "output": {"partial": 1}})
    failed = it.job(record)
    await it.plane.store.write(("UPDATE webhooks SET due_at = NULL, attempts = 1", []))  # it was told
    again = await it.client.post(f"/v2/{endpoint}/retry/{record.id}")
    assert (again.status_code, again.json()) == (200, {"id": record.id, "status": "IN_QUEUE"})
    seen = it.job(record)
    assert (seen.input, seen.output, seen.error, seen.finished_at) == (record.input, None, None, None)
    assert seen.created_at >= failed.created_at
    (given,) = await it.commands.desk.take(worker, 1, busy=False)
    assert (given["id"], given["input"], given["s3Config"]) == (record.id, record.input, {"accessId": "x"})
    await it.done(worker, record.id, {"output": "good"})
    ended = it.job(record)
    assert (ended.status, ended.output, ended.error, ended.attempts) == (JobStatus.COMPLETED, "good", None, 2)
    assert WebhookTable(it.plane.store).waiting() == [record.id]  # and is told once more
    counts = it.plane.platform.health(endpoint)["jobs"]
    assert (counts["completed"], counts["failed"]) == (1, 1)


@played
async def test_a_job_that_timed_out_is_tried_again(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=NOBODY)
    record = await it.submit(endpoint, ttl_ms=20)
    assert (await it.plane.platform.wait(record.id, 5)).status is JobStatus.TIMED_OUT
    again = await it.plane.platform.retry(endpoint, record.id)
    assert again.status is JobStatus.IN_QUEUE


@played
async def test_others_are_not_tried_again(it: CommandPlane) -> None:
    endpoint, other = await it.endpoint(workers=WORKERS), await it.endpoint(workers=NOBODY)
    completed, worker = await it.taken(endpoint)
    await it.done(worker, completed.id)
    cancelled, queued = await it.submit(endpoint), await it.submit(other)
    await it.plane.platform.cancel(endpoint, cancelled.id)
    running = await it.submit(endpoint)
    assert await it.take(worker) == [running.id]
    for record in (completed, cancelled, queued, running):
        before = it.job(record)
        answer = await it.client.post(f"/v2/{record.endpoint}/retry/{record.id}")
        assert answer.status_code == 400, answer.text
        assert "only FAILED and TIMED_OUT ones can be retried" in answer.json()["detail"]
        assert it.job(record) == before
    with pytest.raises(JobNotFound):
        await it.plane.platform.retry(other, completed.id)


@played
async def test_two_who_retry_at_once_make_one_more_attempt(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    await it.done(worker, record.id, {"error": "bad"})
    tries = [it.client.post(f"/v2/{endpoint}/retry/{record.id}") for _ in range(3)]
    answers = await asyncio.gather(*tries)
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]
    assert await it.take(worker, 3) == [record.id]
    await it.done(worker, record.id)
    assert it.plane.dispatcher.active == 0


@played
async def test_a_job_that_got_lost_twice_may_get_lost_again_after_a_retry(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=WORKERS)
    record, worker = await it.taken(endpoint)
    it.ping(worker, times=3)
    assert await it.take(worker) == [record.id]
    it.ping(worker, times=3)
    assert (await it.plane.platform.wait(record.id, 5)).retries == 1
    await it.plane.platform.retry(endpoint, record.id)
    stored = it.plane.store.job(record.id)
    assert stored is not None
    assert stored.retries == 0
    assert await it.take(worker) == [record.id]
    it.ping(worker, times=3)
    assert it.job(record).status is JobStatus.IN_QUEUE


# ---- purge


@played
async def test_purge_ends_what_waits_and_nothing_else(it: CommandPlane) -> None:
    endpoint, other = await it.endpoint(workers=WORKERS), await it.endpoint(workers=NOBODY)
    running, worker = await it.taken(endpoint)
    waiting = [await it.submit(endpoint) for _ in range(3)]
    elsewhere = await it.submit(other)
    answer = await it.client.post(f"/v2/{endpoint}/purge-queue")
    assert answer.json() == {"removed": 3, "status": "completed"}
    assert [it.job(record).status for record in waiting] == [JobStatus.CANCELLED] * 3
    assert it.job(running).status is JobStatus.IN_PROGRESS
    assert it.job(elsewhere).status is JobStatus.IN_QUEUE
    await it.done(worker, running.id)
    assert it.job(running).status is JobStatus.COMPLETED
    assert await it.plane.platform.purge(endpoint) == 0


# ---- after a restart


def copied(source: Path, target: Path) -> Path:
    """The state as a control plane leaves it that is killed now."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm", "work"))
    return target


def test_what_waits_and_what_runs_goes_on_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()

    async def before(it: CommandPlane) -> dict[str, str]:
        endpoint = await it.endpoint(workers=WORKERS)
        running, worker = await it.taken(endpoint, s3_config={"accessId": "x"})
        await it.commands.answers.yielded(worker, running.id, "of the first attempt")
        await it.done(worker, running.id, {"status": "IN_PROGRESS", "output": "half"})
        retried, waiting = await it.submit(endpoint), await it.submit(endpoint)
        assert await it.take(worker, busy=True) == [retried.id]
        await it.done(worker, retried.id, {"error": "bad"})
        await it.plane.platform.retry(endpoint, retried.id)
        copied(tmp_path / "first", tmp_path / "second")
        return {"running": running.id, "waiting": waiting.id, "retried": retried.id, "worker": worker.id,
                "key": worker.key, "endpoint": endpoint}  # fmt: skip

    async def after(it: CommandPlane, had: dict[str, str]) -> None:
        endpoint = had["endpoint"]
        assert await it.plane.platform.replay() == 3
        it.plane.autoscaler.begin()
        late = {"Authorization": had["key"]}
        url = f"/v2/{endpoint}/job-done/{had['worker']}/{had['running']}"
        answer = await it.client.post(url, json={"output": "late"}, headers=late)
        assert answer.status_code == 401  # it is no worker of this control plane
        new = await it.worker()
        async with it.http(new) as http:
            assert (await http.post(url, json={"output": "late"})).status_code == 403
        jobs = await it.commands.desk.take(new, 5, busy=False)
        assert {job["id"] for job in jobs} == {had["running"], had["waiting"], had["retried"]}
        assert next(job for job in jobs if job["id"] == had["running"])["s3Config"] == {"accessId": "x"}
        await it.commands.answers.yielded(new, had["running"], "of the second")
        for job in jobs:
            await it.done(new, job["id"], {"output": job["id"]})
            ended = it.plane.platform.job(endpoint, job["id"])
            assert (ended.status, ended.output, ended.retries) == (JobStatus.COMPLETED, job["id"], 0)
        assert await it.plane.platform.chunks.drain(had["running"]) == (["of the second"], False)

    async def both() -> None:
        async with command_plane(tmp_path / "first") as it, asyncio.timeout(20):
            had = await before(it)
        async with command_plane(tmp_path / "second") as it, asyncio.timeout(20):
            await after(it, had)

    asyncio.run(both())


def test_a_job_that_failed_before_a_restart_is_tried_again_after_it(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()

    async def both() -> None:
        async with command_plane(tmp_path / "first") as it, asyncio.timeout(20):
            endpoint = await it.endpoint(workers=WORKERS)
            record, worker = await it.taken(endpoint)
            await it.done(worker, record.id, {"error": "bad"})
            copied(tmp_path / "first", tmp_path / "second")
        async with command_plane(tmp_path / "second") as it, asyncio.timeout(20):
            assert await it.plane.platform.replay() == 0
            await it.plane.platform.retry(endpoint, record.id)
            worker = await it.worker()
            (job,) = await it.commands.desk.take(worker, 1, busy=False)
            assert (job["id"], job["input"]) == (record.id, record.input)
            copied(tmp_path / "second", tmp_path / "third")
        async with command_plane(tmp_path / "third") as it, asyncio.timeout(20):
            assert await it.plane.platform.replay() == 1
            worker = await it.worker()
            assert await it.take(worker) == [record.id]
            await it.done(worker, record.id)
            assert it.job(record).status is JobStatus.COMPLETED

    asyncio.run(both())


def test_a_job_whose_endpoint_is_gone_fails_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()

    async def both() -> None:
        async with command_plane(tmp_path / "first") as it, asyncio.timeout(20):
            endpoint = await it.endpoint(workers=NOBODY)
            record = await it.submit(endpoint)
            await it.plane.store.write(("DELETE FROM endpoints", []))
            copied(tmp_path / "first", tmp_path / "second")
        async with command_plane(tmp_path / "second") as it, asyncio.timeout(20):
            await it.plane.platform.replay()
            stored = it.plane.store.job(record.id)
            assert stored is not None
            assert stored.status is JobStatus.FAILED
            assert "cannot go on after a restart" in str(stored.error)
            assert it.plane.dispatcher.active == 0
            with pytest.raises(EndpointNotFound):
                it.plane.platform.job(endpoint, record.id)

    asyncio.run(both())


def test_the_database_file_tells_nobody_a_secret(tmp_path: Path) -> None:
    (tmp_path / "plane").mkdir()

    async def play() -> None:
        async with command_plane(tmp_path / "plane") as it, asyncio.timeout(20):
            endpoint = await it.endpoint(workers=WORKERS)
            record, worker = await it.taken(endpoint, s3_config={"accessId": "open-sesame", "x": "y" * 50})
            await it.done(worker, record.id, {"error": "bad"})
            await it.plane.platform.retry(endpoint, record.id)

    asyncio.run(play())
    files = [path for path in (tmp_path / "plane").rglob("*") if path.is_file()]
    assert {"flash.db", "seal"} <= {path.name for path in files}
    assert not any(b"open-sesame" in path.read_bytes() or b"yyyyy" in path.read_bytes() for path in files)
    assert os.stat(tmp_path / "plane" / "seal").st_mode & 0o077 == 0
