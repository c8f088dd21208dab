"""Workers that answer HTTP requests: the test plays their processes, and serves on their ports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from aiohttp import web

from runpod_flash.control_plane import crashes
from runpod_flash.control_plane.fleet import Worker, WorkerState
from tests.support.command_plane import CommandPlane, held, played_with
from tests.support.plane_app import served_app

LIMITS = held(health_s=0.02, balanced_wait_s=10.0)
BY_COUNT = {"type": "REQUEST_COUNT", "requestCount": 2}


def workers(least: int, most: int, idle_timeout: float = 60) -> dict[str, Any]:
    return {"min": least, "max": most, "idleTimeout": idle_timeout}


async def balanced(it: CommandPlane, **changes: Any) -> str:
    return await it.endpoint(**{"type": "LOAD_BALANCER", "scaling": BY_COUNT, "workers": workers(0, 3), **changes})


@dataclass
class Answering:
    """What a command serves on its port: health at once, all else when the test opens the gate."""

    status: int = 200
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    now: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/ping":
            return web.Response(status=self.status)
        self.now += 1
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        return web.Response(text=request.path_qs)


@contextlib.asynccontextmanager
async def answering(worker: Worker, status: int = 200) -> AsyncIterator[Answering]:
    """The command of this worker serves."""
    it = Answering(status)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", it.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", worker.port).start()
        yield it
    finally:
        it.gate.set()
        await runner.cleanup()


def asked(client: httpx.AsyncClient, endpoint: str, number: int = 1) -> "list[asyncio.Future[httpx.Response]]":
    """So many requests under way."""
    return [asyncio.ensure_future(client.get(f"/lb/{endpoint}/a?n={n}", timeout=15)) for n in range(number)]


@played_with(limits=LIMITS)
async def test_requests_bring_workers_by_their_count_and_are_counted(it: CommandPlane) -> None:
    endpoint = await balanced(it)
    async with served_app(it.app, it.hub) as client:
        requests = asked(client, endpoint)
        worker = await it.worker()
        (pool,) = it.plane.fleet.of(endpoint)
        assert (pool.waiting_requests, worker.requests, worker.state) == (1, 0, WorkerState.STARTING)
        async with answering(worker) as command:
            await it.plane.until(lambda: command.now == 1)
            assert (pool.waiting_requests, worker.requests) == (0, 1)
            assert not worker.idle
            health = it.plane.platform.health(endpoint)["workers"]
            assert (health["running"], health["idle"]) == (1, 0)
            assert len(it.plane.launcher.processes) == 1
            requests += asked(client, endpoint, 4)
            await it.plane.until(lambda: len(it.plane.launcher.processes) == 3)  # 5 requests, 2 for one worker
            await it.plane.until(lambda: worker.requests == 5)
            command.gate.set()
            answers = await asyncio.gather(*requests)
            assert [answer.status_code for answer in answers] == [200] * 5
            assert {answer.headers["x-runpod-worker-id"] for answer in answers} == {worker.id}
            assert answers[1].text == "/a?n=0"
            assert (pool.waiting_requests, worker.requests) == (0, 0)
            assert worker.idle


@played_with(limits=LIMITS)
async def test_a_worker_ends_when_it_was_idle_for_its_timeout_and_not_before(it: CommandPlane) -> None:
    endpoint = await balanced(it, workers=workers(0, 1, 0.2))
    async with served_app(it.app, it.hub) as client:
        requests = asked(client, endpoint)
        worker = await it.worker()
        async with answering(worker) as command:
            await it.plane.until(lambda: command.now == 1)
            await asyncio.sleep(0.5)  # longer than its timeout
            assert worker.state is WorkerState.READY
            before = worker.idle_since
            command.gate.set()
            await asyncio.gather(*requests)
            assert worker.idle_since > before
            await it.plane.until(lambda: it.process().code.done())
        assert it.plane.platform.health(endpoint)["workers"]["idle"] == 0
        assert len(it.plane.launcher.processes) == 1


@pytest.mark.slow
@played_with(limits=LIMITS)
async def test_that_no_worker_can_be_had_is_told_to_all_who_wait_and_tried_again_with_the_next(
    it: CommandPlane,
) -> None:
    endpoint = await balanced(it, workers=workers(0, 1))
    it.plane.launcher.dead = True
    async with served_app(it.app, it.hub) as client:
        for times in (1, 2):
            answers = await asyncio.gather(*asked(client, endpoint, 3))
            assert [answer.status_code for answer in answers] == [400] * 3
            assert all(f"{crashes.STARTS} times in a row" in answer.json()["error"] for answer in answers)
            await it.plane.turns(200)
            assert len(it.plane.launcher.processes) == times * crashes.STARTS
        it.plane.launcher.dead = False
        requests = asked(client, endpoint)
        worker = await it.worker(2 * crashes.STARTS)
        async with answering(worker) as command:
            command.gate.set()
            assert (await requests[0]).status_code == 200


@played_with(limits=LIMITS)
async def test_an_unhealthy_worker_gets_nothing_until_it_is_healthy_again(it: CommandPlane) -> None:
    endpoint = await balanced(it, workers=workers(1, 1))
    worker = await it.worker()
    async with served_app(it.app, it.hub) as client, answering(worker, 204) as command:
        command.gate.set()
        requests = asked(client, endpoint)
        await asyncio.sleep(0.1)
        assert worker.state is WorkerState.STARTING
        command.status = 200
        await it.plane.until(lambda: worker.state is WorkerState.READY)
        assert (await requests[0]).status_code == 200
        command.status = 500
        await it.plane.until(lambda: not worker.healthy)
        assert it.plane.platform.health(endpoint)["workers"]["unhealthy"] == 1
        requests = asked(client, endpoint)
        await it.plane.turns()
        assert not requests[0].done()
        command.status = 200
        assert (await requests[0]).status_code == 200


@played_with(limits=held(LIMITS, init_s=0.1))
async def test_a_worker_that_is_never_healthy_is_ended(it: CommandPlane) -> None:
    endpoint = await balanced(it, workers=workers(1, 1))
    worker = await it.worker()
    async with answering(worker, 500):
        await it.plane.until(lambda: it.process().code.done())
    (pool,) = it.plane.fleet.of(endpoint)
    await it.plane.until(lambda: pool.crashes.starts == 1)
    await it.plane.until(lambda: len(it.plane.launcher.processes) == 2)  # it is to have one


@played_with(limits=LIMITS)
async def test_a_worker_that_is_retired_finishes_its_requests(it: CommandPlane) -> None:
    endpoint = await balanced(it, workers=workers(1, 1))
    worker = await it.worker()
    async with served_app(it.app, it.hub) as client, answering(worker) as command:
        requests = asked(client, endpoint)
        await it.plane.until(lambda: command.now == 1)
        it.plane.supervisor.retire(worker)
        assert worker.state is WorkerState.DRAINING
        requests += asked(client, endpoint)
        await it.plane.until(lambda: len(it.plane.launcher.processes) == 2)
        assert not it.process().code.done()
        command.gate.set()
        assert (await requests[0]).status_code == 200
        await it.plane.until(lambda: it.process().code.done())
        second = await it.worker(1)
        async with answering(second) as other:
            other.gate.set()
            assert (await requests[1]).headers["x-runpod-worker-id"] == second.id


@played_with(limits=LIMITS)
async def test_a_health_path_that_is_none_is_told(it: CommandPlane) -> None:
    endpoint = await balanced(it, env={"HEALTH_CHECK_PATH": "no path"})
    async with served_app(it.app, it.hub) as client:
        requests = asked(client, endpoint)
        await it.plane.until(lambda: it.plane.launcher.processes)
        it.plane.connect(ready=False)
        answer = await requests[0]
        assert answer.status_code == 400
        assert "HEALTH_CHECK_PATH" in answer.json()["error"]
        await it.plane.until(lambda: it.process().code.done())


@played_with(gpus="NVIDIA L4:24")
async def test_what_can_never_be_served_is_said_at_once(it: CommandPlane) -> None:
    nobody = await balanced(it, workers=workers(0, 0))
    too_many = await balanced(it, gpu={"pools": ["AMPERE_24"], "count": 8, "excludedTypes": []})
    for endpoint in (nobody, too_many):
        answer = await it.client.get(f"/lb/{endpoint}/")
        assert answer.status_code == 400
        assert answer.json()["code"] == "no_workers"
    assert it.commands.balanced.hopeless("unknown") == "no workers available"
    assert (await it.client.get("/lb/unknown/")).status_code == 404


@played_with(limits=LIMITS)
async def test_an_endpoint_that_is_deleted_ends_its_workers_and_who_waits(it: CommandPlane) -> None:
    endpoint = await balanced(it, workers=workers(0, 1))
    async with served_app(it.app, it.hub) as client:
        requests = asked(client, endpoint, 2)
        worker = await it.worker()
        assert (await client.delete(f"/v2/serverless/{endpoint}")).status_code in (200, 204)
        await it.plane.until(lambda: it.process().code.done())
        answers = await asyncio.wait_for(asyncio.gather(*requests), 5)
        assert all(400 <= answer.status_code < 500 for answer in answers)
        await it.plane.until(lambda: it.plane.fleet.of(endpoint) == [])
        assert worker.state is WorkerState.GONE


@played_with(limits=LIMITS)
async def test_who_waits_for_the_first_worker_of_an_endpoint_that_is_deleted_is_told(it: CommandPlane) -> None:
    endpoint = await balanced(it, workers=workers(0, 1))
    it.plane.launcher.broken = True
    async with served_app(it.app, it.hub) as client:
        requests = asked(client, endpoint)
        await it.plane.until(lambda: it.plane.fleet.of(endpoint) and not it.plane.workers())
        assert (await client.delete(f"/v2/serverless/{endpoint}")).status_code in (200, 204)
        assert (await asyncio.wait_for(requests[0], 5)).json()["error"] == "no workers available"
        await it.plane.until(lambda: it.plane.fleet.of(endpoint) == [])
