"""What the loops share in memory."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from runpod_flash.control_plane.fleet import ARTIFACTS_PER_WORKER, WorkerState
from tests.support.memory_fleet import ENDPOINT, Scene
from worker_runtime.wire.jobs import INLINE_LIMIT


def run(test: Callable[[Scene], Coroutine[Any, Any, None]], concurrency: int = 1) -> None:
    async def on_a_loop() -> None:
        await test(Scene(concurrency))

    asyncio.run(on_a_loop())


def test_only_a_ready_worker_has_free_slots() -> None:
    async def play(scene: Scene) -> None:
        worker = scene.start(ready=False).worker
        slots = {}
        for state in WorkerState:
            worker.state = state
            slots[state] = worker.free_slots
        assert slots == {**dict.fromkeys(WorkerState, 0), WorkerState.READY: 3}

    run(play, 3)


def test_a_worker_is_idle_when_nothing_runs_or_waits_in_it() -> None:
    async def play(scene: Scene) -> None:
        worker = scene.start()
        assert worker.worker.idle
        job = await scene.submit(instance="thing")
        await scene.submit(instance="thing")
        assert not worker.worker.idle
        await scene.turns()
        worker.done(job)
        assert not worker.worker.idle
        assert scene.pool.busy == 1

    run(play)


def test_a_worker_keeps_the_artifacts_used_last_and_those_that_its_calls_need() -> None:
    async def play(scene: Scene) -> None:
        worker = scene.start().worker
        await scene.submit()
        await scene.turns()
        assert list(worker.artifacts) == [scene.artifact]
        others = [f"a{number}" for number in range(ARTIFACTS_PER_WORKER)]
        assert [worker.uses(other) for other in others] == [[]] * (len(others) - 1) + [["a0"]]
        assert (worker.uses("a1"), worker.uses("a0")) == ([], ["a2"])
        assert len(worker.artifacts) == ARTIFACTS_PER_WORKER
        assert scene.artifact in worker.artifacts, "a call that runs needs it"

    run(play)


def test_clients_come_and_go_with_their_jobs() -> None:
    async def play(scene: Scene) -> None:
        pool = scene.pool
        assert [pool.join("a"), pool.join("a"), pool.join("b"), pool.join(None)] == [True, False, True, False]
        pool.told["a"] = ("running",)
        pool.leave("a")
        assert pool.clients == {"a": 1, "b": 1}
        pool.leave("a")
        pool.leave(None)
        assert (pool.clients, pool.told) == ({"b": 1}, {})

    run(play)


def test_the_content_that_jobs_need_is_kept() -> None:
    async def play(scene: Scene) -> None:
        waiting = await scene.submit(large=b"w" * (INLINE_LIMIT + 1))
        assert scene.fleet.content() == {scene.artifact, *waiting.call.values}
        worker = scene.start()
        bound = await scene.submit(instance="thing", large=b"b" * (INLINE_LIMIT + 1))
        await scene.turns()
        assert scene.fleet.content() == {scene.artifact, *waiting.call.values, *bound.call.values}
        worker.done(waiting)
        await scene.turns()
        worker.done(bound)
        await scene.turns()
        assert scene.fleet.content() == {scene.artifact}

    run(play)


def test_only_an_empty_pool_is_forgotten() -> None:
    async def play(scene: Scene) -> None:
        scene.start()
        scene.fleet.discard(scene.pool)
        assert list(scene.fleet.pools.values()) == [scene.pool]
        scene.lose(scene.workers[0])
        scene.fleet.discard(scene.pool)
        assert scene.fleet.pools == {}
        assert scene.fleet.of(scene.pool.key.endpoint) == []
        assert scene.fleet.add(scene.pool) is scene.pool
        assert scene.fleet.of(scene.pool.key.endpoint) == [scene.pool]

    run(play)


def test_the_pool_that_was_used_last_comes_first() -> None:
    async def play(scene: Scene) -> None:
        first = scene.pool
        second = scene.dispatcher.pools.shipped(ENDPOINT, scene.artifact, "another environment")
        assert scene.fleet.of(ENDPOINT.id) == [second, first]
        assert scene.dispatcher.pools.shipped(ENDPOINT, scene.artifact, first.key.environment) is first
        assert scene.fleet.of(ENDPOINT.id) == [first, second]
        assert scene.fleet.of("another endpoint") == []

    run(play)
