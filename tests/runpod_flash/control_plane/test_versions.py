"""From one version of an endpoint's own code to the next: which workers there are, and which jobs they get."""

import asyncio
from typing import Any

from runpod_flash.control_plane.fleet import Worker, WorkerState
from runpod_flash.control_plane.records import JobRecord
from tests.support.command_plane import CommandPlane, played
from tests.support.memory_fleet import artifact
from worker_runtime.wire import messages, neutral
from worker_runtime.wire.class_names import ClassNames
from worker_runtime.wire.jobs import Call, JobStatus, Payload

NOTHING = Payload.inlined(neutral.encode(((), {}), ClassNames()).data)


def workers(least: int = 0, most: int = 1) -> dict[str, Any]:
    return {"min": least, "max": most, "idleTimeout": 60}


def version(it: CommandPlane, number: int) -> str:
    return artifact(it.plane.artifacts, files={"app.py": f"{number}".encode()})


async def own(it: CommandPlane, shipped: str, **changes: Any) -> str:
    return await it.plane.endpoint(**{"workers": workers(), "artifact": shipped, **changes})


async def change(it: CommandPlane, endpoint: str, **changes: Any) -> None:
    await it.plane.catalog.update(endpoint, lambda body: {**body, **changes})


async def submit(it: CommandPlane, endpoint: str) -> JobRecord:
    return await it.plane.submit(endpoint, Call("", NOTHING))


def runs(it: CommandPlane, record: JobRecord) -> Worker:
    """The worker that runs a job."""
    (found,) = [worker for worker in it.plane.workers() if record.id in worker.running]
    return found


def code_of(it: CommandPlane, record: JobRecord) -> str:
    call = it.plane.job(record).call
    assert call is not None
    return call.artifact


async def started(it: CommandPlane, number: int) -> None:
    await it.plane.until(lambda: len(it.plane.launcher.processes) == number)
    it.plane.connect()


@played
async def test_workers_of_the_old_version_run_its_jobs_and_go_while_the_new_one_starts(it: CommandPlane) -> None:
    one, two = version(it, 1), version(it, 2)
    endpoint = await own(it, one)
    old = [await submit(it, endpoint) for _ in range(2)]
    await started(it, 1)
    await it.plane.until(lambda: it.plane.job(old[0]).record.status is JobStatus.IN_PROGRESS)
    before = runs(it, old[0])
    await change(it, endpoint, artifact=two)
    new = await submit(it, endpoint)
    await started(it, 2)  # beside the other, though workers are limited to 1
    await it.plane.until(lambda: it.plane.job(new).record.status is JobStatus.IN_PROGRESS)
    assert (code_of(it, old[1]), code_of(it, new)) == (one, two)
    assert (before.state, runs(it, new).generation) == (WorkerState.READY, 2)
    it.plane.finish()
    await it.plane.until(lambda: it.plane.job(old[1]).record.status is JobStatus.IN_PROGRESS)
    assert runs(it, old[1]) is before
    await it.plane.until(lambda: before.state is WorkerState.DRAINING)  # it gets nothing any more
    it.plane.finish()
    await it.plane.until(lambda: before.state is WorkerState.GONE)
    assert {it.plane.platform.job(endpoint, job.id).status for job in (*old, new)} == {JobStatus.COMPLETED}
    await it.plane.until(lambda: [pool.code.artifact for pool in it.plane.fleet.of(endpoint) if pool.code] == [two])


@played
async def test_idle_workers_of_the_old_version_go_at_once(it: CommandPlane) -> None:
    endpoint = await own(it, version(it, 1))
    job = await submit(it, endpoint)
    await started(it, 1)
    await it.plane.until(it.plane.finish)
    await it.plane.until(lambda: it.plane.platform.job(endpoint, job.id).status.final)
    (idle,) = it.plane.workers()
    assert idle.state is WorkerState.READY
    await change(it, endpoint, artifact=version(it, 2))
    await it.plane.until(lambda: idle.state is WorkerState.GONE)
    await it.plane.turns()
    assert it.plane.workers() == []


