"""The limits of a job: what it asks for, else what the platform says."""

from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.records import Policy
from runpod_flash.control_plane.terms import Terms

LIMIT = st.none() | st.integers(1, 10**9)


def test_jobs_of_our_sdk_may_run_for_ever_but_not_wait_for_ever() -> None:
    limits = Terms().limits(Policy(), own=True)
    assert limits == {"queue_timeout_ms": 86_400_000, "ttl_ms": 0, "keep_s": 86_400.0}


def test_jobs_of_the_published_api_have_its_times() -> None:
    assert Terms().limits(Policy(), own=False) == {"queue_timeout_ms": 0, "ttl_ms": 86_400_000, "keep_s": 1800.0}
    assert Terms().limits(Policy(sync=True), own=False)["keep_s"] == 60.0


@given(LIMIT, LIMIT, st.booleans(), st.booleans())
def test_what_a_job_asks_for_comes_first(queue: int | None, ttl: int | None, sync: bool, own: bool) -> None:
    limits = Terms().limits(Policy(queue_timeout_ms=queue, ttl_ms=ttl, sync=sync), own=own)
    usual = Terms().limits(Policy(sync=sync), own=own)
    assert limits["queue_timeout_ms"] == (usual["queue_timeout_ms"] if queue is None else queue)
    assert limits["ttl_ms"] == (usual["ttl_ms"] if ttl is None else ttl)
