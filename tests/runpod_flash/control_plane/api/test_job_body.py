"""What `/run` and `/runsync` take: every field, its bounds, and that bad ones are named without their secrets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.api.job_body import S3_FIELDS, WEEK_MS, input_of, policy_of
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import Policy

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def policy(body: dict[str, Any], *, own: bool = False) -> Policy:
    return policy_of(body, sync=False, own=own)


def test_nothing_is_asked_for() -> None:
    for body in ({}, {"policy": None}, {"policy": {}}, {"webhook": None, "s3Config": None}):
        assert policy(body) == Policy()
    assert policy_of({}, sync=True, own=False).sync


def test_all_is_asked_for() -> None:
    secret = dict.fromkeys(S3_FIELDS, "x")
    body = {
        "policy": {"executionTimeout": 5000, "ttl": 10_000, "queueTimeout": 1, "lowPriority": True, "other": "ignored"},
        "webhook": "https://example.com/hook",
        "s3Config": secret,
    }
    assert policy(body) == Policy(
        timeout_ms=5000, queue_timeout_ms=1, ttl_ms=10_000, low_priority=True, webhook="https://example.com/hook",
        s3_config=secret,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "name", "least"),
    [
        (False, "executionTimeout", 5000), (True, "executionTimeout", 1), (False, "queueTimeout", 1),
        (False, "ttl", 10_000), (True, "ttl", 10_000),
    ],
)  # fmt: skip
def test_the_bounds_of_times(own: bool, name: str, least: int) -> None:
    for good in (least, WEEK_MS):
        policy({"policy": {name: good}}, own=own)
    for bad in (least - 1, WEEK_MS + 1, 0, -1, True, 6000.0, "6000", [], {}):
        with pytest.raises(Problem, match=rf"policy\.{name}.*{least} to {WEEK_MS} ms") as refused:
            policy({"policy": {name: bad}}, own=own)
        assert refused.value.status == 400


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"policy": []}, "'policy'"),
        ({"policy": "fast"}, "'policy'"),
        ({"policy": {"lowPriority": 1}}, "policy.lowPriority"),
        ({"policy": {"lowPriority": "true"}}, "policy.lowPriority"),
        ({"webhook": ""}, "'webhook'"),
        ({"webhook": 1}, "'webhook'"),
        ({"webhook": ["https://example.com"]}, "'webhook'"),
    ],
)
def test_bad_fields_are_named(body: dict[str, Any], named: str) -> None:
    with pytest.raises(Problem, match=named):
        policy(body)


@pytest.mark.parametrize("config", ["hidden", ["hidden"], {"accessSecret": ["hidden"]}, {"hidden": None}, 7])
def test_bad_secrets_are_not_repeated(config: Any) -> None:
    with pytest.raises(Problem, match="field 's3Config' must be an object of texts") as refused:
        policy({"s3Config": config})
    assert "hidden" not in str(refused.value)


def test_secrets_are_not_shown() -> None:
    assert "hidden" not in repr(policy({"s3Config": {"accessSecret": "hidden"}}))


@pytest.mark.parametrize("job_input", [None, {}, [], "x", 0, True])
def test_inputs_that_are_none(job_input: Any) -> None:
    with pytest.raises(Problem, match="field 'input' is"):
        input_of({"input": job_input})
    with pytest.raises(Problem, match="field 'input' is missing"):
        input_of({"Input": job_input})


@given(st.dictionaries(st.sampled_from(["input", "policy", "webhook", "s3Config"]), JSON))
def test_whatever_comes_is_taken_or_refused_as_a_bad_request(body: dict[str, Any]) -> None:
    problem, found = None, None
    try:
        found, _ = policy(body), input_of(body)
    except Problem as refused:
        problem = refused
    if problem is not None:
        assert problem.status == 400
        assert len(str(problem)) < 400
    else:
        assert json.dumps(body["input"])
        assert found is not None
        assert found.webhook == body.get("webhook")
