"""What counts as flat: series with noise, outliers and teeth do; slow leaks and steps do not."""

import itertools
import random
from collections.abc import Callable

import pytest

from tests.chaos.soak_verdict import Verdict, judge, peaks, slope

TIMES = [2.0 * number for number in range(300)]
"""Ten minutes, a sample every two seconds."""


def judged(value: Callable[[float], float], least: float = 1.0) -> Verdict:
    """The verdict on a function of the time."""
    return judge(TIMES, [value(time) for time in TIMES], least)


def test_a_constant_is_flat() -> None:
    assert judged(lambda time: 50.0) == Verdict(start=50.0, end=50.0, growth=0.0, allowed=2.5)


def test_noise_is_flat() -> None:
    chance = random.Random(7)
    verdict = judged(lambda time: 100 + chance.gauss(0, 10))
    assert verdict.flat
    assert verdict.growth == pytest.approx(0, abs=4)


def test_outliers_are_flat() -> None:
    chance = random.Random(8)
    assert judged(lambda time: 500.0 if chance.random() < 0.2 else 100.0).growth == 0


def test_what_shrinks_is_flat() -> None:
    verdict = judged(lambda time: 100 - time / 20)
    assert verdict.flat
    assert verdict.growth < 0


def test_what_grows_in_the_warm_up_only_is_flat() -> None:
    assert judged(lambda time: min(time, 140.0)) == Verdict(start=140.0, end=140.0, growth=0.0, allowed=7.0)


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_a_slow_leak_is_not_flat(noise: float) -> None:
    chance = random.Random(9)
    verdict = judged(lambda time: 100 + time / 60 + chance.gauss(0, noise))
    assert not verdict.flat
    assert verdict.growth == pytest.approx(7.5, abs=1.5)  # a unit a minute, for the 7.5 minutes after the warm-up


def test_a_leak_that_loses_half_of_it_now_and_then_is_not_flat() -> None:
    assert not judged(lambda time: 100 + time / 30 - (time % 60) / 60).flat


@pytest.mark.parametrize("when_s", [270.0, 330.0, 420.0])
def test_a_step_is_not_flat(when_s: float) -> None:
    verdict = judged(lambda time: 100.0 if time < when_s else 110.0)
    assert not verdict.flat
    assert verdict.growth == pytest.approx(10)


def test_a_small_amount_is_allowed_however_small_the_start_is() -> None:
    grows = [0.0 if time < 350 else 2.0 for time in TIMES]
    assert judge(TIMES, grows, least=2.0).flat
    assert not judge(TIMES, grows, least=1.0).flat


def test_uneven_times_do_not_bend_the_line() -> None:
    times = [0.0, *itertools.accumulate(random.Random(10).choice((1.0, 2.0, 9.0)) for _ in range(60))]
    assert slope(times, [3 + 0.5 * time for time in times]) == pytest.approx(0.5)


def test_the_peaks_of_a_sawtooth_are_flat_and_those_of_a_growing_one_are_not() -> None:
    def tooth(time: float) -> float:
        return 40 + time % 60

    flat, grown = (peaks(TIMES, [tooth(time) + lift * time for time in TIMES], 60) for lift in (0, 0.05))
    assert judge(TIMES, flat, 1.0).growth == 0
    assert judge(TIMES, grown, 1.0).growth == pytest.approx(0.05 * 450, rel=0.2)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="8 samples after the warm-up"):
        judge(TIMES[:11], TIMES[:11], 1.0)
