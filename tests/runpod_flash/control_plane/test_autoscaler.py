"""The loop around scaling, over workers that the test plays."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from runpod_flash.control_plane import crashes
from runpod_flash.control_plane.autoscaler import FULL_S, IDLE_STRANGERS, PACE_S
from runpod_flash.control_plane.environments import Environment, InstallFailed
from runpod_flash.control_plane.fleet import WorkerState
from runpod_flash.control_plane.records import Policy
from tests.support.memory_fleet import artifact
from tests.support.small_plane import BODY, SmallPlane, changed, small_plane
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind, JobStatus, read_output

L4 = "NVIDIA L4:24"
GPU = {"pools": ["AMPERE_24"], "count": 1, "excludedTypes": []}

Test: TypeAlias = Callable[[SmallPlane], Coroutine[Any, Any, None]]


def played(test: Test, gpus: str = "") -> Callable[[Path], None]:
    """Run an async test with a plane of its own."""

    async def with_plane(folder: Path) -> None:
        async with small_plane(folder, gpus=gpus) as plane, asyncio.timeout(20):
            await test(plane)

    def run(tmp_path: Path) -> None:
        asyncio.run(with_plane(tmp_path))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def with_gpus(gpus: str) -> Callable[[Test], Callable[[Path], None]]:
    return lambda test: played(test, gpus)


def workers(least: int, most: int, idle_timeout: float = 60) -> dict[str, Any]:
    return {"min": least, "max": most, "idleTimeout": idle_timeout}


@played
async def test_workers_come_with_the_need_up_to_the_maximum(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(0, 3))
    await plane.submit(endpoint)
    await plane.until(lambda: len(plane.launcher.alive) == 1)
    for _ in range(5):
        await plane.submit(endpoint)
    await plane.until(lambda: len(plane.launcher.alive) == 3)
    await plane.turns()
    assert len(plane.launcher.processes) == 3
    assert plane.environments.builds == 1


@played
async def test_one_worker_is_enough_for_as_many_calls_as_it_has_slots(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    wide = plane.call(artifact(plane.artifacts, concurrency=4))
    for _ in range(5):
        await plane.submit(endpoint, wide)
    await plane.until(lambda: len(plane.launcher.alive) == 2)
    plane.connect()
    await plane.until(lambda: sorted(len(process.calls) for process in plane.launcher.alive) == [1, 4])


@played
async def test_idle_workers_end_after_their_timeout_and_the_minimum_stays(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(1, 3, 0.05))
    await plane.serve(endpoint, 3)
    await plane.until(lambda: len(plane.launcher.alive) == 1)
    with pytest.raises(TimeoutError):
        await plane.until(lambda: len(plane.launcher.alive) != 1, 0.3)


@played
async def test_a_worker_is_added_for_each_job_that_has_waited_for_the_queue_delay(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(scaling={"type": "QUEUE_DELAY", "queueDelay": 0.1})
    for _ in range(3):
        await plane.submit(endpoint)
    await plane.until(lambda: len(plane.launcher.alive) == 1)
    plane.connect()
    await plane.turns()
    assert len(plane.launcher.alive) == 1
    await plane.until(lambda: len(plane.launcher.alive) == 3)


@played
async def test_a_change_that_rolls_lets_what_runs_finish_on_old_workers(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(0, 2))
    first, second = await plane.submit(endpoint), await plane.submit(endpoint)
    await plane.until(lambda: len(plane.launcher.alive) == 2)
    old = list(plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: all(process.calls for process in old))
    await plane.catalog.update(endpoint, lambda body: changed(body, env={"A": "2"}))
    waiting = await plane.submit(endpoint)
    await plane.until(lambda: len(plane.launcher.alive) == 3)
    new = plane.launcher.alive[-1]
    plane.connect()
    await plane.until(lambda: waiting.id in new.calls)
    assert new.launch.env["A"] == "2"
    assert [process.code.done() for process in old] == [False, False]
    plane.finish()
    await plane.until(lambda: all(process.code.done() for process in old))
    for job in (first, second):
        assert (await plane.platform.wait(job.id, 5)).status is JobStatus.COMPLETED


@played
async def test_a_changed_maximum_ends_idle_workers_above_it(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(0, 3))
    await plane.serve(endpoint, 3)
    assert len(plane.launcher.alive) == 3
    await plane.catalog.update(endpoint, lambda body: changed(body, workers=workers(0, 1)))
    await plane.until(lambda: len(plane.launcher.alive) == 1)


@played
async def test_a_failing_environment_is_tried_once_for_each_job_minimum_or_not(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(1, 2))
    plane.environments.failure = InstallFailed("no such package")
    for number in (1, 2):
        record = await plane.submit(endpoint)
        await plane.until(lambda record=record: plane.platform.job(endpoint, record.id).status.final)  # type: ignore[misc]
        await plane.turns(200)
        assert plane.environments.builds == number


@played
async def test_starts_that_fail_again_and_again_fail_the_jobs_and_stop(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(1, 1))
    plane.launcher.dead = True
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
    error = read_output(plane.platform.job(endpoint, record.id).output)
    assert isinstance(error, ErrorInfo)
    assert (error.kind, f"{crashes.STARTS} times in a row" in error.message) == (ErrorKind.WORKER_LOST, True)
    assert "ended with 5" in error.message
    await plane.turns(200)
    assert len(plane.launcher.processes) == crashes.STARTS
    plane.launcher.dead = False
    await plane.serve(endpoint)


@played
async def test_a_launcher_that_cannot_start_is_told_as_it_is(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    plane.launcher.broken = True
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
    assert "No such file" in str(plane.platform.job(endpoint, record.id).error)


@played
async def test_cancelling_the_last_job_ends_the_build_and_the_next_job_begins_another(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    plane.environments.gate = asyncio.Event()
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.environments.builds == 1)
    await plane.platform.cancel(endpoint, record.id)
    await plane.until(lambda: plane.environments.abandoned == 1)
    again = await plane.submit(endpoint)
    await plane.until(lambda: plane.environments.builds == 2)
    plane.dispatcher.cancel(plane.job(again))
    last = await plane.submit(endpoint)  # before the build knows that it was given up
    await plane.until(lambda: plane.environments.builds >= 2)
    plane.environments.gate.set()
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    await plane.until(lambda: last.id in plane.launcher.alive[0].calls)


@played
async def test_an_environment_that_has_gone_is_built_anew(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(0, 2, 60))
    await plane.serve(endpoint)
    (pool,) = plane.fleet.of(endpoint)
    pool.environment = Environment("environment", "/nowhere/python")
    for _ in range(2):  # one for the worker that lives, one for another
        await plane.submit(endpoint)
    await plane.until(lambda: plane.environments.builds == 2)


@played
async def test_an_endpoint_without_workers_says_why_its_jobs_wait(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(0, 0))
    await plane.submit(endpoint)
    await plane.until(lambda: plane.events.of("stage"))
    await plane.turns()
    event = plane.events.of("stage")[-1]
    assert (event["stage"], event["cause"]) == ("queued", "1 waiting; the endpoint has workers=0")


@played
async def test_a_deleted_endpoint_leaves_no_pool_and_no_build(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint()
    plane.environments.gate = asyncio.Event()
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.environments.builds == 1)
    await plane.catalog.delete(endpoint)
    await plane.platform.delete_endpoint_jobs(endpoint)
    await plane.until(lambda: not plane.fleet.pools)
    assert plane.environments.abandoned == 1
    assert plane.dispatcher.unfinished(record.id) is None


@played
async def test_other_code_of_the_same_name_keeps_a_few_idle_workers(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(0, 1))
    codes = [artifact(plane.artifacts, files={"m.py": bytes([number])}) for number in range(IDLE_STRANGERS + 3)]
    for code in codes:
        record = await plane.submit(endpoint, plane.call(code))

        def ended(job: str = record.id) -> bool:
            plane.connect()
            plane.finish()
            return plane.platform.job(endpoint, job).status.final

        await plane.until(ended)
    await plane.until(lambda: len(plane.launcher.alive) == IDLE_STRANGERS + 1)
    alive = {process.launch.worker for process in plane.launcher.alive}
    assert alive == {process.launch.worker for process in plane.launcher.processes[-IDLE_STRANGERS - 1 :]}


# ---- GPUs


@with_gpus(L4)
async def test_an_idle_worker_gives_its_gpu_back_once_another_endpoint_waits(plane: SmallPlane) -> None:
    first = await plane.endpoint(gpu=GPU, workers=workers(1, 1))
    second = await plane.endpoint(gpu=GPU, workers=workers(1, 3))
    for endpoint in (first, second, first, second):
        await plane.serve(endpoint)
        await plane.turns(200)
        assert [process.launch.endpoint for process in plane.launcher.alive] == [endpoint]
        assert [process.launch.env["CUDA_VISIBLE_DEVICES"] for process in plane.launcher.alive] == ["0"]
    assert len(plane.launcher.processes) == 4


@with_gpus(L4)
async def test_a_busy_worker_keeps_its_gpu_and_who_waits_is_told(plane: SmallPlane) -> None:
    first, second = await plane.endpoint(gpu=GPU), await plane.endpoint(gpu=GPU)
    await plane.submit(first)
    await plane.until(lambda: plane.launcher.alive)
    plane.connect()
    waiting = await plane.submit(second, client="patient")
    await plane.until(lambda: any("GPU" in event["cause"] for event in plane.events.of("stage", "patient")))
    assert plane.platform.health(second)["workers"]["throttled"] == 1
    plane.finish()
    await plane.until(lambda: [process.launch.endpoint for process in plane.launcher.alive] == [second])
    plane.connect()
    await plane.until(lambda: waiting.id in plane.launcher.alive[0].calls)
    assert plane.platform.health(second)["workers"]["throttled"] == 0


@with_gpus(f"{L4},{L4},{L4}")
async def test_no_more_idle_workers_are_ended_than_are_needed(plane: SmallPlane) -> None:
    first, second = await plane.endpoint(gpu=GPU), await plane.endpoint(gpu=GPU)
    await plane.serve(first, 3)
    assert len(plane.launcher.alive) == 3
    for process in plane.launcher.processes:
        process.deaf, process.calls["closing"] = True, 1  # they take their time to end
    for number in (1, 2, 3):
        await plane.submit(second)
        for _ in range(3):
            plane.autoscaler.capacity_changed()
            await plane.turns()
        assert len(plane.workers(WorkerState.DRAINING)) == number
    for process in plane.launcher.processes:
        process.calls.clear()
        process.kill()


@with_gpus(f"{L4},{L4}")
async def test_more_gpus_than_there_are_fail_before_anything_is_built(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(gpu={**GPU, "count": 3}, workers=workers(1, 2))
    record = await plane.submit(endpoint)
    await plane.until(lambda: plane.platform.job(endpoint, record.id).status.final)
    error = read_output(plane.platform.job(endpoint, record.id).output)
    assert isinstance(error, ErrorInfo)
    assert error.kind is ErrorKind.INFEASIBLE
    await plane.turns(100)
    assert plane.environments.builds == 0


@with_gpus("")
async def test_each_client_hears_once_that_there_is_no_gpu(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(gpu=GPU)
    await plane.serve(endpoint, 2)
    await plane.submit(endpoint, client="later")
    assert [event["key"] for event in plane.events.of("notice", "later")] == [f"gpu {endpoint}"]
    assert BODY["name"] in plane.events.of("notice", "later")[0]["message"]


# ---- workers of commands


def commanded(least: int, most: int, idle_timeout: float = 60) -> dict[str, Any]:
    return {"command": "serve", "workers": workers(least, most, idle_timeout)}


@played
async def test_a_minimum_of_commands_is_there_before_anybody_asks_and_after_a_restart(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(**commanded(2, 3))
    await plane.until(lambda: len(plane.launcher.alive) == 2)
    for process in plane.launcher.alive:
        process.end(9)
    await plane.until(lambda: len(plane.launcher.alive) == 2)  # and again
    plane.autoscaler.load_changed(endpoint)
    await plane.turns()
    assert len(plane.launcher.alive) == 2


def test_begin_starts_the_minimum_of_commands_and_of_nothing_else(tmp_path: Path) -> None:
    async def play() -> None:
        async with small_plane(tmp_path) as plane:
            plane.autoscaler.close()  # nothing starts in this life
            commanding = await plane.endpoint(**commanded(1, 1))
            await plane.endpoint(workers=workers(1, 1))
        async with small_plane(tmp_path) as plane, asyncio.timeout(20):
            plane.autoscaler.begin()
            await plane.until(lambda: plane.launcher.processes)
            await plane.turns()
            assert [process.launch.endpoint for process in plane.launcher.processes] == [commanding]

    asyncio.run(play())


@played
async def test_a_command_that_cannot_start_is_given_up_minimum_or_not(plane: SmallPlane) -> None:
    plane.launcher.dead = True
    endpoint = await plane.endpoint(**commanded(1, 1))
    await plane.until(lambda: [pool for pool in plane.fleet.of(endpoint) if pool.gave_up])
    await plane.turns(200)
    assert len(plane.launcher.processes) == crashes.STARTS


@pytest.mark.parametrize(
    "scaling", [{"type": "QUEUE_DELAY", "queueDelay": 0}, {"type": "REQUEST_COUNT", "requestCount": 1}]
)
def test_no_worker_starts_for_a_job_of_low_priority_and_it_runs_where_one_is(
    scaling: dict[str, Any], tmp_path: Path
) -> None:
    async def rule(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint(scaling=scaling, workers=workers(0, 3))
        low = [await plane.submit(endpoint, policy=Policy(low_priority=True)) for _ in range(2)]
        await plane.turns(100)
        assert plane.launcher.processes == []
        assert all(plane.platform.job(endpoint, record.id).status is JobStatus.IN_QUEUE for record in low)
        await plane.serve(endpoint)  # a normal one brings workers
        number = len(plane.launcher.processes)
        low += [await plane.submit(endpoint, policy=Policy(low_priority=True)) for _ in range(3)]

        def all_ended() -> bool:
            plane.connect()
            plane.finish()
            return all(plane.platform.job(endpoint, record.id).status.final for record in low)

        await plane.until(all_ended)
        assert len(plane.launcher.processes) == number

    played(rule)(tmp_path)


@played
async def test_many_jobs_that_come_and_go_are_looked_at_now_and_then(plane: SmallPlane) -> None:
    endpoint = await plane.endpoint(workers=workers(0, 1))
    looks: list[str] = []
    await plane.turns()
    plane.autoscaler.rests = lambda record: looks.append(record.id) is not None  # is asked at each look
    await plane.until(lambda: asyncio.get_running_loop().time() - plane.autoscaler._looked[endpoint] > PACE_S)
    plane.dispatcher.on_load = plane.autoscaler.jobs_changed
    await plane.submit(endpoint)
    await plane.until(lambda: len(looks) == 1)  # the first at once
    begun = plane.autoscaler._looked[endpoint]
    for _ in range(50):
        await plane.submit(endpoint)
    await plane.until(lambda: plane.autoscaler._looked[endpoint] > begun)
    assert plane.autoscaler._looked[endpoint] - begun >= PACE_S * 0.9
    assert len(looks) < 50
    plane.autoscaler.jobs_changed(endpoint)
    plane.autoscaler.close()
    seen = len(looks)
    await asyncio.sleep(2 * PACE_S)
    assert len(looks) == seen


@pytest.mark.parametrize(("most", "pause"), [(1, FULL_S), (3, PACE_S)])
def test_where_no_worker_can_be_added_it_is_looked_at_less_often(tmp_path: Path, most: int, pause: float) -> None:
    async def play(plane: SmallPlane) -> None:
        endpoint = await plane.endpoint(workers=workers(0, most))
        await plane.submit(endpoint)
        await plane.until(lambda: plane.launcher.processes)
        plane.autoscaler.load_changed(endpoint)
        await plane.turns()
        delays: list[float] = []
        loop, now = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        plane.autoscaler._looked[endpoint] = now
        with pytest.MonkeyPatch.context() as patched:  # a clock that stands, and timers that can be seen
            patched.setattr(loop, "time", lambda: now)
            patched.setattr(loop, "call_later", lambda delay, *_: delays.append(delay) or loop.call_soon(delays.copy))
            for _ in range(5):
                plane.autoscaler.jobs_changed(endpoint)
        assert delays == [pytest.approx(pause)]

    played(play)(tmp_path)
