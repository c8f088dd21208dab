"""Marks of several processes become calls, and calls the steps of the middle one."""

import random
from xml.etree import ElementTree

import pytest

from benchmarks import waterfall
from benchmarks.waterfall import FIRST, LAST, STEPS, NoCalls, Step, calls_of, steps_of
from worker_runtime.wire.trace import BORDERS

NAMES = list(BORDERS)


def call(begin: int, step: int = 10_000) -> list[tuple[str, int]]:
    """The marks of a call that takes as many nanoseconds from each border to the next."""
    return [(name, begin + number * step) for number, name in enumerate(NAMES)]


def test_the_steps_are_those_of_the_borders() -> None:
    assert [begin for begin, _ in STEPS] == NAMES[:-1]
    assert [end for _, end in STEPS] == NAMES[1:]
    assert (NAMES[0], NAMES[-1]) == (FIRST, LAST)


def test_marks_that_arrive_in_any_order_are_put_into_calls() -> None:
    marks = [mark for number in range(5) for mark in call(number * 1_000_000)]
    random.Random(7).shuffle(marks)
    found = calls_of([*marks, ("VALUE", -5), ("CALLED", 9_000_000)])  # one that ended before, one that has not ended
    assert [len(each) for each in found] == [len(NAMES)] * 5
    assert [each[FIRST] for each in found] == [number * 1_000_000 for number in range(5)]


def test_the_middle_call_is_drawn() -> None:
    marks = [mark for number, step in enumerate((9_000, 10_000, 90_000)) for mark in call(number * 10**9, step)]
    steps = steps_of(calls_of(marks))
    assert [step.took for step in steps] == [10.0] * len(STEPS)
    assert [(step.who, step.what) for step in steps] == list(STEPS.values())
    text = waterfall.text_of(steps)
    assert f"{170:6.0f}  in all" in text
    assert text.count("█") >= len(steps)
    boxes = ElementTree.fromstring(waterfall.picture_of(steps, "a < b")).iter("{http://www.w3.org/2000/svg}rect")
    assert len(list(boxes)) == len(steps) + 1


def test_a_border_that_no_call_crosses_is_left_out() -> None:
    marks = [mark for mark in call(0) if mark[0] not in ("PARENT_GOT", "PARENT_PASSED")]
    steps = steps_of(calls_of(marks))
    assert Step("worker's parent", "given to child got", 40.0, 70.0) in steps
    assert steps[-1].end == 170.0


def test_calls_that_lost_marks_are_not_counted() -> None:
    whole = [mark for number in range(3) for mark in call(number * 10**9)]
    cut = [mark for mark in call(9 * 10**9, 50_000) if mark[0] != "GIVEN"]
    assert [step.took for step in steps_of(calls_of([*whole, *cut]))] == [10.0] * len(STEPS)
    cuts = [mark for number in range(4) for mark in call(number * 10**9) if mark[0] != "GIVEN"]
    with pytest.raises(NoCalls, match="of 5 calls 4 lack GIVEN"):
        steps_of(calls_of([*cuts, *call(9 * 10**9)]))
    with pytest.raises(NoCalls, match="no call was seen"):
        steps_of([])
