"""A kill, a cancel and a timeout at every stage of a call: each ends as is promised, and the endpoint serves the next.

What is promised stands in docs/guarantees.md, what the errors mean in `errors`.
"""

import asyncio
import itertools
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psutil
import pytest

from runpod_flash.calls import JobOptions
from runpod_flash.errors import InstallError, JobCancelled, JobExpired, JobTimedOut, WorkerLost
from tests.chaos.killing import children, control_planes, parents
from tests.support.place import Place
from tests.support.processes import signal_all
from tests.support.stages import DEADLINE_S, LARGE, Held, Scene
from tests.support.waiting import wait_until

GRACE_S = "0.5"
QUEUE_MS = 400
RUN_MS = 1500
TTL_MS = 10_000  # the least that the API takes


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One control plane for all calls."""
    place = Place.below(tmp_path_factory.mktemp("stages"))
    with Scene.open(place, FLASH_CANCEL_GRACE_S=GRACE_S) as scene:
        yield scene
    place.close()


Act = Callable[[Held], int]
"""Makes the call, does something to it at its stage, and gives its value or raises what ends it."""


def killed(find: Callable[[Place], list[psutil.Process]]) -> Act:
    """Kill processes; what is held goes on only then."""

    def act(held: Held) -> int:
        job = held.spawn()
        held.wait(job)
        victims = find(held.scene.place)
        assert victims
        signal_all(victims)
        wait_until(lambda: not [each for each in victims if each.is_running()], DEADLINE_S, "the processes are gone")
        held.go()
        if held.stage == "streaming":  # who reads before that, reads what the first attempt has left
            wait_until(lambda: job.status.blocking() and held.starts == 2, DEADLINE_S, "it was started again")
        return held.value(job)

    return act


def cancelled(held: Held) -> int:
    """`job.cancel()`."""
    job = held.spawn()
    held.wait(job)
    job.cancel.blocking()
    return held.value(job)


def abandoned(held: Held) -> int:
    """The awaiting task is cancelled, and with it the job."""

    async def main() -> int:
        task = asyncio.create_task(held.call())
        await asyncio.to_thread(held.wait)
        task.cancel()
        return await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    return held.value(held.submitted()[-1])


def interrupted(held: Held) -> int:
    """Ctrl-C in a program that blocks for the call."""
    with held.program() as program:
        try:
            held.wait()
            program.send_signal(signal.SIGINT)
            stderr = program.communicate(timeout=DEADLINE_S)[1]
        finally:
            program.kill()
    assert "KeyboardInterrupt" in stderr
    return held.value(held.submitted()[-1])


def expired(options: JobOptions) -> Act:
    """A limit of the job ends."""

    def act(held: Held) -> int:
        if held.stage in ("building", "starting"):  # the limit might end before it got there
            held.lead()
        job = held.spawn(options)
        if held.stage != "queued":  # where it is from its beginning, and not for long
            held.wait()
        return held.value(job)

    return act


def installers(place: Place) -> list[psutil.Process]:
    """The processes that install."""
    (plane,) = control_planes(place)
    return [each for each in plane.children() if each.name() == "uv"]


ACTS: dict[str, Act] = {
    "parent killed": killed(parents),
    "child killed": killed(children),
    "control plane killed": killed(control_planes),
    "installer killed": killed(installers),
    "cancelled": cancelled,
    "Ctrl-C": interrupted,
    "task cancelled": abandoned,
    "timed out": expired(JobOptions(timeout_ms=RUN_MS)),
    "too long in the queue": expired(JobOptions(queue_timeout_ms=QUEUE_MS)),
    "lived too long": expired(JobOptions(ttl_ms=TTL_MS)),
}


@dataclass(frozen=True)
class Cell:
    """What ends a call at a stage: its value or an error, after so many starts of the function."""

    end: type[Exception] | None
    starts: int
    retries: int | None = None


VALUE = Cell(None, 1)
TABLE: dict[tuple[str, str], Cell] = {
    ("queued", "parent killed"): VALUE,
    ("queued", "child killed"): VALUE,
    ("queued", "control plane killed"): VALUE,
    ("queued", "cancelled"): Cell(JobCancelled, 0),
    ("queued", "task cancelled"): Cell(JobCancelled, 0),
    ("queued", "Ctrl-C"): Cell(JobCancelled, 0),
    ("queued", "too long in the queue"): Cell(JobExpired, 0),
    ("queued", "lived too long"): Cell(JobExpired, 0),
    ("building", "control plane killed"): VALUE,
    ("building", "installer killed"): Cell(InstallError, 0),
    ("building", "cancelled"): Cell(JobCancelled, 0),
    ("building", "task cancelled"): Cell(JobCancelled, 0),
    ("building", "Ctrl-C"): Cell(JobCancelled, 0),
    ("building", "too long in the queue"): Cell(JobExpired, 0),
    ("building", "lived too long"): Cell(JobExpired, 0),
    ("starting", "parent killed"): VALUE,
    ("starting", "child killed"): VALUE,
    ("starting", "control plane killed"): VALUE,
    ("starting", "cancelled"): Cell(JobCancelled, 0),
    ("starting", "task cancelled"): Cell(JobCancelled, 0),
    ("starting", "Ctrl-C"): Cell(JobCancelled, 0),
    ("starting", "too long in the queue"): Cell(JobExpired, 0),
    ("starting", "lived too long"): Cell(JobExpired, 0),
    ("running", "parent killed"): Cell(WorkerLost, 1, retries=0),
    ("running", "child killed"): Cell(WorkerLost, 1, retries=0),
    ("running", "control plane killed"): Cell(WorkerLost, 1, retries=0),
    ("running", "cancelled"): Cell(JobCancelled, 1),
    ("running", "task cancelled"): Cell(JobCancelled, 1),
    ("running", "timed out"): Cell(JobTimedOut, 1),
    ("running", "lived too long"): Cell(JobExpired, 1),
    ("streaming", "parent killed"): Cell(None, 2),
    ("streaming", "child killed"): Cell(None, 2),
    ("streaming", "control plane killed"): Cell(None, 2),
    ("streaming", "cancelled"): Cell(JobCancelled, 1),
    ("streaming", "task cancelled"): Cell(JobCancelled, 1),
    ("streaming", "Ctrl-C"): Cell(JobCancelled, 1),
    ("streaming", "timed out"): Cell(JobTimedOut, 1),
    ("streaming", "lived too long"): Cell(JobExpired, 1),
    ("half read", "parent killed"): Cell(WorkerLost, 1),
    ("half read", "child killed"): Cell(WorkerLost, 1),
    ("half read", "control plane killed"): Cell(WorkerLost, 1),
    ("half read", "cancelled"): Cell(JobCancelled, 1),
    ("returning", "parent killed"): Cell(None, 2),
    ("returning", "child killed"): Cell(None, 2),
    ("returning", "control plane killed"): Cell(None, 2),
    ("returning", "cancelled"): Cell(JobCancelled, 1),
    ("returning", "task cancelled"): Cell(JobCancelled, 1),
    ("returning", "Ctrl-C"): Cell(JobCancelled, 1),
    ("returning", "timed out"): Cell(JobTimedOut, 1),
    ("returning", "lived too long"): Cell(JobExpired, 1),
}
_number = itertools.count(1)


SLOW = {"control plane killed", "parent killed", "child killed", "lived too long", "Ctrl-C"}


@pytest.mark.parametrize(
    ("stage", "what"),
    [pytest.param(*cell, id=": ".join(cell), marks=[pytest.mark.slow] if cell[1] in SLOW else []) for cell in TABLE],
)
def test_what_ends_a_call(scene: Scene, stage: str, what: str) -> None:
    cell = TABLE[stage, what]
    held = scene.prepare(stage, f"{stage}-{next(_number)}", retries=cell.retries)
    if cell.end is None:
        assert ACTS[what](held) == 7
    else:
        with pytest.raises(cell.end):
            ACTS[what](held)
    assert held.starts == cell.starts
    held.go()
    assert held.next() == 8


@pytest.mark.slow
def test_a_value_that_was_not_fetched_yet_is_there_after_the_control_plane_was_killed(scene: Scene) -> None:
    held = scene.prepare("large", f"large-{next(_number)}")
    job = held.spawn()
    scene.session.run(scene.session.wait(job._ticket))
    signal_all(control_planes(scene.place))
    assert str(job.result.blocking(DEADLINE_S)) == "7" * LARGE
    assert held.starts == 1
    assert held.next() == 8


@pytest.mark.slow
def test_a_control_plane_that_is_killed_while_it_stores_a_value_has_it_computed_again(scene: Scene) -> None:
    held = scene.prepare("large", f"large-{next(_number)}")
    (plane,) = control_planes(scene.place)
    before = plane.io_counters().write_chars
    job = held.spawn()
    wait_until(lambda: plane.io_counters().write_chars > before + LARGE / 3, DEADLINE_S, "the value is being written")
    plane.kill()
    assert str(job.result.blocking(DEADLINE_S)) == "7" * LARGE
    assert held.starts in (1, 2)
    assert held.next() == 8
