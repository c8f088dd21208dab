"""Who has how much to do."""

import asyncio
import contextlib

import pytest

from runpod_flash.control_plane.balancing.loads import LINGER_S, Load, Loads
from runpod_flash.control_plane.balancing.picking import Use

pytestmark = pytest.mark.anyio


async def test_a_request_waits_then_runs_then_is_gone_and_each_change_is_told() -> None:
    loads, seen = Loads(), []
    loads.on_change = lambda endpoint: seen.append((endpoint, loads.of(endpoint)))
    with loads.request("e") as ticket:
        ticket.give_to("w")
        assert loads.uses("e") == {"w": Use(1, 1)}
    assert seen == [("e", Load(0, 1)), ("e", Load(1, 0)), ("e", Load(0, 0))]
    assert Load(2, 3).total == 5


async def test_a_request_that_no_worker_took_leaves_nothing_behind() -> None:
    loads = Loads()
    with contextlib.suppress(ZeroDivisionError), loads.request("e"):
        assert loads.of("e") == Load(0, 1)
        raise ZeroDivisionError
    assert loads.of("e") == Load(0, 0)


async def test_a_worker_is_idle_when_its_last_request_has_ended() -> None:
    loads, told = Loads(), []
    loads.on_idle = told.append
    await loads.idle("w")
    with loads.request("e") as one:
        one.give_to("w")
        idle = asyncio.create_task(loads.idle("w"))
        with loads.request("e") as two:
            two.give_to("w")
        await asyncio.sleep(0)
        assert not idle.done()
        assert told == []
    await asyncio.wait_for(idle, 5)
    assert told == ["w"]


async def test_the_dead_are_forgotten_unless_something_runs_in_them() -> None:
    loads = Loads()
    with loads.request("e") as one, loads.request("e") as two:
        one.give_to("a")
        two.give_to("b")
        loads.forget("e", {"b"})
        assert set(loads.uses("e")) == {"a", "b"}
    loads.forget("e", {"b"})
    assert set(loads.uses("e")) == {"b"}
    loads.forget("e", set())
    assert loads.uses("e") == {}


def test_whether_there_is_any_request_and_since_when_not() -> None:
    loads = Loads()
    before = loads.changed_at
    with loads.request("e") as ticket:
        assert loads.any
        ticket.give_to("w")
        assert loads.any
        during = loads.changed_at
    assert not loads.any
    assert before <= during <= loads.changed_at


def test_who_hears_of_an_endpoint_hears_a_moment_longer() -> None:
    async def main() -> None:
        loads, told = Loads(), list[str]()
        loads.on_change = told.append
        with loads.heard_by("e", None):
            assert loads.clients("e") == {}
        with loads.heard_by("e", "me"), loads.heard_by("e", "me"):
            assert loads.clients("e") == {"me": 2}
        assert loads.clients("e") == {"me": 2}
        async with asyncio.timeout(LINGER_S + 10):
            while loads.clients("e"):
                await asyncio.sleep(0.05)
        assert told == ["e"]

    asyncio.run(main())
