"""Until when things live: the rule, whatever the terms and the moments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.expiry import FOR_EVER, ExpiryTerms, Life, Phase

MOMENTS = st.floats(0, 1e10, allow_nan=False)
SPANS = st.floats(0, 1e7, allow_nan=False)
TERMS = st.builds(ExpiryTerms, SPANS, SPANS, SPANS)
LIVES = st.one_of(
    st.builds(lambda terms, at: terms.of_stage(at), TERMS, st.none() | MOMENTS),
    st.builds(lambda terms, at: terms.of_live(at), TERMS, MOMENTS),
)


@given(LIVES, MOMENTS, MOMENTS)
def test_time_alone_leads_to_the_end_only(life: Life, one: float, other: float) -> None:
    assert life.phase(min(one, other)) <= life.phase(max(one, other))


@given(LIVES, MOMENTS)
def test_the_next_change_is_one_and_none_is_before_it(life: Life, now: float) -> None:
    change = life.next_change(now)
    if change is None:
        assert life.phase(now) is life.phase(now + 1e12)
    else:
        assert change > now
        assert life.phase((now + change) / 2) is life.phase(now) or (now + change) / 2 >= change
        assert life.phase(change) >= life.phase(now)


@given(TERMS, MOMENTS, MOMENTS, SPANS)
def test_who_is_renewed_or_used_later_is_never_nearer_to_the_end(
    terms: ExpiryTerms, now: float, at: float, later: float
) -> None:
    assert terms.of_stage(at + later).phase(now) <= terms.of_stage(at).phase(now)
    assert terms.of_live(at + later).phase(now) <= terms.of_live(at).phase(now)


@given(MOMENTS)
def test_what_lasts_is_never_over(now: float) -> None:
    assert ExpiryTerms().of_stage(None).phase(now) is Phase.ACTIVE
    assert ExpiryTerms(live_idle_s=0, live_expiry_s=0).of_live(0).phase(now) is Phase.ACTIVE
    assert FOR_EVER.next_change(now) is None


@pytest.mark.parametrize(
    ("now", "stage", "live"),
    [
        (99.9, Phase.ACTIVE, Phase.ACTIVE),
        (100.0, Phase.RESTING, Phase.ACTIVE),
        (109.9, Phase.RESTING, Phase.ACTIVE),
        (110.0, Phase.OVER, Phase.ACTIVE),
        (120.0, Phase.OVER, Phase.RESTING),
        (150.0, Phase.OVER, Phase.OVER),
    ],
)
def test_the_moments_themselves(now: float, stage: Phase, live: Phase) -> None:
    terms = ExpiryTerms(stage_grace_s=10, live_idle_s=20, live_expiry_s=50)
    assert (terms.of_stage(100).phase(now), terms.of_live(100).phase(now)) == (stage, live)
