"""Why a job waits: one cause for every situation."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane import causes
from runpod_flash.control_plane.causes import CauseKind, Situation, cause_of
from runpod_flash.control_plane.crashes import Crashes
from tests.support.memory_fleet import Scene

TEXTS = st.sampled_from(["", "because"])
SITUATIONS = st.builds(
    Situation,
    behind=st.integers(0, 5),
    queued_since=st.just(1.0),
    ready=st.integers(0, 3),
    starting=st.integers(0, 3),
    starting_since=st.sampled_from([0.0, 3.0]),
    building=st.booleans(),
    building_since=st.just(2.0),
    building_detail=TEXTS,
    paused=TEXTS,
    stalled=TEXTS,
    no_capacity=TEXTS,
    crashed=TEXTS,
    backoff=TEXTS,
)


@given(SITUATIONS)
def test_every_situation_has_one_cause_with_words_and_a_time(at: Situation) -> None:
    cause = cause_of(at)
    assert cause.kind in CauseKind
    assert cause.text
    assert cause.since > 0
    assert cause.behind == (0 if at.backoff else at.behind)
    if cause.kind is CauseKind.CRASH_LOOP:
        assert at.crashed
    if cause.kind is CauseKind.PAUSED:
        assert at.paused


@pytest.mark.parametrize(
    ("at", "kind", "text"),
    [
        (Situation(ready=2, behind=3), CauseKind.QUEUED, "behind 3, 2 workers busy"),
        (Situation(ready=1, starting=1), CauseKind.QUEUED, "next in line, 1 worker busy, 1 starting"),
        (Situation(ready=1, no_capacity="no GPU"), CauseKind.QUEUED, "next in line, 1 worker busy, no GPU"),
        (Situation(building=True, building_detail="7 packages"), CauseKind.BUILDING, "is built (7 packages)"),
        (Situation(), CauseKind.STARTING, "a worker starts"),
        (Situation(starting=1, crashed="it crashed"), CauseKind.STARTING, "a worker starts"),
        (Situation(crashed="it crashed"), CauseKind.CRASH_LOOP, "it crashed"),
        (Situation(no_capacity="no GPU"), CauseKind.NO_CAPACITY, "no GPU"),
        (Situation(ready=1, stalled="disk full"), CauseKind.NO_CAPACITY, "disk full"),
        (Situation(ready=1, paused="workers=0"), CauseKind.PAUSED, "workers=0"),
        (Situation(ready=1, backoff="waits 2 s", paused="drains"), CauseKind.BACKOFF, "waits 2 s"),
    ],
)
def test_what_holds_a_job_back_is_said(at: Situation, kind: CauseKind, text: str) -> None:
    cause = cause_of(at)
    assert cause.kind is kind
    assert text in cause.text


def test_a_job_knows_its_place_in_the_queue_of_its_pool_or_of_its_worker() -> None:
    async def play() -> None:
        scene = Scene()
        scene.start()
        jobs = [await scene.submit() for _ in range(3)]
        await scene.turns()
        assert [causes.why(scene.pool, job).behind for job in jobs[1:]] == [0, 1]
        objects = Scene()
        objects.start()
        calls = [await objects.submit(instance="thing") for _ in range(3)]
        await objects.turns()
        assert [causes.why(objects.pool, job).behind for job in calls[1:]] == [0, 1]

    asyncio.run(play())


def test_a_pool_in_a_crash_loop_says_so() -> None:
    async def play() -> None:
        scene = Scene()
        job = await scene.submit()
        assert causes.why(scene.pool, job).kind is CauseKind.STARTING
        scene.pool.crashes = Crashes().after_end(was_ready=False, reason="exited with code 3", now=1e12)
        cause = causes.why(scene.pool, job)
        assert (cause.kind, cause.to_json()["kind"]) == (CauseKind.CRASH_LOOP, "crash_loop")
        assert "exited with code 3" in cause.text

    asyncio.run(play())
