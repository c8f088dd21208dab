"""How calls run in the child: one at a time, several at a time, methods of instances."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.worker_runtime.scripted_plane import ROOT, Plane, by_name, instance_of, is_error
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import ErrorKind

COUNTER = by_name("Counter", kind="class")
FOUR = {"max_concurrency": 4}


def test_state_lives_between_calls_and_coroutines_share_one_loop(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_name("remember"), 1) == [1]
            assert await plane.call(by_name("remember"), 2) == [1, 2]
            assert await plane.call(by_name("loop_id")) == await plane.call(by_name("loop_id"))

    asyncio.run(main())


def test_user_code_that_takes_the_interrupt_signal_gets_it_taken_back(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_name("handles_signals"), 0) == "ignored"
            job = await plane.start(by_name("spin"), 60)
            await plane.until(lambda: "spinning" in plane.lines(), "spinning")
            await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
            is_error(await plane.outcome(job), ErrorKind.CANCELLED)
            assert "gone" not in plane.kinds()

    asyncio.run(main())


def test_instances_keep_their_state_and_are_closed(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            one, two = instance_of("one", 10), instance_of("two", start=20)
            assert await plane.call(COUNTER, method="add", instance=one) == 11
            assert await plane.call(COUNTER, 5, method="add", instance=two) == 25
            assert await plane.call(COUNTER, amount=2, method="add_async", instance=one) == 13
            assert await plane.call(COUNTER, "now", method="__call__", instance=two) == "now 25"
            assert await plane.call(COUNTER, method="made", instance=two) == 2
            missing = is_error(
                await plane.call(COUNTER, method="substract", instance=one), ErrorKind.USER, "AttributeError"
            )
            assert "Counter" in missing.message
            assert "substract" in missing.message
            await plane.send({"type": messages.DROP, "instance": "one"})
            assert await plane.call(COUNTER, method="add", instance=one) == 11
            assert plane.lines() == ["closed at 13"]
            await plane.send({"type": messages.DRAIN})
            await plane.process.wait()
            assert sorted(plane.lines()) == ["closed at 11", "closed at 13", "closed at 25"]

    asyncio.run(main())


def test_a_constructor_that_fails_is_tried_again(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            bad = instance_of("a", 1, fails=True)
            is_error(await plane.call(COUNTER, method="add", instance=bad), ErrorKind.USER, "user_code.Oops")
            assert await plane.call(COUNTER, method="add", instance=instance_of("a", 1)) == 2

    asyncio.run(main())


def test_closing_may_be_asynchronous_and_may_fail(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            closed, unclosable = by_name("AsyncClosed", kind="class"), by_name("Unclosable", kind="class")
            assert await plane.call(closed, method="use", instance=instance_of("a")) is None
            assert await plane.call(unclosable, method="use", instance=instance_of("b")) == 1
            for name in "ab":
                await plane.send({"type": messages.DROP, "instance": name})
            assert await plane.call(by_name("add"), 1) == 3
            assert plane.lines() == ["left True"]
            assert "ERROR worker_runtime: closing an instance of 'Unclosable' failed" in plane.lines("stderr")

    asyncio.run(main())


def test_several_at_a_time(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings=FOUR) as plane:
            for name, count in (("together", 4), ("together_plain", 8)):
                jobs = [await plane.start(by_name(name), f"{name}{number}", count) for number in range(4)]
                on_main = [await plane.outcome(job) for job in jobs]
                assert on_main == [name == "together"] * 4
            is_error(await plane.call(by_name("fail"), 1), ErrorKind.USER, "user_code.Oops")
            is_error(await plane.call(by_name("leave"), 1), ErrorKind.USER, "SystemExit")
            is_error(await plane.call(by_name("absent")), ErrorKind.LOAD)
            assert await plane.call(by_name("wrapped_async"), 1, 2) == 3
            job = await plane.start(by_name("write_much"), 3)
            await plane.outcome(job)
            await plane.until(lambda: plane.lines(job=None) == ["0", "1", "2"], "lines without a job")

    asyncio.run(main())


def test_cancel_stops_one_of_several(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={**FOUR, "cancel_grace_s": 5.0}) as plane:
            jobs = [await plane.start(by_name(name), 60) for name in ("spin", "sleep_async", "sleep_async", "spin")]
            for job in jobs:
                await plane.frame("started", job=job)
            waiting = await plane.start(by_name("add"), 1)
            also_waiting = await plane.start(by_name("add"), 1)
            for job in (also_waiting, jobs[0], jobs[1]):
                await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
                is_error(await plane.outcome(job), ErrorKind.CANCELLED)
            assert await plane.outcome(waiting) == 3
            assert await plane.call(by_name("add"), 1) == 3
            assert "gone" not in plane.kinds()
            assert {header["job"] for _, header, _ in plane.frames if header["type"] == "done"}.isdisjoint(jobs[2:])

    asyncio.run(main())


def test_a_deadline_of_one_of_several_takes_the_others_along(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings=FOUR) as plane:
            other = await plane.start(by_name("sleep_async"), 60)
            job = await plane.start(by_name("sleep"), 60, timeout_ms=300)
            is_error(await plane.outcome(job), ErrorKind.TIMED_OUT)
            gone, _ = await plane.frame("gone")
            assert gone["jobs"] == [other]

    asyncio.run(main())


def test_first_calls_at_the_same_time_share_one_construction(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings=FOUR) as plane:
            one = instance_of("one", 0)
            methods = ("add", "add", "add_async", "made")
            jobs = [await plane.start(COUNTER, method=name, instance=one) for name in methods]
            outcomes = [await plane.outcome(job) for job in jobs]
            assert sorted(outcomes[:3]) == [1, 2, 3]
            assert outcomes[3] == 1
            await plane.send({"type": messages.DRAIN})
            assert await plane.process.wait() == 0
            assert plane.lines() == ["closed at 3"]

    asyncio.run(main())


def test_classes_of_main_come_back_as_themselves() -> None:
    script = Path(__file__).with_name("shipped_main.py")
    subprocess.run([sys.executable, str(script)], env={"PYTHONPATH": str(ROOT)}, check=True, timeout=60)


WAYS = [("yields", {}), ("yields_async", {}), ("yields", FOUR), ("yields_async", FOUR)]


@pytest.mark.parametrize(("name", "settings"), WAYS, ids=lambda value: str(value))
def test_a_generator_waits_for_credit_and_is_closed_when_it_is_cancelled(
    short_folder: Path, name: str, settings: dict[str, int]
) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={**settings, "cancel_grace_s": 10.0}) as plane:
            job = await plane.start(by_name(name), 10**9, window=(3, 10**6))
            await plane.until(lambda: plane.items(job) == [0, 1, 2], "three items")
            credit = {"type": messages.CREDIT, "job": job, "attempt": 1}
            await plane.send({**credit, "items": 2, "bytes": 2})
            await plane.until(lambda: plane.items(job) == [0, 1, 2, 3, 4], "two more")
            assert "closed" not in plane.lines()
            await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
            is_error(await plane.outcome(job), ErrorKind.CANCELLED)
            await plane.until(lambda: plane.lines() == ["closed"], "the generator is closed")
            endless = await plane.start(by_name(name), 10**9, window=(10**9, 10**12))
            await plane.until(lambda: len(plane.items(endless)) > 100, "many items")
            await plane.send({"type": messages.CANCEL, "job": endless, "attempt": 1})
            is_error(await plane.outcome(endless), ErrorKind.CANCELLED)
            assert await plane.call(by_name("add"), 1) == 3
            assert "gone" not in plane.kinds()

    asyncio.run(main())


def test_streams_end_as_calls_do(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            wide = (1000, 10**6)
            whole = await plane.start(by_name("yields"), 5, window=wide)
            assert await plane.frame("done", job=whole)
            assert plane.items(whole) == [0, 1, 2, 3, 4]
            failing = await plane.start(by_name("yields_and_fails"), window=wide)
            is_error(await plane.outcome(failing), ErrorKind.USER, "user_code.Oops")
            assert plane.items(failing) == [(1, 2), {"flash": 3}]
            plain = await plane.start(by_name("add"), 1, window=wide)
            found = is_error(await plane.outcome(plain), ErrorKind.USER, "TypeError")
            assert "gave no generator but int" in found.message
            unasked = is_error(await plane.call(by_name("yields_async"), 3), ErrorKind.UNPICKLABLE_RESULT)
            assert "an asynchronous generator" in unasked.message

    asyncio.run(main())


def test_a_generator_that_will_not_stop_is_stopped_at_its_next_item(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"cancel_grace_s": 10.0}) as plane:
            job = await plane.start(by_name("yields_on"), 10**9, window=(10**9, 10**12))
            await plane.until(lambda: len(plane.items(job)) > 100, "many items")
            await plane.send({"type": messages.CANCEL, "job": job, "attempt": 1})
            is_error(await plane.outcome(job), ErrorKind.CANCELLED)
            assert await plane.call(by_name("add"), 1) == 3

    asyncio.run(main())
