"""The simulation keeps its books, the oracle is a bound, and the rule that is simulated is the control plane's."""

import itertools
import math
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulation.engine import Endpoint, Run, Settings
from benchmarks.simulation.figures import delays_over_time, percentile
from benchmarks.simulation.oracle import foresee
from benchmarks.simulation.patterns import PATTERNS, Pattern, Workload, workload
from benchmarks.simulation.study import SCALERS, play, study
from runpod_flash.control_plane.scaling import Limits, QueueDelay, RequestCount, decide

JOBS, SEED = 1000, 7
COLD_START, IDLE_TIMEOUT = 3.0, 5.0
patterns = pytest.mark.parametrize("pattern", PATTERNS, ids=[pattern.name for pattern in PATTERNS])
few_jobs = st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 10)), min_size=1, max_size=4)


def jobs(*pairs: tuple[float, float]) -> Workload:
    """Jobs by arrival and service time."""
    ordered = sorted(pairs)
    return Workload(array("d", (arrival for arrival, _ in ordered)), array("d", (service for _, service in ordered)))


def run(load: Workload, scaler: QueueDelay | RequestCount, minimum: int = 0, maximum: int = 9) -> Run:
    limits = Limits(minimum, maximum, scaler)
    return Endpoint(load, Settings(limits, (COLD_START, COLD_START), IDLE_TIMEOUT)).play()


@patterns
def test_the_oracle_is_a_bound_for_every_scaler(pattern: Pattern) -> None:
    load = workload(pattern, JOBS, SEED)
    for maximum in (3, 10_000):
        oracle = foresee(load, maximum=maximum, cold_start=pattern.cold_start[0])
        assert load.work < oracle.worker_seconds
        assert maximum == 3 or max(oracle.delays) == 0
        for scaler in SCALERS.values():
            found = play(replace(pattern, maximum=maximum), load, scaler)
            assert found.peak <= maximum
            assert found.worker_seconds >= load.work + found.cold_starts * pattern.cold_start[0]
            pairs = zip(found.delays, oracle.delays, strict=True)
            assert all(delay >= least - 1e-6 for delay, least in pairs)


@patterns
def test_more_workers_never_give_more_delay(pattern: Pattern) -> None:
    load = workload(pattern, JOBS, SEED)
    for name, scaler in SCALERS.items():
        totals = [math.fsum(play(replace(pattern, maximum=most), load, scaler).delays) for most in (1, 8, 10_000)]
        assert all(more <= less * (1 + 1e-9) for less, more in itertools.pairwise(totals)), (name, totals)


def test_the_same_seed_gives_the_same_run() -> None:
    pattern = PATTERNS[1]
    assert study(pattern, 300, SEED) == study(pattern, 300, SEED)
    assert workload(pattern, 300, SEED) != workload(pattern, 300, SEED + 1)


def test_a_job_waits_for_a_cold_start_and_a_worker_costs_from_start_to_stop() -> None:
    found = run(jobs((10.0, 2.0)), QueueDelay(4))
    assert list(found.delays) == [COLD_START]
    assert found.worker_seconds == pytest.approx(COLD_START + 2.0 + IDLE_TIMEOUT, abs=0.2)
    assert (found.cold_starts, found.peak) == (1, 1)


def test_an_overdue_job_adds_a_worker() -> None:
    found = run(jobs((0.0, 100.0), (1.0, 9.0), (3.5, 1.0)), QueueDelay(4))
    assert list(found.delays) == pytest.approx([COLD_START, 4.0 + COLD_START, 4.0 + COLD_START], abs=0.2)
    assert found.peak == 3


def test_the_minimum_is_kept_and_the_rest_goes() -> None:
    load = jobs(*((0.0, 1.0) for _ in range(5)), (60.0, 1.0))
    found = run(load, QueueDelay(0), minimum=2)
    assert found.delays[-1] == 0
    assert (found.cold_starts, found.peak) == (5, 5)
    assert found.worker_seconds == pytest.approx(3 * (COLD_START + 1 + IDLE_TIMEOUT) + 2 * found.end, abs=0.5)


def test_a_rule_that_asks_for_more_than_the_maximum_is_found() -> None:
    settings = Settings(Limits(0, 2, QueueDelay(0)), (COLD_START, COLD_START), IDLE_TIMEOUT)
    load = jobs((0.0, 1.0))
    with pytest.raises(AssertionError, match="maximum"):
        Endpoint(load, settings, rule=lambda load, limits: decide(load, limits) + 5).play()


@given(few_jobs, st.floats(0.1, 10))
def test_the_oracle_costs_what_the_best_of_all_ways_costs(pairs: list[tuple[float, float]], cold_start: float) -> None:
    load = jobs(*pairs)
    assert foresee(load, maximum=9, cold_start=cold_start).worker_seconds == pytest.approx(
        load.work + cheapest(load, cold_start)
    )


def cheapest(load: Workload, cold_start: float) -> float:
    """The least sum of cold starts and idle times, by trying every way to give each job an ended one's worker."""
    count = len(load.arrivals)
    ends = [arrival + service for arrival, service in zip(load.arrivals, load.services, strict=True)]
    best = math.inf
    for before in itertools.permutations([*range(count), *[None] * count], count):
        gaps = [cold_start if other is None else load.arrivals[job] - ends[other] for job, other in enumerate(before)]
        if min(gaps) >= 0:
            best = min(best, sum(gaps))
    return best


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_the_least_value_with_enough_below(values: list[float], part: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, part)
    assert sum(value <= found for value in ordered) >= part * len(ordered)
    assert sum(value < found for value in ordered) < part * len(ordered)


def test_delays_over_time_hold_every_job_once() -> None:
    load = workload(PATTERNS[2], JOBS, SEED)
    moments, values = delays_over_time(load.arrivals, array("d", range(JOBS)))
    assert moments == sorted(moments)
    assert values[-1] >= 0.9 * JOBS
    assert delays_over_time(array("d", [0.0]), array("d", [3.0]))[1] == [3.0]
