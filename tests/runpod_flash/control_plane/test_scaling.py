"""The number of workers, as a rule over all loads and limits."""

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.scaling import Limits, Load, QueueDelay, RequestCount, decide, surplus

loads = st.builds(
    Load,
    queued=st.integers(0, 10_000),
    running=st.integers(0, 500),
    workers=st.integers(0, 50),
    starting=st.integers(0, 5),
    oldest_wait=st.floats(0, 1e6),
)
scalers = st.builds(QueueDelay, st.floats(0, 100)) | st.builds(RequestCount, st.integers(1, 100))


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    minimum = draw(st.integers(0, 20))
    return Limits(minimum, draw(st.integers(minimum, 60)), draw(scalers), draw(st.integers(1, 16)))


@given(loads, limits())
def test_the_number_stays_within_the_limits(load: Load, bounds: Limits) -> None:
    assert bounds.minimum <= decide(load, bounds) <= bounds.maximum


@given(loads, limits())
def test_a_waiting_job_always_gets_a_worker_where_one_is_allowed(load: Load, bounds: Limits) -> None:
    if load.queued and bounds.maximum:
        assert decide(load, bounds) >= 1


@given(loads, limits(), st.integers(1, 1000))
def test_more_waiting_jobs_never_mean_fewer_workers(load: Load, bounds: Limits, more: int) -> None:
    heavier = Load(load.queued + more, load.running, load.workers, load.starting, load.oldest_wait)
    assert decide(heavier, bounds) >= decide(load, bounds)


def test_without_delay_the_need_is_met_at_once() -> None:
    assert decide(Load(queued=7, running=0, workers=0), Limits(0, 5, QueueDelay(0))) == 5
    assert decide(Load(queued=7, running=0, workers=0), Limits(0, 5, QueueDelay(0), slots=4)) == 2


def test_with_a_delay_workers_come_one_by_one() -> None:
    bounds = Limits(0, 5, QueueDelay(4))
    assert decide(Load(queued=9, running=0, workers=0), bounds) == 1
    assert decide(Load(queued=9, running=1, workers=1, oldest_wait=3.9), bounds) == 1
    assert decide(Load(queued=9, running=1, workers=1, oldest_wait=4.1), bounds) == 2
    assert decide(Load(queued=9, running=1, workers=2, starting=1, oldest_wait=9), bounds) == 2


def test_request_count_divides_the_load() -> None:
    assert decide(Load(queued=8, running=1, workers=0), Limits(0, 9, RequestCount(4))) == 3


@given(st.lists(st.floats(0, 100), max_size=20), st.integers(0, 30), st.integers(0, 5), st.floats(0, 100))
def test_only_expired_workers_stop_and_the_minimum_stays(
    idle: list[float], busy: int, minimum: int, timeout: float
) -> None:
    workers = len(idle) + busy
    count = surplus(idle, workers=workers, minimum=minimum, idle_timeout=timeout)
    assert 0 <= count <= sum(seconds >= timeout for seconds in idle)
    assert workers - count >= min(minimum, workers)
