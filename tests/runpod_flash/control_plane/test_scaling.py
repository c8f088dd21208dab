"""The number of workers, as a rule over all loads and limits."""

import math
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from runpod_flash.control_plane.scaling import (
    Limits,
    Load,
    QueueDelay,
    RequestCount,
    decide,
    needed,
    surplus,
    throttled,
)

rooms = st.none() | st.integers(0, 30)
scalers = st.builds(QueueDelay, st.just(0.0) | st.floats(0.5, 100)) | st.builds(RequestCount, st.integers(1, 100))


@st.composite
def loads(draw: st.DrawFn, room: st.SearchStrategy[int | None] = rooms) -> Load:
    queued, workers = draw(st.integers(0, 9) | st.integers(0, 60) | st.integers(0, 10_000)), draw(st.integers(0, 50))
    return Load(
        queued=queued,
        running=draw(st.integers(0, 9) | st.integers(0, 500)),
        workers=workers,
        starting=draw(st.just(0) | st.integers(0, workers)),
        overdue=draw(st.integers(0, queued)),
        low_priority=draw(st.integers(0, 1000)),
        low_priority_running=draw(st.integers(0, 9) | st.integers(0, 100)),
        room=draw(room),
    )


@st.composite
def limits(draw: st.DrawFn, scaler: st.SearchStrategy[QueueDelay | RequestCount] = scalers) -> Limits:
    minimum = draw(st.integers(0, 20))
    return Limits(minimum, draw(st.integers(minimum, 60)), draw(scaler), draw(st.integers(1, 16)))


def need(load: Load, bounds: Limits) -> int:
    return math.ceil((load.queued + load.running + load.low_priority_running) / bounds.slots)


def grown(load: Load, bounds: Limits) -> Load:
    """The load after the workers that are asked for have been started."""
    more = decide(load, bounds) - load.workers
    room = None if load.room is None else load.room - more
    return replace(load, workers=load.workers + more, starting=load.starting + more, room=room)


@given(loads(), limits())
def test_the_number_stays_within_the_limits_and_the_room(load: Load, bounds: Limits) -> None:
    number = decide(load, bounds)
    assert min(load.workers, bounds.maximum) <= number <= bounds.maximum
    if load.room is None:
        assert number >= bounds.minimum
    else:
        assert number <= load.workers + load.room


@given(loads(), limits())
def test_a_waiting_job_always_gets_a_worker_where_one_is_allowed(load: Load, bounds: Limits) -> None:
    if load.queued and bounds.maximum and load.room != 0:
        assert decide(load, bounds) >= 1