@played
async def test_a_lost_worker_of_the_old_version_is_replaced_for_its_jobs(it: CommandPlane) -> None:
    one, two = version(it, 1), version(it, 2)
    endpoint = await own(it, one)
    old = [await submit(it, endpoint) for _ in range(2)]
    await started(it, 1)
    await it.plane.until(lambda: it.plane.job(old[0]).record.status is JobStatus.IN_PROGRESS)
    await change(it, endpoint, artifact=two)
    it.process().end(-9)
    await started(it, 2)
    await it.plane.until(lambda: it.plane.job(old[0]).record.status is JobStatus.IN_PROGRESS)
    assert it.plane.job(old[0]).record.attempts == 2
    shipped = [frame["id"] for frame in it.process(1).frames if frame["type"] == messages.ARTIFACT]
    assert shipped == [one]
    assert code_of(it, old[0]) == one


@played
async def test_another_setting_of_the_same_version_gets_new_workers_for_its_jobs(it: CommandPlane) -> None:
    endpoint = await own(it, version(it, 1))
    jobs = [await submit(it, endpoint) for _ in range(2)]
    await started(it, 1)
    await it.plane.until(lambda: it.plane.job(jobs[0]).record.status is JobStatus.IN_PROGRESS)
    before = runs(it, jobs[0])
    await change(it, endpoint, env={"A": "1"})
    await it.plane.until(lambda: before.state is WorkerState.DRAINING)
    await started(it, 2)
    await it.plane.until(lambda: it.plane.job(jobs[1]).record.status is JobStatus.IN_PROGRESS)
    assert runs(it, jobs[1]) is not before
    it.plane.finish()
    await it.plane.until(lambda: before.state is WorkerState.GONE)


@played
async def test_going_back_is_another_change(it: CommandPlane) -> None:
    one, two = version(it, 1), version(it, 2)
    endpoint = await own(it, one, workers=workers(most=2))
    first = await submit(it, endpoint)
    await started(it, 1)
    await it.plane.until(lambda: it.plane.job(first).record.status is JobStatus.IN_PROGRESS)
    await change(it, endpoint, artifact=two)
    second = await submit(it, endpoint)
    await started(it, 2)
    await it.plane.until(lambda: it.plane.job(second).record.status is JobStatus.IN_PROGRESS)
    await change(it, endpoint, artifact=one)
    third = await submit(it, endpoint)
    assert [code_of(it, job) for job in (first, second, third)] == [one, two, one]
    await started(it, 3)  # the settings may have been others meanwhile
    await it.plane.until(lambda: it.plane.job(third).record.status is JobStatus.IN_PROGRESS)
    it.plane.finish()
    await it.plane.until(lambda: len(it.plane.workers()) == 1)
    assert [worker.generation for worker in it.plane.workers()] == [3]


@played
async def test_a_minimum_of_workers_is_there_before_any_job_and_follows_the_version(it: CommandPlane) -> None:
    endpoint = await own(it, version(it, 1), workers=workers(1, 1))
    await started(it, 1)
    await change(it, endpoint, artifact=version(it, 2))
    await started(it, 2)
    await it.plane.until(lambda: it.process().code.done())
    await it.plane.until(lambda: [worker.generation for worker in it.plane.workers()] == [2])
    assert await it.plane.platform.intake.replay() == 0


@played
async def test_workers_load_no_pickles(it: CommandPlane) -> None:
    endpoint = await own(it, version(it, 1))
    foreign = await it.plane.endpoint(workers=workers())
    await asyncio.gather(submit(it, endpoint), it.plane.submit(foreign))
    await it.plane.until(lambda: len(it.plane.launcher.processes) == 2)
    launches = {process.launch.endpoint: process.launch for process in it.plane.launcher.processes}
    assert (launches[endpoint].pickles, launches[foreign].pickles) == (False, True)
    assert launches[endpoint].port == 0
