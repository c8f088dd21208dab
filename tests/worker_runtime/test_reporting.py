"""Reports find their call, some ten leave in a second, and the last one always does."""

import asyncio
import threading

import pytest

from tests.support.waiting import wait_until
from worker_runtime import reporting
from worker_runtime.reporting import Reports
from worker_runtime.wire.jobs import Progress


def test_a_report_belongs_to_the_call_around_it() -> None:
    one, two = list[float](), list[float]()

    async def call(to: list[float]) -> None:
        with reporting.reporting(lambda progress: to.append(progress.done)):
            for number in range(3):
                assert await asyncio.to_thread(reporting.report, Progress(number))
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(call(one), call(two))

    asyncio.run(main())
    assert one == two == [0, 1, 2]
    assert not reporting.report(Progress(1))


@pytest.mark.parametrize("alone", [True, False])
def test_a_thread_of_its_own_reports_to_the_call_that_runs_alone(alone: bool) -> None:
    told, found = list[float](), list[bool]()
    with reporting.reporting(lambda progress: told.append(progress.done), alone=alone):
        thread = threading.Thread(target=lambda: found.append(reporting.report(Progress(1))))
        thread.start()
        thread.join()
    assert (told, found) == (([1], [True]) if alone else ([], [False]))


def test_many_reports_leave_as_few_and_the_last_one_before_the_end() -> None:
    sent = list[float]()
    reports = Reports(lambda progress: sent.append(progress.done))
    for number in range(100_000):
        reports.add(Progress(number))
    reports.finish()
    assert sent[-1] == 99_999
    assert len(sent) < 1000
    assert sent == sorted(sent)
    reports.add(Progress(5))
    assert sent[-1] == 99_999


def test_a_lone_report_leaves_by_itself_and_its_thread_ends_with_the_call() -> None:
    sent = list[float]()
    reports = Reports(lambda progress: sent.append(progress.done))
    reports.add(Progress(1))
    wait_until(lambda: sent == [1], 5, "the report left")
    reports.add(Progress(2))
    wait_until(lambda: sent == [1, 2], 5, "the second left")
    reports.finish()
    wait_until(lambda: "flash-progress" not in {thread.name for thread in threading.enumerate()}, 5, "the thread ends")
