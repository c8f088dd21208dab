"""How long a busy platform is waited for."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.backends.patience import LIMIT_S, Busy, Patience, is_busy, retry_after
from runpod_flash.errors import BackendError, BackendUnavailable

NOW = 1_800_000_000.0
ERROR = BackendError("slow down")


def busy(status: int = 429, after_s: float | None = None) -> Busy:
    return Busy(status, after_s, "the fake", ERROR)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        (formatdate(NOW + 12, usegmt=True), 12.0),
        (formatdate(NOW - 12, usegmt=True), 0.0),
        (None, None),
        ("", None),
        ("-3", None),
        ("1.5", None),
        ("²", None),
        ("soon", None),
    ],
)
def test_seconds_and_dates_are_read(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(st.text(max_size=40))
def test_any_text_is_seconds_or_nothing(header: str) -> None:
    found = retry_after(header, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("status", "after_s", "waits"), [(429, None, 1), (429, 0, 1), (503, 2, 1), (503, None, 0), (500, 2, 0)]
)
def test_which_refusals_may_not_last(status: int, after_s: float | None, waits: int) -> None:
    assert is_busy(status, after_s) == bool(waits)


@given(st.sampled_from([429, 503]), st.lists(st.none() | st.floats(0, 1000), max_size=60))
def test_no_request_waits_longer_than_its_limit(status: int, asked: list[float | None]) -> None:
    patience, waited = Patience(), 0.0
    for after_s in asked:
        try:
            pause = patience.pause(busy(status, after_s))
        except BackendError:
            break
        assert pause > 0
        assert after_s is None or pause >= after_s
        waited += pause
    assert waited <= LIMIT_S[status]


def test_without_a_word_the_pauses_grow() -> None:
    patience = Patience()
    assert [patience.pause(busy()) for _ in range(6)] == [1, 2, 4, 8, 16, 16]
    assert sum(patience.pause(busy()) for _ in range(15)) == 15 * 16
    with pytest.raises(BackendError, match="slow down"):
        patience.pause(busy())


def test_the_two_statuses_have_bounds_of_their_own() -> None:
    patience = Patience()
    assert patience.pause(busy(429, 299)) == 299
    assert patience.pause(busy(503, 29)) == 29
    with pytest.raises(BackendError, match=r"^slow down$"):
        patience.pause(busy(503, 2))


def test_who_asks_for_too_much_is_named() -> None:
    with pytest.raises(
        BackendUnavailable, match=r"^the fake is not ready and asks to wait 3600 s, longer than the 30 s"
    ):
        Patience().pause(busy(503, 3600))


def test_a_wait_is_told_in_words() -> None:
    assert str(busy()) == "the fake takes no more requests for now; calls wait and go on by themselves (slow down)"
