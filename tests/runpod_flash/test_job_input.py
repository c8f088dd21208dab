"""The input of a job and what comes with it, as users give it."""

from typing import Any

import pytest

from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.errors import CallError
from runpod_flash.job_input import plain_job


def test_an_input_is_taken_as_it_is() -> None:
    made = plain_job({"prompt": "hello"})
    assert (made.input, made.options) == ({"prompt": "hello"}, AS_USUAL)


def test_a_body_is_not_wrapped_once_more() -> None:
    policy = {"executionTimeout": 6000, "ttl": 10000, "lowPriority": True, "queueTimeout": 1}
    body = {"input": {"a": 1}, "webhook": "https://h", "policy": policy, "s3Config": {"accessId": "x"}}
    made = plain_job(body)
    assert made.input == {"a": 1}
    assert made.options == JobOptions(6000, 1, 10000, True, "https://h", {"accessId": "x"})
    assert made.options.to_body() == {name: body[name] for name in ("webhook", "policy", "s3Config")}
    assert plain_job({"input": {"a": 1}}).input == {"a": 1}


def test_an_input_that_has_an_input_among_others_is_an_input() -> None:
    given = {"input": "text", "model": "x"}
    assert plain_job(given).input == given


def test_options() -> None:
    made = plain_job({"a": 1}, webhook="http://h", execution_timeout=5.5, ttl=10, priority="low")
    assert made.options == JobOptions(timeout_ms=5500, ttl_ms=10000, low_priority=True, webhook="http://h")
    assert plain_job({"input": {"a": 1}, "webhook": "http://h"}, ttl=10).options.webhook == "http://h"


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ("hello", {}, r"input of a job is 'hello'; it must be a dict .*did you mean \{'value': 'hello'\}"),
        ({}, {}, "at least one entry"),
        ({"input": {}}, {}, "at least one entry"),
        ({"input": [1]}, {}, "did you mean"),
        (None, {}, "None"),
        ({"a": 1}, {"webhook": "hook"}, "webhook= is 'hook'; it must be a URL"),
        ({"a": 1}, {"webhook": 1}, "webhook= is 1"),
        (
            {"a": 1},
            {"execution_timeout": 4},
            "execution_timeout= is 4; it must be a number of seconds from 5 to 604800",
        ),
        ({"a": 1}, {"ttl": True}, "ttl= is True"),
        ({"a": 1}, {"ttl": 10**9}, "ttl="),
        ({"a": 1}, {"ttl": float("nan")}, "ttl="),
        ({"a": 1}, {"priority": "high"}, "priority= is 'high'; it must be 'normal' or 'low'"),
        ({"input": {"a": 1}, "policy": 1}, {}, "'policy' of the body is 1"),
        ({"input": {"a": 1}, "policy": {"TTL": 1}}, {}, "one of executionTimeout"),
        ({"input": {"a": 1}, "policy": {"executiontimeout": 1}}, {}, "did you mean 'executionTimeout'"),
        ({"input": {"a": 1}, "webhook": "hook"}, {}, "'webhook' of the body is 'hook'"),
        ({"input": {"a": 1}, "s3Config": "secret"}, {}, "'s3Config' of the body must be a dict"),
        ({"input": {"a": 1}, "webhook": "https://h"}, {"webhook": "https://g"}, "says its webhook itself"),
        ({"input": {"a": 1}, "policy": {"ttl": 20000}}, {"ttl": 10}, "says its ttl_ms itself"),
    ],
)
def test_what_is_wrong_is_named(given: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CallError, match=words) as caught:
        plain_job(given, **options)
    assert "secret" not in str(caught.value)
