"""The crash-loop breaker as a rule."""

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.crashes import ENDS, STARTS, Crashes

ENDINGS = st.lists(st.sampled_from(["never ready", "ready", "ended"]))


def ended(crashes: Crashes, was_ready: bool, now: float = 0.0) -> Crashes:
    return crashes.after_end(was_ready=was_ready, reason="exited with code 3", now=now)


def test_starts_in_a_row_that_fail_are_enough_at_some_point_and_wait_longer_each_time() -> None:
    crashes, pauses = Crashes(), list[float]()
    for _ in range(STARTS):
        assert not crashes.hopeless
        crashes = ended(crashes, was_ready=False, now=100.0)
        pauses.append(crashes.retry_at - 100.0)
    assert crashes.hopeless
    assert pauses == sorted(pauses)
    assert pauses[0] > 0
    assert f"{STARTS} times in a row" in crashes.verdict()
    assert "exited with code 3" in crashes.verdict()


def test_while_the_next_start_waits_it_says_why() -> None:
    crashes = ended(Crashes(), was_ready=False, now=100.0)
    assert "exited with code 3" in crashes.said(100.0)
    assert crashes.said(crashes.retry_at) == ""


def test_workers_that_end_in_every_call_are_enough_too_without_a_pause() -> None:
    crashes = Crashes()
    for _ in range(ENDS):
        assert not crashes.hopeless
        crashes = ended(crashes.after_ready(), was_ready=True)
        assert crashes.said(0.0) == ""
    assert crashes.hopeless
    assert "without completing a call" in crashes.verdict()


@given(ENDINGS)
def test_it_is_hopeless_only_after_enough_of_one_kind(endings: list[str]) -> None:
    crashes, starts, ends = Crashes(), 0, 0
    for ending in endings:
        if ending == "ready":
            crashes, starts = crashes.after_ready(), 0
        else:
            crashes = ended(crashes, was_ready=ending == "ended")
            starts, ends = (0, ends + 1) if ending == "ended" else (starts + 1, ends)
        assert crashes.hopeless == (starts >= STARTS or ends >= ENDS)
