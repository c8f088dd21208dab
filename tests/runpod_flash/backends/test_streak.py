"""When a client asks for a worker of its own."""

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.backends.streak import FIRST, GAP_S, MOST, WORTH, Streak


def calls(streak: Streak, count: int, kind: str = "a", *, start: float = 0.0, step: float = 0.01) -> list[int]:
    """So many calls in a row; gives those after which a worker is asked for, from 1."""
    asked = []
    for number in range(1, count + 1):
        streak.begins(kind, start + number * step)
        if streak.ended(start + number * step):
            asked.append(number)
    return asked


def test_calls_of_one_kind_in_a_row_ask_for_a_worker() -> None:
    assert calls(Streak(), FIRST * 2) == [FIRST, FIRST * 2]
    assert calls(Streak(), 100, step=GAP_S * 1.1) == []


def test_another_kind_a_pause_or_anything_else_between_begins_anew() -> None:
    streak = Streak()
    assert calls(streak, FIRST - 1) == []
    assert calls(streak, FIRST - 1, "b", start=0.1) == []
    assert calls(streak, FIRST - 1, "a", start=0.2) == []
    streak.broken()
    assert calls(streak, FIRST, "a", start=0.3) == [FIRST]


@given(st.lists(st.integers(0, 200), max_size=30))
def test_workers_that_serve_little_are_asked_for_less_and_less(served: list[int]) -> None:
    streak, needed = Streak(), FIRST
    for count in served:
        streak.served(count)
        needed = FIRST if count >= WORTH else min(needed * 2, MOST)
        assert calls(streak, needed, step=0.0) == [needed]
