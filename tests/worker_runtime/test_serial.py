"""Calls that wait in a child for their turn: whose output is whose, what is taken back, whatever the child does."""

import asyncio
import os
import signal
from pathlib import Path

from tests.worker_runtime.scripted_plane import Plane, by_name, is_error
from worker_runtime.wire import messages
from worker_runtime.wire.jobs import ErrorKind


async def given_back(plane: Plane, *jobs: str) -> list[str]:
    """Ask for calls and wait for the answer."""
    before = plane.kinds().count(messages.BACK)
    await plane.send({"type": messages.TAKE_BACK, "jobs": list(jobs)})
    await plane.until(lambda: plane.kinds().count(messages.BACK) > before, "an answer")
    header, _ = [(header, body) for _, header, body in plane.frames if header["type"] == messages.BACK][-1]
    assert all(attempt == 1 for _, attempt in header["jobs"])
    return [job for job, _ in header["jobs"]]


def test_many_calls_run_one_after_the_other_and_each_has_what_it_printed(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            await plane.call(by_name("add"), 1)
            jobs = [await plane.start(by_name(name), number) for number in range(15) for name in ("add", "prints")]
            for place, job in enumerate(jobs):
                assert await plane.outcome(job) == (place // 2 + 2 if place % 2 == 0 else None)
                assert plane.lines("stdout", job) == ([] if place % 2 == 0 else [f"line {place // 2}"])
            done = [header["job"] for _, header, _ in plane.frames if header["type"] == messages.DONE]
            assert done[1:] == jobs

    asyncio.run(main())


def test_what_has_not_begun_is_taken_back_though_the_child_holds_the_interpreter(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"cancel_grace_s": 10.0}) as plane:
            await plane.call(by_name("add"), 1)
            long = await plane.start(by_name("hold_the_gil"), 3_000_000)
            await plane.until(lambda: "holding" in plane.lines(), "start of the call")
            waiting = [await plane.start(by_name("remember"), number) for number in range(4)]
            assert await given_back(plane, long, waiting[0], waiting[2], "unheard-of") == [waiting[0], waiting[2]]
            await plane.send({"type": messages.CANCEL, "job": waiting[3], "attempt": 1})
            is_error(await plane.outcome(waiting[3]), ErrorKind.CANCELLED)
            assert "done" not in [header["type"] for _, header, _ in plane.frames if header.get("job") == long]
            assert await plane.outcome(waiting[1]) == [1]  # of all of them the only one that ran
            assert await given_back(plane, long, *waiting) == []

    asyncio.run(main())


def test_what_has_not_begun_is_taken_back_from_a_child_that_is_stopped(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            child = await plane.call(by_name("own_pid"))
            running = await plane.start(by_name("sleep"), 0.2)
            await plane.frame("started", job=running)
            inside = next(
                pid for pid in plane.left_over() if _status(pid).get("NSpid", "").split()[-1:] == [str(child)]
            )
            os.kill(inside, signal.SIGSTOP)
            try:
                waiting = await plane.start(by_name("add"), 1)
                assert await given_back(plane, running, waiting) == [waiting]
            finally:
                os.kill(inside, signal.SIGCONT)
            await plane.outcome(running)
            assert await plane.call(by_name("add"), 1) == 3

    asyncio.run(main())


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_a_timeout_counts_from_the_moment_at_which_a_call_begins(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            await plane.call(by_name("add"), 1)
            before = await plane.start(by_name("spin"), 0.8)
            behind = await plane.start(by_name("spin"), 0.01, timeout_ms=600)
            assert await plane.outcome(before) == "spun"
            assert await plane.outcome(behind) == "spun"
            late = await plane.start(by_name("sleep"), 60, timeout_ms=200)
            waiting = await plane.start(by_name("add"), 1)
            is_error(await plane.outcome(late), ErrorKind.TIMED_OUT)
            gone, _ = await plane.frame("gone")
            assert (gone["jobs"], gone["unbegun"]) == ([waiting], [waiting])

    asyncio.run(main())


def test_a_worker_that_ends_says_which_calls_had_begun(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            await plane.call(by_name("add"), 1)
            ending = await plane.start(by_name("exit_hard"), 3)
            waiting = [await plane.start(by_name("add"), number) for number in range(3)]
            gone, _ = await plane.frame("gone")
            assert (gone["jobs"], gone["unbegun"]) == ([ending, *waiting], waiting)

    asyncio.run(main())


def test_a_drained_worker_ends_when_the_rest_was_taken_back(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            await plane.call(by_name("add"), 1)
            running = await plane.start(by_name("spin"), 0.3)
            waiting = [await plane.start(by_name("add"), number) for number in range(3)]
            await plane.frame("started", job=running)
            await plane.send({"type": messages.DRAIN})
            assert await given_back(plane, *waiting) == waiting
            assert await plane.outcome(running) == "spun"
            assert await plane.process.wait() == 0

    asyncio.run(main())
