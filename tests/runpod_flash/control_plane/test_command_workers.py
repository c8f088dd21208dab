"""Workers of commands from their start to their end."""

import asyncio

import pytest

from runpod_flash.control_plane import crashes
from runpod_flash.control_plane.fleet import WorkerState
from tests.support.command_plane import CommandPlane, played, played_with
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import JobStatus

ONE = {"min": 0, "max": 1, "idleTimeout": 60}


@played
async def test_from_the_first_job_to_the_idle_end(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={**ONE, "idleTimeout": 0.1})
    record = await it.submit(endpoint)
    worker = await it.worker()
    assert worker.state is WorkerState.STARTING
    assert it.process().frames == [{"type": messages.WELCOME}]  # no artifact, no call
    assert await it.take(worker) == [record.id]
    assert worker.state is WorkerState.READY
    await it.done(worker, record.id)
    await it.plane.until(lambda: it.process().code.done())
    assert it.process().frames[-1] == {"type": messages.DRAIN}
    assert it.plane.environments.builds == 0
    await it.plane.until(lambda: it.commands.find(worker.id) is None)


@played
async def test_a_command_that_ends_at_once_fails_its_jobs_after_some_tries(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=ONE)
    it.plane.launcher.dead = True
    records = [await it.submit(endpoint) for _ in range(2)]
    for record in records:
        ended = await it.plane.platform.wait(record.id, 15)
        assert (ended.status, ended.output) == (JobStatus.FAILED, None)
        assert f"{crashes.STARTS} times in a row" in str(ended.error)
        assert "ended with 5" in str(ended.error)


def test_a_command_that_never_asks_is_given_up(tmp_path: pytest.TempPathFactory) -> None:
    async def rule(it: CommandPlane) -> None:
        await it.endpoint(workers={**ONE, "min": 1})
        worker = await it.worker()
        await it.plane.until(lambda: worker.state is WorkerState.GONE)
        assert worker.pool.crashes.starts == 1

    played(rule, init_s=0.1)(tmp_path)  # type: ignore[arg-type]


@played_with(init_s=0.1)
async def test_a_command_that_asks_in_time_lives_on(it: CommandPlane) -> None:
    await it.endpoint(workers={**ONE, "min": 1})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.take(worker))
    await asyncio.sleep(0.3)  # longer than it may take to start
    assert worker.state is WorkerState.READY
    taking.cancel()
    await asyncio.wait([taking])


@played
async def test_a_change_of_the_endpoint_replaces_its_workers(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={**ONE, "max": 2})
    running, old = await it.taken(endpoint)
    await it.plane.catalog.update(endpoint, lambda body: {**body, "env": {"A": "2"}})
    assert old.state is WorkerState.DRAINING
    waiting = await it.submit(endpoint)
    new = await it.worker(1)
    assert it.process(1).launch.env["A"] == "2"
    assert await it.take(new) == [waiting.id]
    assert not it.process().code.done()
    await it.done(old, running.id)
    await it.plane.until(lambda: it.process().code.done())
    assert it.job(running).retries == 0


@played
async def test_a_deleted_endpoint_ends_its_workers_and_jobs(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers=ONE)
    running, worker = await it.taken(endpoint)
    waiting = await it.submit(endpoint)
    ends = [it.plane.job(record).done for record in (running, waiting)]
    asks = (it.take(worker, busy=True), it.commands.desk.stops(worker))
    open_ones = [asyncio.ensure_future(ask) for ask in asks]
    await it.plane.turns()
    assert (await it.client.delete(f"/v2/serverless/{endpoint}")).status_code in (200, 204)
    assert [(await end).status for end in ends] == [JobStatus.CANCELLED] * 2
    await asyncio.wait_for(asyncio.gather(*open_ones), 4)
    await it.plane.until(lambda: it.process().code.done())
    await it.plane.until(lambda: it.plane.fleet.of(endpoint) == [])
    assert it.plane.dispatcher.active == 0
