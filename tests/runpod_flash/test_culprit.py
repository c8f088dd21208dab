"""The innermost part that cannot be pickled is found, and where it sits."""

import collections
import threading
from typing import Any

import pytest

from runpod_flash import culprit
from worker_runtime.wire import payload

LOCK = threading.Lock()


class Holder:
    def __init__(self, lock: Any) -> None:
        self.lock = lock


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (LOCK, ""),
        ([1, {"a": (LOCK,)}], " (at [1]['a'][0])"),
        ({"a": Holder(LOCK)}, " (at ['a'].lock)"),
        (collections.deque([1, LOCK]), " (at [1])"),
        (collections.OrderedDict(a=LOCK), " (at ['a'])"),
    ],
)
def test_place_in_data(value: Any, place: str) -> None:
    found = culprit.find(value, payload.encode)
    assert found is not None
    assert found.told() == "cannot pickle '_thread.lock' object" + place


def test_nothing_to_find() -> None:
    assert culprit.find([1, 2], payload.encode) is None


def test_a_callback_that_captures() -> None:
    held = {"x": LOCK}
    found = culprit.find([lambda: held], payload.encode)
    assert found is not None
    assert found.told() == (
        "variable 'held' used by test_a_callback_that_captures.<locals>.<lambda>(): "
        "cannot pickle '_thread.lock' object (at ['x'])"
    )


def test_an_object_that_refuses_in_its_own_words() -> None:
    class Refuses:
        def __reduce__(self) -> str:
            raise ValueError("not this one")

    found = culprit.find({"a": Refuses()}, payload.encode)
    assert found is not None
    assert found.told() == "not this one (at ['a'])"


def test_cycles_end() -> None:
    value: list[Any] = [LOCK]
    value.insert(0, value)
    found = culprit.find(value, payload.encode)
    assert found is not None
    assert found.told() == "cannot pickle '_thread.lock' object (at [1])"
