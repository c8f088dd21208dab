"""The example of many calls, as a user runs it."""

import pytest

from tests.support.place import ROOT, Place

pytestmark = pytest.mark.slow


def test_each_kind_of_call_gives_what_it_says(shared_place: Place) -> None:
    done = shared_place.run([str(ROOT / "examples" / "07_many_calls.py")]).good()
    assert done.stdout.splitlines() == [
        "pi is about 3.14",
        "lengths: [2, 4, 5, 3, 3, 6, 4] together: True",
        "fetched: page 7, attempt 3",
        "loss: 0.122",
    ]
