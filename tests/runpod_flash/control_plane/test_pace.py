"""How many calls a worker gets ahead, by how long calls take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.pace import MOST, Pace


def of(*seconds: float) -> Pace:
    pace = Pace()
    for each in seconds:
        pace.took(each)
    return pace


@pytest.mark.parametrize(
    ("takes_s", "depth"),
    [(10.0, 0), (0.2, 0), (0.05, 1), (0.01, 1), (0.002, 1), (0.0005, 8), (0.00001, MOST), (0, MOST)],
)
def test_the_shorter_calls_are_the_more_of_them_are_ahead(takes_s: float, depth: int) -> None:
    assert of(*[takes_s] * 5).depth == depth


def test_nothing_is_ahead_before_a_call_has_ended() -> None:
    assert (Pace().depth, Pace().is_worth_moving) == (0, False)


def test_one_long_call_is_enough_and_many_short_ones_make_up_for_it() -> None:
    pace = of(*[0.00001] * 100, 10.0)
    assert pace.depth == 0
    for _ in range(200):
        pace.took(0.00001)
    assert pace.depth == MOST


@given(st.lists(st.floats(0, 1000), max_size=30))
def test_whatever_was_measured_there_are_bounds(seconds: list[float]) -> None:
    pace = of(*seconds)
    assert 0 <= pace.depth <= MOST
    assert pace.patience_s >= 0.05
