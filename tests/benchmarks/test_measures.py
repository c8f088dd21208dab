"""Ratios are taken inside each turn, a goal is for the ratio where there is one, and bad figures are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measures import Figure, Goal, number, percentile, rounded, summary

times = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9)


def test_a_ratio_is_taken_inside_each_turn() -> None:
    figure = Figure("call", "ms", (1.0, 9.0, 2.0), "Ray", (2.0, 3.0, 8.0), Goal(0.5))
    assert figure.ratios == (0.5, 3.0, 0.25)
    assert figure.judged == 0.5  # of the medians it would be 2/3
    assert figure.met is True


def test_without_a_peer_the_goal_is_for_the_figure() -> None:
    figure = Figure("help", "ms", (149.0, 160.0, 151.0), goal=Goal(150.0))
    assert (figure.judged, figure.met) == (151.0, False)
    assert Figure("help", "ms", (1.0,)).met is None


@pytest.mark.parametrize(("goal", "text"), [(Goal(0.5), "≤ 0.5"), (Goal(2, at_least=True), "≥ 2")])
def test_a_goal_is_met_at_its_bound(goal: Goal, text: str) -> None:
    assert str(goal) == text
    assert goal.met(goal.bound)
    assert goal.met(goal.bound * 1.01) is goal.at_least
    assert goal.met(goal.bound * 0.99) is not goal.at_least


@pytest.mark.parametrize(
    ("ours", "peer", "theirs"),
    [
        ((), "", ()),
        ((1.0, 2.0), "Ray", (1.0,)),
        ((float("nan"),), "", ()),
        ((1.0,), "Ray", (float("inf"),)),
    ],
)
def test_figures_that_are_none_are_refused(ours: tuple[float, ...], peer: str, theirs: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="call"):
        Figure("call", "ms", ours, peer, theirs)


@given(times)
def test_a_summary_has_every_turn_and_its_ends(values: list[float]) -> None:
    found = summary(values)
    assert found["turns"] == [rounded(value) for value in values]
    assert found["min"] <= found["median"] <= found["max"]
    assert (found["min"], found["max"]) == (min(found["turns"]), max(found["turns"]))


@given(times, st.floats(0, 1))
def test_a_percentile_is_a_value_that_was_measured(values: list[float], share: float) -> None:
    assert percentile(values, share) in values
    assert percentile(values, 0) == min(values)
    assert percentile(values, 1) == max(values)


def test_the_99th_of_a_thousand_leaves_ten_above() -> None:
    values = [float(value) for value in range(1000)]
    assert sum(value > percentile(values, 0.99) for value in values) == 10


def test_numbers_for_people() -> None:
    shown = {0: "0", 0.0163: "0.0163", 0.5: "0.5", 2: "2", 48.5: "48.5", 13.66: "13.7", 48525: "48,525", 100: "100"}
    assert {value: number(value) for value in shown} == shown


def test_a_document_says_goal_and_verdict() -> None:
    document = Figure("call", "ms", (1.0,), "Ray", (4.0,), Goal(0.5), "a note").document()
    assert document["ratio"] == {"median": 0.25, "min": 0.25, "max": 0.25, "turns": [0.25]}
    assert (document["goal"], document["judged"], document["met"], document["note"]) == ("≤ 0.5", 0.25, True, "a note")
    assert "met" not in Figure("call", "ms", (1.0,)).document()
