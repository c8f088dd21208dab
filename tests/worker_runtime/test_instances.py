"""Instances by id."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker_runtime.instances import Instances, Shared, TooManyInstances, close


def test_an_instance_is_constructed_once_whoever_comes_first() -> None:
    instances, made, go = Instances(), [], threading.Event()

    def construct() -> object:
        go.wait(10)
        made.append(object())
        return made[-1]

    async def from_a_loop() -> object:
        return await instances.get_async("a", construct)

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(instances.get, "a", construct) for _ in range(3)]
        waiting.append(pool.submit(lambda: asyncio.run(from_a_loop())))
        go.set()
        assert [each.result(10) for each in waiting] == made * 4
    assert asyncio.run(from_a_loop()) is made[0]


def test_a_construction_that_fails_is_forgotten() -> None:
    instances = Instances(limit=1)
    with pytest.raises(ZeroDivisionError):
        instances.get("a", lambda: 1 / 0)
    assert instances.get("a", lambda: 1) == 1


def test_the_limit() -> None:
    instances = Instances(limit=2)
    for name in "abab":
        instances.get(name, lambda: 1)
    with pytest.raises(TooManyInstances, match="already holds 2"):
        instances.get("c", lambda: 1)
    assert instances.remove("a") == [1]
    assert instances.remove("a") == []
    assert instances.get("c", lambda: 2) == 2
    assert instances.remove_all() == [1, 2]
    assert instances.remove_all() == []


def test_a_construction_that_was_interrupted_does_not_wait_for_itself() -> None:
    instances = Instances()
    instances._claim("a")  # and an interrupt, before the construction began
    assert instances.get("a", lambda: 1) == 1


def test_the_way_to_close() -> None:
    said: list[object] = []

    class Closes:
        def close(self) -> None:
            said.append("close")

        def __exit__(self, *error: object) -> None:
            raise AssertionError("one way is enough")

    class Exits:
        def __exit__(self, *error: object) -> None:
            said.append(error)

    class ClosesLater:
        async def aclose(self) -> None:
            said.append("aclose")

    close(Closes())
    close(Exits())
    asyncio.run(close(ClosesLater()))
    assert close(object()) is None
    assert said == ["close", (None, None, None), "aclose"]


def test_what_plain_calls_share_is_nobody_s_and_counts_for_nobody() -> None:
    instances = Instances(limit=1)
    assert instances.get("a", object) is not instances.get(Shared("a"), object)
    assert instances.get(Shared("a"), object) is instances.get(Shared("a"), object)
    with pytest.raises(TooManyInstances):
        instances.get("b", object)
    assert len(instances.remove("a")) == 1
    assert len(instances.remove_all()) == 1
