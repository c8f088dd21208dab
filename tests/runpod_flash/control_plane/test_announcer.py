"""What clients are told while they wait."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from runpod_flash.control_plane.fleet import WorkerState
from tests.support.memory_fleet import ENDPOINT, Scene


def run(test: Callable[[Scene], Coroutine[Any, Any, None]], concurrency: int = 1) -> None:
    async def on_a_loop() -> None:
        await test(Scene(concurrency))

    asyncio.run(on_a_loop())


def told(scene: Scene, client: str = "c") -> list[tuple[str, str]]:
    """The stages that a client heard: stage and what explains it."""
    return [(event["stage"], event["detail"] or event["cause"]) for event in scene.events.of("stage", client)]


def test_a_cold_call_hears_each_stage_once() -> None:
    async def play(scene: Scene) -> None:
        pool = scene.pool
        await scene.submit()
        await scene.turns()
        pool.building, pool.building_since = asyncio.ensure_future(asyncio.sleep(0)), 7.0
        for detail in ("", "3 packages", "3 packages"):
            pool.building_detail = detail
            scene.announcer.refresh(pool)
        pool.building = None
        worker = scene.start(ready=False)
        scene.announcer.refresh(pool)
        scene.dispatcher.worker_ready(worker.worker)
        await scene.turns()
        assert told(scene) == [
            ("starting", "a worker starts"),
            ("building", ""),
            ("building", "3 packages"),
            ("starting", "a worker starts"),
            ("running", ""),
        ]
        building = scene.events.of("stage")[1]
        assert (building["since"], building["endpoint"], building["name"]) == (7.0, ENDPOINT.id, ENDPOINT.name)

    run(play)


def test_a_warm_call_hears_nothing_before_its_end() -> None:
    async def play(scene: Scene) -> None:
        worker = scene.start()
        job = await scene.submit()
        await scene.turns()
        worker.done(job)
        await job.done
        assert [event["event"] for _, event in scene.events.heard] == ["job"]

    run(play)


def test_who_waits_hears_how_many_workers_are_busy_and_how_many_start() -> None:
    async def play(scene: Scene) -> None:
        scene.start()
        for _ in range(7):
            await scene.submit()
        scene.start(ready=False)
        scene.announcer.refresh(scene.pool)
        scene.start(ready=False)
        scene.announcer.refresh(scene.pool)
        await scene.submit()  # one more that waits is no news
        assert told(scene) == [
            ("queued", "1 waiting; next in line, 1 worker busy"),
            ("queued", "6 waiting; next in line, 1 worker busy, 1 starting"),
            ("queued", "6 waiting; next in line, 1 worker busy, 2 starting"),
        ]

    run(play)


def test_what_blocks_is_said() -> None:
    async def play(scene: Scene) -> None:
        busy = scene.start()
        await scene.submit()
        await scene.submit(client="late")
        busy.worker.state = WorkerState.DRAINING
        scene.pool.blocked = "every suitable GPU is in use"
        scene.announcer.refresh(scene.pool)
        assert told(scene, "late")[-1] == ("queued", "1 waiting; every suitable GPU is in use")

    run(play)


def test_output_goes_to_the_caller_of_its_job_or_to_all_of_the_worker() -> None:
    async def play(scene: Scene) -> None:
        worker = scene.start().worker
        mine, other = await scene.submit(client="a"), await scene.submit(client="b")
        nobodys = await scene.submit(client=None)
        scene.announcer.log(worker, mine.record.id, "stdout", ["one"])
        scene.announcer.log(worker, None, "stderr", ["all"])
        scene.announcer.log(worker, "unknown", "stderr", ["lost?"])

        def lines(client: str) -> list[Mapping[str, Any]]:
            return [event["lines"] for event in scene.events.of("log", client)]

        assert lines("a") == [["one"], ["all"], ["lost?"]]
        assert lines("b") == [["all"], ["lost?"]]
        assert [line["line"] for line in other.logs.lines()] == ["all", "lost?"]
        assert [line["line"] for line in nobodys.logs.lines()] == ["all", "lost?"]

    run(play, 3)


def test_a_notice_reaches_those_who_are_there_and_those_who_come() -> None:
    async def play(scene: Scene) -> None:
        await scene.submit(client="first")
        for _ in range(2):
            scene.announcer.notice(scene.pool, "gpu", "no GPU here")
        await scene.submit(client="second")
        await scene.submit(client="second")
        for client in ("first", "second"):
            assert [event["message"] for event in scene.events.of("notice", client)] == ["no GPU here"]

    run(play)
