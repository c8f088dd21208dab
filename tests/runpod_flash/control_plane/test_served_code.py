"""Endpoints whose workers serve shipped routes: which workers they get, who hears of them, how they are replaced."""

import asyncio
from typing import Any

from runpod_flash.control_plane.environments import InstallFailed
from runpod_flash.control_plane.fleet import Worker, WorkerState
from tests.runpod_flash.control_plane.test_balanced_workers import BY_COUNT, LIMITS, answering, asked, workers
from tests.support.command_plane import CommandPlane, played_with
from tests.support.memory_fleet import artifact
from tests.support.plane_app import served_app
from worker_runtime.wire import messages


async def served(it: CommandPlane, artifact_id: str | None = None, **changes: Any) -> str:
    """An endpoint that serves an artifact."""
    body = {"type": "LOAD_BALANCER", "scaling": BY_COUNT, "workers": workers(0, 2), "image": ""}
    return await it.plane.endpoint(**{**body, "artifact": artifact_id or it.plane.artifact, **changes})


async def change(it: CommandPlane, endpoint: str, **changes: Any) -> None:
    await it.plane.catalog.update(endpoint, lambda body: {**body, **changes})


def version(number: int) -> dict[str, str]:
    return {"X-Flash-Version": str(number)}


@played_with(limits=LIMITS)
async def test_its_workers_get_the_artifact_and_a_port_and_are_ready_when_healthy(it: CommandPlane) -> None:
    endpoint = await served(it)
    async with served_app(it.app, it.hub) as client:
        requests = asked(client, endpoint)
        worker = await it.worker()
        launch = it.process().launch
        assert (launch.port, launch.command) == (worker.port, None)
        assert [frame["type"] for frame in it.process().frames] == [messages.WELCOME, messages.ARTIFACT]
        assert it.process().frames[1]["id"] == it.plane.artifact
        assert worker.state is WorkerState.STARTING
        async with answering(worker) as command:
            command.gate.set()
            assert (await requests[0]).status_code == 200
            assert worker.state is WorkerState.READY
            assert it.plane.environments.builds == 1
    assert it.plane.catalog.content() == {it.plane.artifact}


@played_with(limits=LIMITS)
async def test_the_client_of_a_request_hears_stages_and_output(it: CommandPlane) -> None:
    endpoint = await served(it)
    it.plane.environments.gate = asyncio.Event()
    async with served_app(it.app, it.hub) as client:
        heard = {"X-Flash-Client": "me"}
        request = asyncio.ensure_future(client.get(f"/lb/{endpoint}/a", headers=heard, timeout=15))
        await it.plane.until(lambda: it.plane.events.of("stage", "me"))
        it.plane.environments.gate.set()
        worker = await it.worker()
        it.plane.supervisor.log(worker, None, "stdout", ["hello"])
        async with answering(worker) as command:
            command.gate.set()
            await request
        stages = list(dict.fromkeys(event["stage"] for event in it.plane.events.of("stage", "me")))
        assert [stages[0], "starting" in stages, stages[-1]] == ["building", True, "running"]
        assert [event["lines"] for event in it.plane.events.of("log", "me")] == [["hello"]]
        (pool,) = it.plane.fleet.of(endpoint)
        assert pool.clients == {"me": 1}
        await it.plane.until(lambda: not pool.clients)  # a moment later
        it.plane.supervisor.log(worker, None, "stdout", ["for nobody"])
        assert len(it.plane.events.of("log")) == 1


@played_with(limits=LIMITS)
async def test_new_workers_come_before_the_old_one_goes(it: CommandPlane) -> None:
    endpoint = await served(it)
    async with served_app(it.app, it.hub) as client:
        first = asked(client, endpoint)
        old = await it.worker()
        async with answering(old) as before:
            before.gate.set()
            await first[0]
            await change(it, endpoint, artifact=artifact(it.plane.artifacts, files={"m.py": b"1"}))
            await it.plane.until(lambda: len(it.plane.launcher.processes) == 2)
            during = (await asked(client, endpoint)[0]).headers["x-runpod-worker-id"]
            insists = asyncio.ensure_future(client.get(f"/lb/{endpoint}/a", headers=version(2), timeout=15))
            new = await it.worker(1)
            await it.plane.turns()
            assert (during, old.state, insists.done()) == (old.id, WorkerState.READY, False)
            async with answering(new) as after:
                after.gate.set()
                assert (await insists).headers["x-runpod-worker-id"] == new.id
                await it.plane.until(lambda: it.process().code.done())
                assert (await asked(client, endpoint)[0]).headers["x-runpod-worker-id"] == new.id
    assert it.process(1).frames[1]["id"] != it.plane.artifact


