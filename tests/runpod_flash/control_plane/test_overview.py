"""What there is at a glance, with workers that run commands. The rest is tried at the platform."""

import asyncio

from runpod_flash.control_plane.causes import CauseKind
from tests.support.command_plane import CommandPlane, played
from worker_runtime.wire.jobs import JobStatus

ONE = {"min": 0, "max": 1, "idleTimeout": 60}


@played
async def test_every_state_of_a_worker_is_counted_once(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 4, "max": 4, "idleTimeout": 60})
    running, idle, sick, _ = [await it.worker(number) for number in range(4)]
    takes = [asyncio.ensure_future(it.take(worker)) for worker in (running, idle, sick)]
    await it.plane.turns()
    sick.healthy = False
    record = await it.submit(endpoint)
    await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED)
    assert it.job(record).worker == running.id
    counts = it.plane.platform.health(endpoint)["workers"]
    assert counts == {
        "idle": 1, "initializing": 1, "ready": 1, "running": 1, "throttled": 0, "unhealthy": 1,
    }  # fmt: skip
    states = {worker["id"]: worker["status"] for worker in it.plane.platform.workers(endpoint)}
    assert (states[running.id], states[idle.id]) == ("RUNNING", "IDLE")
    assert sorted(states.values()) == sorted(["RUNNING", "IDLE", states[sick.id], "INITIALIZING"])
    for take in takes:
        take.cancel()
    await asyncio.wait(takes)


@played
async def test_all_is_shown_of_an_endpoint_and_of_its_jobs(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=ONE)
    done, worker = await it.taken(endpoint)
    await it.done(worker, done.id)
    bad = await it.submit(endpoint)
    assert await it.take(worker) == [bad.id]
    it.ping(worker, times=3)
    assert await it.take(worker) == [bad.id]
    await it.done(worker, bad.id, {"error": "bad"})
    running, waiting = await it.submit(endpoint), await it.submit(endpoint)
    assert await it.take(worker) == [running.id]
    (shown,) = it.plane.platform.overview()["endpoints"]
    assert shown["jobs"] == {"completed": 1, "failed": 1, "inProgress": 1, "inQueue": 1, "retried": 1}
    assert shown["workerIds"] == [worker.id]
    assert shown["waiting"]["count"] == 1
    facts = it.plane.platform.facts(waiting.id)
    assert facts["cause"]["kind"] in set(CauseKind)
    assert facts["job"]["status"] == JobStatus.IN_QUEUE
    assert it.plane.platform.facts(done.id)["cause"] is None
    assert it.plane.platform.overview(lambda endpoint: False)["endpoints"] == []


@played
async def test_an_output_that_looks_like_one_of_ours_is_only_an_output(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=ONE)
    for output in ({"flash": {"error": {"kind": "x"}}}, {"flash": {}}, {"flash": {"error": {}}}, "flash", ["flash"]):
        record = await it.submit(endpoint)
        worker = await it.worker()
        assert await it.take(worker) == [record.id]
        await it.done(worker, record.id, {"output": output})
        facts = it.plane.platform.facts(record.id)
        assert (facts["cause"], facts["job"]["output"]) == (None, output)


@played
async def test_an_output_of_any_shape_does_not_break_the_look_at_its_job(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=ONE)
    for output in (None, 1, {"flash": None}, {"flash": 1}, {"flash": {"error": None}}, {"flash": {"error": "bad"}}):
        record = await it.submit(endpoint)
        worker = await it.worker()
        assert await it.take(worker) == [record.id]
        await it.done(worker, record.id, {"output": output, "error": "bad"})
        facts = it.plane.platform.facts(record.id)
        assert (facts["cause"], facts["job"]["status"], facts["job"].get("output")) == (None, "FAILED", output)


@played
async def test_an_endpoint_of_an_app_says_which_and_until_when(it: CommandPlane) -> None:
    await it.endpoint(name="alone", workers=ONE)
    body = it.plane.catalog.list()[0].body
    await it.plane.catalog.create("app:shop/dev", {**body, "name": "deployed"})
    it.plane.platform.look.expires_at = lambda record: 60.0 if record.name == "deployed" else None
    shown = {each["name"]: each for each in it.plane.platform.overview()["endpoints"]}
    found = {name: [each[key] for key in ("app", "stage", "expiresAt")] for name, each in shown.items()}
    assert found == {"alone": [None, None, None], "deployed": ["shop", "dev", "1970-01-01T00:01:00.000Z"]}
