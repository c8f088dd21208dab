"""Remote objects of a program: dropped on whatever loop there is, at the end, and by nobody else."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from runpod_flash.blocking import Bridge
from runpod_flash.calls import RemoteObject
from runpod_flash.errors import BackendUnavailable, JobNotFound
from runpod_flash.objects import Objects
from tests.support.waiting import wait_until


class Platform:
    """Remembers what was dropped; may be away."""

    def __init__(self) -> None:
        self.dropped: list[str] = []
        self.cancelled: list[tuple[str, str]] = []
        self.away = self.silent = False

    async def drop_instance(self, instance_id: str) -> None:
        if self.away:
            raise BackendUnavailable("away")
        self.dropped.append(instance_id)

    async def cancel(self, endpoint_id: str, job_id: str) -> None:
        if self.away:
            raise BackendUnavailable("away")
        if self.silent:
            await asyncio.Event().wait()
        self.cancelled.append((endpoint_id, job_id))
        if job_id == "unknown":
            raise JobNotFound("there is no such job")


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def objects(platform: Platform) -> Iterator[Objects]:
    async def backend() -> Platform:
        return platform

    objects = Objects(Bridge(), backend)  # type: ignore[arg-type]  # only this verb of a backend is used
    objects.watch_exit()
    yield objects
    objects.close()


def added(objects: Objects) -> RemoteObject:
    handle = RemoteObject((), {})
    objects.add(handle)
    return handle


def test_one_that_nobody_has_is_dropped_with_and_without_a_loop(objects: Objects, platform: Platform) -> None:
    one, two, never_used = added(objects), added(objects), RemoteObject((), {})
    assert one.session is objects
    objects.drop_later(one.id)
    wait_until(lambda: platform.dropped == [one.id])

    async def main() -> None:
        objects.drop_later(two.id)
        objects.drop_later(never_used.id)
        await asyncio.gather(*objects._dropping)

    asyncio.run(main())
    assert platform.dropped == [one.id, two.id]
    objects.close()
    assert platform.dropped == [one.id, two.id], "what was dropped is not dropped again"


def test_what_is_left_is_dropped_at_the_end(objects: Objects, platform: Platform) -> None:
    handles = [added(objects) for _ in range(3)]
    objects.close()
    assert sorted(platform.dropped) == sorted(handle.id for handle in handles)


def test_what_could_not_be_dropped_is_dropped_over_the_next_connection(objects: Objects, platform: Platform) -> None:
    handle = added(objects)
    platform.away = True

    async def main() -> None:
        await objects.drop(handle.id)
        assert platform.dropped == []
        platform.away = False
        objects.drop_doomed()
        await asyncio.gather(*objects._dropping)

    asyncio.run(main())
    assert platform.dropped == [handle.id]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_drops_nothing_of_its_parent(objects: Objects, platform: Platform) -> None:
    handle = added(objects)
    child = os.fork()
    if child == 0:
        objects.drop_later(handle.id)
        objects.watch_exit()
        objects.close()
        os._exit(len(platform.dropped))
    assert os.waitpid(child, 0)[1] == 0
    objects.close()
    assert platform.dropped == [handle.id]


def test_jobs_that_nobody_reads_are_cancelled_with_and_without_a_loop(objects: Objects, platform: Platform) -> None:
    objects.cancel_later(("e", "one"))
    wait_until(lambda: platform.cancelled == [("e", "one")])

    async def main() -> None:
        objects.cancel_later(("e", "two"))
        await asyncio.gather(*objects._dropping)
        await objects.cancel(("e", "unknown"))

    asyncio.run(main())
    assert platform.cancelled[1:] == [("e", "two"), ("e", "unknown")]
    objects.close()
    assert len(platform.cancelled) == 3  # nothing is done twice


def test_a_job_whose_loop_ended_too_early_is_cancelled_at_the_end(objects: Objects, platform: Platform) -> None:
    async def main() -> None:
        objects.cancel_later(("e", "late"))
        await asyncio.sleep(0)

    platform.silent = True
    asyncio.run(main())
    platform.silent, platform.away = False, True
    asyncio.run(objects.cancel(("e", "away")))
    platform.away = False
    assert platform.cancelled == []
    objects.close()
    assert sorted(platform.cancelled) == [("e", "away"), ("e", "late")]