@played_with(limits=LIMITS)
async def test_an_old_worker_finishes_what_it_has_and_counts_for_nothing(it: CommandPlane) -> None:
    endpoint = await served(it, workers=workers(0, 1))
    async with served_app(it.app, it.hub) as client:
        running = asked(client, endpoint)
        old = await it.worker()
        async with answering(old) as before:
            await it.plane.until(lambda: before.now == 1)
            await change(it, endpoint, artifact=artifact(it.plane.artifacts, files={"m.py": b"1"}))
            await it.plane.until(lambda: len(it.plane.launcher.processes) == 2)  # though one is all that it may have
            new = await it.worker(1)
            async with answering(new):
                await it.plane.until(lambda: old.state is WorkerState.DRAINING)
                assert not it.process().code.done()
                before.gate.set()
                assert (await running[0]).status_code == 200
                await it.plane.until(lambda: it.process().code.done())


@played_with(limits=LIMITS, gpus="NVIDIA L4:24")
async def test_where_there_is_room_for_one_only_the_old_one_goes_first(it: CommandPlane) -> None:
    gpu = {"pools": ["AMPERE_24"], "count": 1, "excludedTypes": []}
    endpoint = await served(it, gpu=gpu, workers=workers(0, 1))
    async with served_app(it.app, it.hub) as client:
        first = asked(client, endpoint)
        old = await it.worker()
        async with answering(old) as before:
            before.gate.set()
            await first[0]
            await change(it, endpoint, env={"A": "b"})
            await it.plane.until(lambda: it.process().code.done())
        again = asked(client, endpoint)
        new = await it.worker(1)
        async with answering(new) as after:
            after.gate.set()
            assert (await again[0]).headers["x-runpod-worker-id"] == new.id


@played_with(limits=LIMITS)
async def test_code_that_cannot_be_loaded_is_told_at_once_and_the_old_workers_stay(it: CommandPlane) -> None:
    endpoint = await served(it)
    async with served_app(it.app, it.hub) as client:
        first = asked(client, endpoint)
        old = await it.worker()
        async with answering(old) as before:
            before.gate.set()
            await first[0]
            await change(it, endpoint, artifact=artifact(it.plane.artifacts, files={"m.py": b"1"}))
            insists = asyncio.ensure_future(client.get(f"/lb/{endpoint}/a", headers=version(2), timeout=15))
            new = await it.worker(1)
            await it.plane.until(lambda: any(pool.waiting_requests for pool in it.plane.fleet.of(endpoint)))
            it.plane.supervisor.hopeless(new, "its routes cannot be served", ["ValueError: no"])
            it.plane.supervisor.gone(new, "its routes cannot be served", ["ValueError: no"])
            answer = await insists
            assert (answer.status_code, answer.json()["code"]) == (400, "no_workers")
            assert "ValueError: no" in answer.json()["detail"]
            assert (await asked(client, endpoint)[0]).headers["x-runpod-worker-id"] == old.id
            await it.plane.turns(100)
            assert len(it.plane.launcher.processes) == 2


@played_with(limits=LIMITS)
async def test_an_artifact_or_an_environment_that_cannot_be_is_told_and_looked_at_again(it: CommandPlane) -> None:
    endpoint = await served(it, "0" * 64)
    async with served_app(it.app, it.hub) as client:
        answer = (await asyncio.gather(*asked(client, endpoint)))[0]
        assert answer.status_code == 400
        assert f"there is no artifact {'0' * 64}" in answer.json()["detail"]
        await change(it, endpoint, artifact=it.plane.artifact)
        it.plane.environments.failure = InstallFailed("no such package")
        answer = (await asyncio.gather(*asked(client, endpoint)))[0]
        assert (answer.status_code, answer.json()["detail"]) == (400, "no such package")
        it.plane.environments.failure = None
        request = asked(client, endpoint)
        async with answering(await it.worker()) as command:
            command.gate.set()
            assert (await request[0]).status_code == 200


@played_with(limits=LIMITS)
async def test_a_minimum_of_workers_comes_without_a_request_and_each_serves_one_artifact(
    it: CommandPlane,
) -> None:
    endpoint = await served(it, workers=workers(1, 2))
    await it.plane.until(lambda: it.plane.launcher.processes)
    await change(it, endpoint, artifact=artifact(it.plane.artifacts, files={"m.py": b"1"}))
    await it.plane.until(lambda: len(it.plane.launcher.processes) == 2)
    assert it.process().code.done()  # it had never served

    def alive() -> list[Worker]:
        return [worker for worker in it.plane.workers() if worker.state is not WorkerState.GONE]

    await it.plane.until(lambda: len(alive()) == 1)
    assert alive()[0].generation == 2
