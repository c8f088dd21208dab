"""What a function says about itself reaches its caller's job and terminal."""

import asyncio
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import Endpoint, progress
from runpod_flash.errors import CallError
from tests.support.inline import inline_session
from tests.support.waiting import wait_until
from worker_runtime.reporting import reporting
from worker_runtime.wire.jobs import Progress

CPU: Any = {"cpu": "cpu3c-1-2"}
GO = threading.Event()


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[None]:
    GO.clear()
    with inline_session(tmp_path):
        yield


@Endpoint("works", **CPU)
def works(total: int) -> str:
    progress(1, total, "half\n way")
    GO.wait(10)
    return "done"


@Endpoint("works-async", max_concurrency=3, **CPU)
async def works_async(total: int) -> None:
    progress(1, total)
    await asyncio.to_thread(GO.wait, 10)


def test_it_is_seen_while_the_job_runs() -> None:
    job = works.spawn(2)
    assert job.progress is None
    wait_until(lambda: job.status.blocking() == "IN_PROGRESS" and job.progress == Progress(1, 2, "half way"), 5)
    GO.set()
    assert job.result.blocking() == "done"
    assert job.progress is None
    assert job.output == "done"


def test_each_call_says_its_own() -> None:
    jobs = [works_async.spawn(total) for total in (3, 4, 5)]

    def seen() -> list[Any]:
        for job in jobs:
            job.status.blocking()
        return [job.progress.total for job in jobs if job.progress is not None]

    wait_until(lambda: seen() == [3, 4, 5], 5)
    GO.set()
    for job in jobs:
        job.wait.blocking()


def test_outside_of_a_call_it_does_nothing() -> None:
    progress(1, 2)
    GO.set()
    assert works.local(1) == "done"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((1,), Progress(1)),
        ((Fraction(6, 2), Fraction(1, 2)), Progress(3.0, 0.5)),
        ((0.5, None, "a\tb"), Progress(0.5, None, "a b")),
        ((1, 2, "x" * 1000), Progress(1, 2, "x" * 200)),
    ],
    ids=["done", "fractions", "float", "long"],
)
def test_what_may_be_said(given: Any, said: Progress) -> None:
    heard: list[Progress] = []
    with reporting(heard.append):
        progress(*given)
    assert heard == [said]
    assert type(heard[0].done) in (int, float)
    assert Progress.from_json(said.to_json()) == said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("half", 1), "done='half'; it must be a finite number"),
        ((True, 1), "done=True"),
        ((1, float("nan")), "total=nan"),
        ((1, 2, 3), "message=3; it must be a text"),
    ],
)
def test_what_may_not_be_said(given: Any, words: str) -> None:
    with pytest.raises(CallError, match=words):
        progress(*given)
