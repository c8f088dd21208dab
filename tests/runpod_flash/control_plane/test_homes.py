"""Where objects live. The rules under any order of events are in the tests of the dispatcher."""

import asyncio

from runpod_flash.control_plane import homes
from runpod_flash.control_plane.fleet import Job, Worker, WorkerState
from runpod_flash.control_plane.homes import Homes
from tests.support.memory_fleet import Scene
from worker_runtime.wire import messages


def test_an_object_has_a_home_until_its_worker_leaves_or_it_is_dropped() -> None:
    async def play() -> None:
        scene, told = Scene(), list[str]()

        def tell(job: Job, instance: str, worker: Worker) -> None:
            told.append(f"{instance} {worker.id}")

        places = Homes(tell)
        first, second = scene.start(), scene.start()
        job = await scene.submit(instance="thing")
        assert places.of(job) is None
        places.bind(job, "thing", first.worker)
        assert (places.of(job), told) == (first.worker, [])
        first.worker.state = WorkerState.DRAINING
        assert places.of(job) is None
        places.lose(first.worker)
        places.bind(job, "thing", second.worker)
        assert told == [f"thing {second.worker.id}"]
        places.drop("thing")
        assert (second.frames[-1]["type"], second.worker.instances) == (messages.DROP, set())
        places.drop("unknown")
        assert places.of(job) is None

    asyncio.run(play())


def test_lost_objects_are_remembered_up_to_a_bound() -> None:
    async def play() -> None:
        scene = Scene()
        places = Homes(lambda job, instance, worker: None)
        worker = scene.start().worker
        worker.instances.update(str(number) for number in range(homes._REMEMBERED + 10))
        for instance in worker.instances:
            places._homes[instance] = worker
        places.lose(worker)
        assert len(places._orphans) == homes._REMEMBERED

    asyncio.run(play())
