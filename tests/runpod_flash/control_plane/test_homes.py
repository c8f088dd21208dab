"""Where objects live. The rules under any order of events are in the tests of the dispatcher."""

import asyncio

from runpod_flash.control_plane import homes
from runpod_flash.control_plane.fleet import Job, Worker, WorkerState
from runpod_flash.control_plane.homes import Homes
from runpod_flash.control_plane.platform import everything
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
        places.drop("thing", lambda endpoint: False)
        assert second.worker.instances == {"thing"}
        places.drop("thing", everything)
        assert (second.frames[-1]["type"], second.worker.instances) == (messages.DROP, set())
        places.drop("unknown", everything)
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


def test_an_object_of_a_lost_worker_is_forgotten_by_those_who_see_its_endpoint_alone() -> None:
    async def play() -> None:
        scene, told = Scene(), list[str]()
        places = Homes(lambda job, instance, worker: told.append(instance))
        job = await scene.submit(instance="thing")
        for sees, rebuilt in ((False, ["thing"]), (True, [])):
            lost, new = scene.start().worker, scene.start().worker
            places.bind(job, "thing", lost)
            places.lose(lost)
            told.clear()
            places.drop("thing", lambda endpoint, sees=sees: sees)  # type: ignore[misc]
            places.bind(job, "thing", new)
            assert told == rebuilt
            places.drop("thing", everything)

    asyncio.run(play())
