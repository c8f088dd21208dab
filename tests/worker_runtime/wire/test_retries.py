"""Which exceptions are worth another attempt, and how long that waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.retries import Backoff, matches

NAMES = st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3}){0,3}\.[A-Z][a-z]{0,3}|[A-Z][a-z]{0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "kind", "same"),
    [
        ("ValueError", "ValueError", True),
        ("requests.exceptions.Timeout", "requests.exceptions.Timeout", True),
        ("requests.Timeout", "requests.exceptions.Timeout", True),
        ("Timeout", "requests.exceptions.Timeout", True),
        ("exceptions.Timeout", "requests.exceptions.Timeout", False),
        ("request.Timeout", "requests.exceptions.Timeout", False),
        ("requests.Timeout", "requests.exceptions.ReadTimeout", False),
        ("requests.exceptions.Timeout", "requests.Timeout", False),
        ("builtins.ValueError", "ValueError", False),
        ("Error", "__main__.Outer.Error", True),
    ],
)
def test_what_a_name_means(name: str, kind: str, same: bool) -> None:
    assert matches(name, kind) is same


@given(NAMES)
def test_each_class_is_meant_by_its_whole_name_and_by_its_own(kind: str) -> None:
    assert matches(kind, kind)
    assert matches(kind.rpartition(".")[2], kind)
    assert not matches(f"x{kind}", kind)


@given(st.lists(NAMES, max_size=4), st.lists(NAMES, min_size=1, max_size=4))
def test_a_class_is_covered_where_it_or_one_that_it_derives_from_is_named(on: list[str], kinds: list[str]) -> None:
    assert Backoff(tuple(on)).covers(kinds) == any(matches(name, kind) for name in on for kind in kinds)
    assert Backoff(None).covers(kinds)


@given(st.floats(0, 100), st.floats(1, 10), st.floats(0, 1000), st.integers(1, 2000))
def test_pauses_grow_up_to_the_longest(initial: float, coefficient: float, longest: float, retry: int) -> None:
    backoff = Backoff(None, initial, coefficient, longest)
    assert backoff.delay_s(1) == min(initial, longest)
    assert backoff.delay_s(retry) <= backoff.delay_s(retry + 1) <= longest
    if backoff.delay_s(retry + 1) < longest:
        assert backoff.delay_s(retry + 1) == pytest.approx(backoff.delay_s(retry) * coefficient)


def test_what_is_no_back_off() -> None:
    good = Backoff(("ValueError",), 1.0, 2.0, 60.0).to_json()
    assert Backoff.from_json(good) == Backoff(("ValueError",), 1.0, 2.0, 60.0)
    for wrong in ({"on": "ValueError"}, {"initial_delay_s": -1}, {"coefficient": "2"}, {"max_delay_s": float("inf")}):
        with pytest.raises(WireError):
            Backoff.from_json({**good, **wrong})