@given(loads(), limits(), st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_more_jobs_never_mean_fewer_workers(load: Load, bounds: Limits, more: int, late: int, running: int) -> None:
    heavier = replace(
        load, queued=load.queued + more, overdue=load.overdue + min(more, late), running=load.running + running
    )
    assert decide(heavier, bounds) >= decide(load, bounds)
    assert needed(heavier, bounds) >= needed(load, bounds)


@given(loads(), limits())
def test_what_is_asked_for_is_not_asked_for_again(load: Load, bounds: Limits) -> None:
    assume(load.workers <= bounds.maximum)
    assert decide(grown(load, bounds), bounds) == decide(load, bounds)


@given(loads(), limits(st.builds(QueueDelay, st.just(0.0) | st.floats(0.5, 100))))
def test_a_queue_delay_never_asks_for_more_than_the_jobs_can_use(load: Load, bounds: Limits) -> None:
    assert decide(load, bounds) <= max(load.workers, bounds.minimum, need(load, bounds))


@given(loads(room=st.none()), limits(st.builds(QueueDelay, st.floats(0.5, 100))))
def test_while_jobs_wait_too_long_workers_grow_up_to_the_need_or_the_maximum(load: Load, bounds: Limits) -> None:
    up = load.workers - load.starting
    load = replace(load, running=min(load.running, up * bounds.slots), low_priority_running=0)
    enough = min(need(load, bounds), bounds.maximum)
    if load.overdue and up < enough:
        assert decide(load, bounds) > up
    late = replace(load, overdue=load.queued)
    assert not load.queued or decide(late, bounds) >= enough


@given(loads(), limits(), st.integers(0, 1000))
def test_queued_low_priority_jobs_change_nothing(load: Load, bounds: Limits, low: int) -> None:
    other = replace(load, low_priority=low)
    for rule in (decide, needed, throttled):
        assert rule(other, bounds) == rule(load, bounds)


@given(loads(), limits())
def test_without_a_waiting_normal_job_low_priority_jobs_bring_no_worker(load: Load, bounds: Limits) -> None:
    load = replace(load, queued=0, overdue=0)
    assert decide(load, bounds) == decide(replace(load, low_priority=0, low_priority_running=0), bounds)


def test_only_low_priority_jobs_wait_for_a_worker_that_comes_for_another_reason() -> None:
    for scaler in (QueueDelay(0), QueueDelay(4), RequestCount(1)):
        only_low = Load(queued=0, running=0, workers=0, low_priority=9)
        assert decide(only_low, Limits(0, 5, scaler)) == 0
        assert decide(only_low, Limits(1, 5, scaler)) == 1
        assert decide(replace(only_low, queued=1), Limits(0, 5, scaler)) == 1


def test_a_normal_job_does_not_wait_behind_low_priority_jobs() -> None:
    load = Load(queued=1, overdue=1, running=0, workers=2, low_priority_running=2)
    for scaler in (QueueDelay(0), QueueDelay(4), RequestCount(1)):
        assert decide(load, Limits(0, 5, scaler)) == 3


@given(loads(), limits())
def test_throttled_are_those_that_more_room_would_bring(load: Load, bounds: Limits) -> None:
    without = replace(load, room=None)
    assert throttled(load, bounds) == decide(without, bounds) - decide(load, bounds) >= 0
    assert throttled(without, bounds) == 0


def test_without_room_a_worker_is_throttled() -> None:
    load = Load(queued=7, running=2, workers=2, room=1)
    assert (decide(load, Limits(0, 5, QueueDelay(0))), throttled(load, Limits(0, 5, QueueDelay(0)))) == (3, 2)


@given(loads(), limits(), st.lists(st.floats(0, 100), max_size=60), st.floats(0, 100))
def test_what_is_asked_for_is_not_surplus(load: Load, bounds: Limits, idle: list[float], timeout: float) -> None:
    assume(load.workers <= bounds.maximum)
    after = grown(load, bounds)
    idle = idle[: load.workers - load.starting]  # who starts is not idle
    count = surplus(idle, workers=after.workers, minimum=needed(after, bounds), idle_timeout=timeout)
    rest = replace(after, workers=after.workers - count)
    if not load.queued or isinstance(bounds.scaler, RequestCount) or bounds.scaler.seconds == 0:
        assert decide(rest, bounds) == rest.workers  # at once, nothing comes back
    assert rest.workers >= min(needed(after, bounds), after.workers)
    assert rest.workers >= after.starting


def test_idle_workers_that_the_request_count_asks_for_stay() -> None:
    bounds = Limits(0, 5, RequestCount(1), slots=4)
    load = Load(queued=0, running=4, workers=4)
    assert surplus([60.0] * 3, workers=4, minimum=needed(load, bounds), idle_timeout=10) == 0
    quieter = replace(load, running=2)
    assert surplus([60.0] * 3, workers=4, minimum=needed(quieter, bounds), idle_timeout=10) == 2


def test_without_delay_the_need_is_met_at_once() -> None:
    assert decide(Load(queued=7, running=0, workers=0), Limits(0, 5, QueueDelay(0))) == 5
    assert decide(Load(queued=7, running=0, workers=0), Limits(0, 5, QueueDelay(0), slots=4)) == 2


def test_with_a_delay_the_first_job_brings_a_worker_and_each_overdue_job_another() -> None:
    bounds = Limits(0, 9, QueueDelay(4))
    assert decide(Load(queued=9, running=0, workers=0), bounds) == 1
    assert decide(Load(queued=9, running=0, workers=1, starting=1), bounds) == 1
    assert decide(Load(queued=9, running=0, workers=1, starting=1, overdue=1), bounds) == 1
    assert decide(Load(queued=8, running=1, workers=1), bounds) == 1
    assert decide(Load(queued=8, running=1, workers=1, overdue=3), bounds) == 4
    assert decide(Load(queued=8, running=1, workers=4, starting=3, overdue=3), bounds) == 4
    assert decide(Load(queued=8, running=1, workers=1, overdue=8), bounds) == 9
    assert decide(Load(queued=8, running=1, workers=1, overdue=5), Limits(0, 9, QueueDelay(4), slots=4)) == 3


@given(st.integers(0, 10_000), st.integers(0, 500), st.integers(1, 100), limits())
def test_request_count_divides_the_load(queued: int, running: int, jobs: int, bounds: Limits) -> None:
    bounds = replace(bounds, scaler=RequestCount(jobs))
    formula = min(bounds.maximum, max(bounds.minimum, math.ceil((queued + running) / jobs)))
    assert decide(Load(queued, running, workers=0), bounds) == formula
    assert decide(Load(8, 1, workers=0), Limits(0, 9, RequestCount(4))) == 3


@given(st.lists(st.floats(0, 100), max_size=20), st.integers(0, 30), st.integers(0, 5), st.floats(0, 100))
def test_only_expired_workers_stop_and_the_minimum_stays(
    idle: list[float], busy: int, minimum: int, timeout: float
) -> None:
    workers = len(idle) + busy
    count = surplus(idle, workers=workers, minimum=minimum, idle_timeout=timeout)
    assert 0 <= count <= sum(seconds >= timeout for seconds in idle)
    assert workers - count >= min(minimum, workers)
    assert count == surplus(
        [seconds for seconds in idle if seconds >= timeout], workers=workers, minimum=minimum, idle_timeout=timeout
    )
