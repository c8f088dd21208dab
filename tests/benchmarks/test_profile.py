"""A real call crosses every border, in the order in which they are drawn."""

import itertools

import pytest

from benchmarks import waterfall
from benchmarks.profile import marks_of_calls
from benchmarks.scene import Scene
from benchmarks.sizes import SMALL
from worker_runtime.wire.trace import BORDERS


@pytest.mark.slow
def test_a_call_crosses_every_border_in_order() -> None:
    scene = Scene(SMALL)
    with scene:
        calls = waterfall.calls_of(marks_of_calls(scene))
    assert len(calls) >= SMALL.calls / 3  # the last marks of each process may be missing
    whole = [call for call in calls if len(call) == len(BORDERS)]
    assert len(whole) >= len(calls) / 2
    order = [[name for name, _ in sorted(call.items(), key=lambda mark: mark[1])] for call in whole]
    way = [name for name in BORDERS if name != "CHILD_GOT"]  # its ticket may come before the parent has gone on
    assert all([name for name in each if name != "CHILD_GOT"] == way for each in order)
    assert waterfall.steps_of(calls)
    assert scene.left == []
    assert all(begin.end <= end.begin for begin, end in itertools.pairwise(waterfall.steps_of(calls)))
