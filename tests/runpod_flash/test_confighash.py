"""The hash of an endpoint: equal for what is sent and what comes back, different for what differs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.confighash import config_hash
from runpod_flash.options import check
from runpod_flash.spec import to_body
from runpod_flash.template import PodTemplate

TYPES = ["NVIDIA L4", "NVIDIA RTX A5000"]
specs = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b"])},
    optional={
        "gpu": st.sampled_from(["any", "NVIDIA L4", ["ADA_24", "NVIDIA H200"], TYPES, TYPES[::-1]]),
        "template": st.sampled_from([None, PodTemplate(), PodTemplate(dockerArgs="a"), PodTemplate(ports="8/http")]),
        "workers": st.tuples(st.integers(0, 2), st.integers(2, 4)),
        "idle_timeout": st.integers(1, 9),
        "execution_timeout_ms": st.integers(0, 5),
        "flashboot": st.booleans(),
        "scaler_type": st.sampled_from(["QUEUE_DELAY", "REQUEST_COUNT"]),
        "min_cuda_version": st.sampled_from(["12.8", None]),
        "datacenter": st.permutations(["EU-RO-1", "US-CA-2"]),
    },
)


def body_of(given: dict[str, Any]) -> dict[str, Any]:
    return to_body(check(given), default_queue_delay=0.0)


def returned(body: dict[str, Any]) -> dict[str, Any]:
    """What a server makes of a body: own fields, another order, sets sorted."""
    answer = {"id": "e1", "createdAt": "2026-11-21", "requestUrls": {}, **dict(reversed(body.items())), "env": {}}
    answer["dataCenterIds"] = list(reversed(body["dataCenterIds"]))
    answer["scaling"] = {**body["scaling"]}
    if "queueDelay" in answer["scaling"]:
        answer["scaling"]["queueDelay"] = float(answer["scaling"]["queueDelay"])
    if "cpu" in body:
        answer |= {"gpu": None, "cpu": [{**item, "memory": 4} for item in body["cpu"]]}
    else:
        answer |= {"cpu": None}
    return answer


@given(specs)
def test_what_a_server_returns_has_the_hash_of_what_was_sent(given: dict[str, Any]) -> None:
    body = body_of(given)
    assert config_hash(body) == config_hash(returned(body))


@given(specs, specs)
def test_different_endpoints_have_different_hashes(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = body_of(one), body_of(other)
    for body in (first, second):
        body["dataCenterIds"] = sorted(body["dataCenterIds"])
    assert (config_hash(first) == config_hash(second)) == (first == second)


def test_cpu_endpoints_come_back_with_their_memory() -> None:
    body = body_of({"name": "x", "cpu": "cpu3c-2-4"})
    assert config_hash(body) == config_hash(returned(body))


def test_env_is_no_part_of_it() -> None:
    assert config_hash(body_of({"env": {"A": "1"}})) == config_hash(body_of({"env": {"A": "2"}}))


@pytest.mark.parametrize("change", [{"workers": 2}, {"cpu": "cpu3c-2-4"}, {"gpu_count": 2}, {"idle_timeout": 61}])
def test_every_change_shows(change: dict[str, Any]) -> None:
    assert config_hash(body_of({"name": "x"})) != config_hash(body_of({"name": "x", **change}))


def test_missing_fields_are_defaults() -> None:
    least = {"name": "x", "scaling": {"type": "QUEUE_DELAY"}, "gpu": {"pools": ["ADA_24"]}}
    assert config_hash(least) == config_hash({**least, "workers": {}, "timeout": 600_000, "networkVolumes": []})
    assert config_hash(least) != config_hash({**least, "timeout": 0}), "no limit is another limit"


@pytest.mark.parametrize("change", [{"command": "python other.py"}, {"directory": "/srv"}, {"command": None}])
def test_what_workers_run_is_a_part_of_it(change: dict[str, Any]) -> None:
    body = {"name": "x", "command": "python handler.py", "directory": "/home", "cpu": [{"id": "cpu3c", "vcpuCount": 1}]}
    assert config_hash(body) == config_hash(dict(reversed(body.items())))
    assert config_hash(body) != config_hash({**body, **change})


def test_idle_timeouts_count_where_an_endpoint_has_them() -> None:
    counted = {"name": "x", "scaling": {"type": "REQUEST_COUNT", "requestCount": 1}}
    short, long = {"workers": {"idleTimeout": 5}}, {"workers": {"idleTimeout": 9}}
    assert config_hash({**counted, **short}) == config_hash({**counted, **long})
    balanced = {**counted, "type": "LOAD_BALANCER"}
    assert config_hash({**balanced, **short}) != config_hash({**balanced, **long})
    assert config_hash(balanced) == config_hash({**balanced, "workers": {"idleTimeout": 10}})
