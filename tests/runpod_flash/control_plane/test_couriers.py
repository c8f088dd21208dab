"""Both ways to workers keep the same contract; what each of them sends is in the tests of dispatcher and takes."""

import asyncio
import hashlib

import pytest

from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.couriers import LinkCourier
from tests.support.command_plane import CommandPlane, played
from tests.support.memory_fleet import MemoryArtifacts, Scene
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import INLINE_LIMIT


def test_a_worker_without_a_link_is_not_reached() -> None:
    async def play() -> None:
        scene = Scene()
        job, scripted = await scene.submit(), scene.start(ready=False)
        courier = LinkCourier(scene.values, Artifacts(MemoryArtifacts()))
        scripted.worker.link = None
        assert not courier.hand_over(job, scripted.worker, ())
        courier.call_off(job, scripted.worker)
        assert scripted.frames == []

    asyncio.run(play())


def test_values_are_read_before_a_call_is_sent() -> None:
    async def play() -> None:
        scene = Scene()
        data = b"v" * (INLINE_LIMIT + 1)
        job, scripted = await scene.submit(large=data), scene.start(ready=False)
        courier = LinkCourier(scene.values, Artifacts(MemoryArtifacts()))
        goods = await courier.read(job)
        assert list(goods) == [(hashlib.sha256(data).hexdigest(), data)]
        assert courier.hand_over(job, scripted.worker, goods)
        assert scripted.types() == [messages.RUN]
        scene.values.held.clear()
        with pytest.raises(FileNotFoundError):
            await courier.read(job)

    asyncio.run(play())


@played
async def test_a_worker_that_asks_for_nothing_is_not_reached(it: CommandPlane) -> None:
    endpoint = await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    record = await it.submit(endpoint)
    job = it.plane.job(record)
    assert await it.commands.desk.read(job) == ()
    assert not it.commands.desk.hand_over(job, worker, ())
    it.commands.desk.promise(worker)
    it.commands.desk.withdraw(worker)
    assert worker.offers == 0
    assert await it.take(worker) == [record.id]


@played
async def test_promises_are_part_of_what_a_worker_has_asked_for(it: CommandPlane) -> None:
    await it.endpoint(workers={"min": 1, "max": 1, "idleTimeout": 60})
    worker = await it.worker()
    taking = asyncio.ensure_future(it.take(worker, 2))
    await it.plane.turns()
    seen = [worker.offers]
    for step in (it.commands.desk.promise, it.commands.desk.promise, it.commands.desk.withdraw):
        step(worker)
        seen.append(worker.offers)
    assert seen == [2, 1, 0, 1]
    taking.cancel()
    await asyncio.wait([taking])
    it.commands.desk.withdraw(worker)
    assert worker.offers == 0
