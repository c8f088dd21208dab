"""What a body may hold, its defaults, and what PATCH makes of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.confighash import config_hash
from runpod_flash.control_plane.api.serverless_body import TIMEOUT_DEFAULT_MS, created, patched
from runpod_flash.control_plane.problems import Problem
from runpod_flash.options import check
from runpod_flash.spec import to_body
from tests.support.plane_app import BODY

DELAY = {"type": "QUEUE_DELAY", "queueDelay": 4}
COUNT = {"type": "REQUEST_COUNT", "requestCount": 2}
LEAST: dict[str, Any] = {"name": "n", "type": "QUEUE", "image": "i", "gpu": {"pools": ["ADA_24"]}, "scaling": DELAY}
COMMAND: dict[str, Any] = {
    "name": "n", "type": "QUEUE", "command": "python handler.py", "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
    "scaling": DELAY,
}  # fmt: skip
BALANCED: dict[str, Any] = {**COMMAND, "type": "LOAD_BALANCER", "scaling": COUNT}


def refusal(work: Any, *args: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        work(*args)
    return caught.value


def test_defaults() -> None:
    body = created(LEAST)
    assert body == {
        "name": "n",
        "type": "QUEUE",
        "image": "i",
        "gpu": {"pools": ["ADA_24"], "count": 1, "excludedTypes": [], "allowedCudaVersions": [], "minCudaVersion": ""},
        "workers": {"min": 0, "max": 3, "idleTimeout": 10},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
        "env": {},
        "dataCenterIds": [],
        "networkVolumes": [],
        "timeout": 600_000,
        "flashboot": "OFF",
    }
    assert created(body) == body
    assert config_hash(body) == config_hash(LEAST)


def test_the_two_default_time_limits() -> None:
    """`@Endpoint` has none, an endpoint that is created through the API has ten minutes."""
    assert TIMEOUT_DEFAULT_MS == 600_000
    assert created(LEAST)["timeout"] == TIMEOUT_DEFAULT_MS
    declared = created(to_body(check({"name": "x"}), default_queue_delay=0.0))
    assert declared["timeout"] == 0
    assert config_hash(declared) != config_hash({**declared, "timeout": None})


def test_what_is_sent_as_null_has_its_default() -> None:
    nothing = dict.fromkeys(("cpu", "workers", "env", "timeout", "flashboot", "templateId", "disk"))
    assert created({**LEAST, **nothing}) == created(LEAST)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "$.name: "),
        ({"name": "x" * 192}, "$.name: "),
        ({"name": 1}, "$.name: "),
        (
            {"type": "LOAD_BALANCER", "scaling": COUNT, "image": "mine:1", "artifact": "0" * 64},
            "$: 'artifact' and 'image' exclude each other",
        ),
        ({"image": "mine:1", "artifact": "0" * 64}, "$: 'artifact' and 'image' exclude each other"),
        ({"artifact": "0" * 63}, "$.artifact: "),
        (
            {"type": "LOAD_BALANCER", "scaling": COUNT, "command": "c", "artifact": "0" * 64},
            "$: 'artifact' and 'command' exclude each other",
        ),
        (
            {"type": "LOAD_BALANCER", "image": "runpod/flash-lb:1"},
            "$: a load-balanced endpoint needs a 'command' or an 'artifact' here, or another 'image'",
        ),
        ({"type": "LOAD_BALANCER"}, "$: a load-balanced endpoint scales by REQUEST_COUNT"),
        ({"image": "-v"}, "$.image: '-v' is no name of an image"),
        ({"image": "a b"}, "$.image: 'a b' is no name of an image"),
        ({"args": "--say 'half"}, "$.args: the arguments cannot be split as a shell does it"),
        ({"args": "\0"}, "$.args: "),
        ({"command": "c", "args": "--fast"}, "$: 'args' and 'startScript' are for an image, and a 'command' runs"),
        ({"startScript": ""}, "$.startScript: "),
        ({"disk": 0}, "$.disk: "),
        ({"ports": ["8000"]}, "$.ports[0]: "),
        ({"registry": ""}, "$.registry: "),
        ({"type": "LOAD_BALANCER", "command": "c"}, "$: a load-balanced endpoint scales by REQUEST_COUNT"),
        ({"image": ""}, "$.image: "),
        ({"image": None}, "$: 'image' is needed, or 'command'"),
        ({"command": ""}, "$.command: "),
        ({"command": "x" * 32_769}, "$.command: "),
        ({"command": "a\0b"}, "$.command: a zero character cannot be in it"),
        ({"command": ["python"]}, "$.command: "),
        ({"name": "a\0b"}, "$.name: a zero character cannot be in it"),
        ({"env": {"": "1"}}, "$.env: variable '' cannot be set"),
        ({"env": {"A=B": "1"}}, "$.env: variable 'A=B' cannot be set"),
        ({"env": {"A": "\0"}}, "$.env: variable 'A' cannot be set"),
        ({"workers": {"max": 2**31}}, "$.workers.max: "),
        ({"timeout": 2**53}, "$.timeout: "),
        ({"scaling": {"type": "REQUEST_COUNT", "requestCount": 2**31}}, "$.scaling.requestCount: "),
        ({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 1e300}}, "$.scaling.queueDelay: "),
        ({"gpu": {"pools": ["ADA_24"], "count": 2**31}}, "$.gpu.count: "),
        ({"gpu": None, "cpu": [{"id": "cpu3c", "vcpuCount": 2048}]}, "$.cpu[0].vcpuCount: "),
        ({"command": "c", "directory": "here"}, "$.directory: "),
        ({"command": "c", "directory": "/a\0b"}, "$.directory: a zero character cannot be in it"),
        ({"directory": "/srv"}, "$: 'directory' is where a 'command' runs, and there is none"),
        ({"type": "OTHER"}, "$.type: "),
        ({"templateId": "t"}, "$: 'templateId' is not supported by this control plane yet"),
        ({"mood": 1}, "$: additional properties 'mood' not allowed"),
        ({"gpu": {"pools": ["ADA_24"], "mood": 1}}, "$.gpu: additional properties 'mood' not allowed"),
        ({"gpu": {"pools": []}}, "$.gpu.pools: "),
        ({"gpu": {"pools": ["ADA_99"]}}, "$.gpu.pools: there is no GPU pool 'ADA_99'"),
        ({"gpu": {"pools": ["ADA_24"], "count": 0}}, "$.gpu.count: "),
        ({"gpu": {"pools": ["ADA_24"], "count": True}}, "$.gpu.count: "),
        ({"gpu": {"pools": ["ADA_24"], "minCudaVersion": "12"}}, "$.gpu.minCudaVersion: "),
        ({"gpu": {"pools": ["ADA_24"], "allowedCudaVersions": ["x"]}}, "$.gpu.allowedCudaVersions[0]: "),
        ({"gpu": None}, "$: exactly one of 'gpu' and 'cpu' is needed"),
        ({"cpu": [{"id": "cpu3c", "vcpuCount": 2}]}, "$: exactly one of 'gpu' and 'cpu' is needed"),
        ({"gpu": None, "cpu": []}, "$.cpu: "),
        ({"gpu": None, "cpu": [{"id": "cpu9z", "vcpuCount": 2}]}, "$.cpu[0].id: there is no CPU flavor"),
        ({"gpu": None, "cpu": [{"id": "cpu3c", "vcpuCount": 3}]}, "$.cpu[0].vcpuCount: 3 is no power of two"),
        ({"gpu": None, "cpu": [{"id": "cpu3c", "vcpuCount": 2}] * 2}, "$.cpu: an item is named twice"),
        ({"workers": {"min": -1}}, "$.workers.min: "),
        ({"workers": {"min": 4}}, "$.workers: min is 4 and max is 3"),
        ({"workers": {"idleTimeout": 0}}, "$.workers.idleTimeout: "),
        ({"workers": {"idleTimeout": 3601}}, "$.workers.idleTimeout: "),
        ({"scaling": COUNT, "workers": {"idleTimeout": 5}}, "$: 'workers.idleTimeout' is not allowed"),
        (
            {"scaling": {"type": "QUEUE_DELAY", "value": 4, "idleTimeout": 5}},
            "$.scaling: missing properties 'queueDelay'",
        ),
        ({"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.4}}, "$.scaling.queueDelay: 0.4 is too short"),
        ({"scaling": {"type": "REQUEST_COUNT", "requestCount": 0}}, "$.scaling.requestCount: "),
        ({"scaling": {"type": "MOOD"}}, "$.scaling: "),
        ({"scaling": {}}, "$.scaling: "),
        ({"env": {"A": 1}}, "$.env"),
        ({"timeout": -1}, "$.timeout: "),
        ({"timeout": 1.5}, "$.timeout: "),
        ({"flashboot": True}, "$.flashboot: "),
        ({"dataCenterIds": "EU-RO-1"}, "$.dataCenterIds: "),
    ],
)
def test_refusals(change: dict[str, Any], said: str) -> None:
    problem = refusal(created, {**LEAST, **change})
    assert problem.status == 422
    assert any(error.startswith(said) for error in problem.errors), problem.errors


@pytest.mark.parametrize("key", ["name", "type", "scaling"])
def test_what_must_be_there(key: str) -> None:
    problem = refusal(created, {name: value for name, value in LEAST.items() if name != key})
    assert problem.errors == (f"$: missing properties '{key}'",)


def test_a_command_stands_in_for_an_image() -> None:
    body = created({**COMMAND, "directory": "/srv/models"})
    assert (body["command"], body["directory"]) == ("python handler.py", "/srv/models")
    assert "image" not in body
    assert created({**COMMAND, "image": "i"})["image"] == "i"
    assert "directory" not in created(COMMAND)
    assert patched(body, {"command": "python other.py"})["command"] == "python other.py"
    assert "'directory' is where" in refusal(patched, body, {"command": None, "image": "i"}).detail
    assert "'image' is needed" in refusal(patched, created(COMMAND), {"command": None}).detail


def test_an_image_of_somebody_else_runs_in_containers() -> None:
    said = {"args": "--port $PORT", "startScript": "serve", "disk": 20, "ports": ["80/http"], "registry": "c1"}
    body = created({**LEAST, "type": "LOAD_BALANCER", "scaling": COUNT, **said})
    assert said.items() <= body.items()
    assert not set(said) & set(created(LEAST))
    assert set(patched(body, dict.fromkeys(said))) == set(body) - set(said)
    assert len({config_hash({**body, name: None}) for name in (*said, "none")}) == 6


def test_an_order_of_types_is_of_the_pools_that_it_was_said_of() -> None:
    order = ["NVIDIA L4", "NVIDIA RTX A5000"]
    gpu = {"pools": ["AMPERE_24"], "preferredTypes": order}
    body = created({**LEAST, "gpu": gpu})
    assert body["gpu"]["preferredTypes"] == order
    assert patched(body, {"gpu": {"count": 2}})["gpu"]["preferredTypes"] == order
    assert "preferredTypes" not in patched(body, {"gpu": {"pools": ["AMPERE_24"]}})["gpu"]
    assert config_hash(body) != config_hash(created({**LEAST, "gpu": {"pools": ["AMPERE_24"]}}))
    assert (
        "'gpu.preferredTypes' has 'NVIDIA B200'"
        in refusal(created, {**LEAST, "gpu": {**gpu, "preferredTypes": ["NVIDIA B200"]}}).detail
    )


def test_load_balanced_endpoints_have_an_idle_timeout() -> None:
    assert created(BALANCED)["workers"] == {"min": 0, "max": 3, "idleTimeout": 10}
    asked = created({**BALANCED, "workers": {"idleTimeout": 60}})
    assert asked["workers"]["idleTimeout"] == 60
    assert patched(asked, {"scaling": {"requestCount": 9}})["workers"]["idleTimeout"] == 60
    assert patched(asked, {})["type"] == "LOAD_BALANCER"
    assert refusal(patched, asked, {"type": "QUEUE"}).status == 400
    assert "REQUEST_COUNT" in refusal(patched, asked, {"scaling": DELAY}).detail


def test_gpu_options_that_contradict_each_other() -> None:
    both = {"pools": ["ADA_24"], "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.8"}
    assert refusal(created, {**LEAST, "gpu": both}).status == 400
    strange = {"pools": ["ADA_24"], "excludedTypes": ["NVIDIA B200"]}
    assert "none of the pools" in refusal(created, {**LEAST, "gpu": strange}).detail


def test_accepted_beyond_the_published_api() -> None:
    assert created({**LEAST, "scaling": {"type": "QUEUE_DELAY", "queueDelay": 0}})["scaling"]["queueDelay"] == 0
    cpu = [{"id": "cpu3c", "vcpuCount": 1}]
    assert created({**LEAST, "gpu": None, "cpu": cpu})["cpu"] == cpu


def test_request_count_has_no_idle_timeout() -> None:
    assert created({**LEAST, "scaling": COUNT})["workers"] == {"min": 0, "max": 3}
    back_and_forth = patched(patched(created(LEAST), {"scaling": COUNT}), {"scaling": DELAY})
    assert back_and_forth["workers"]["idleTimeout"] == 10
    asked = {"scaling": COUNT, "workers": {"idleTimeout": 5}}
    assert "not allowed" in refusal(patched, created(LEAST), asked).detail


@pytest.mark.parametrize(
    ("patch", "field", "expected"),
    [
        ({}, "name", "palette"),
        ({"name": "other"}, "name", "other"),
        ({"workers": {"max": 9}}, "workers", {"min": 0, "max": 9, "idleTimeout": 60}),
        ({"workers": {"idleTimeout": None}}, "workers", {"min": 0, "max": 3, "idleTimeout": 10}),
        ({"workers": None}, "workers", {"min": 0, "max": 3, "idleTimeout": 10}),
        ({"env": {"B": "2"}}, "env", {"B": "2"}),
        ({"env": None}, "env", {}),
        ({"timeout": None}, "timeout", TIMEOUT_DEFAULT_MS),
        ({"timeout": 0}, "timeout", 0),
        ({"scaling": {"queueDelay": 7}}, "scaling", {"type": "QUEUE_DELAY", "queueDelay": 7}),
        ({"scaling": COUNT}, "scaling", COUNT),
    ],
)
def test_patches(patch: dict[str, Any], field: str, expected: Any) -> None:
    current = created(BODY)
    changed = patched(current, patch)
    assert changed[field] == expected
    assert {key for key in current if current[key] != changed[key]} <= {*patch, "workers"}
    assert current == created(BODY)


@pytest.mark.parametrize("nothing", ["", None])
def test_the_cuda_floor_can_be_taken_away(nothing: str | None) -> None:
    changed = patched(created(BODY), {"gpu": {"minCudaVersion": nothing}})["gpu"]
    assert (changed["minCudaVersion"], changed["pools"]) == ("", ["ADA_24"])
    listed = patched(created(LEAST), {"gpu": {"allowedCudaVersions": ["12.8"]}})
    assert patched(listed, {"gpu": {"allowedCudaVersions": []}})["gpu"]["allowedCudaVersions"] == []


@pytest.mark.parametrize(
    "patch",
    [
        {"type": "LOAD_BALANCER"},
        {"type": None},
        {"cpu": [{"id": "cpu3c", "vcpuCount": 2}]},
        {"gpu": None, "cpu": [{"id": "cpu3c", "vcpuCount": 2}]},
        {"gpu": {"excludedTypes": []}},
    ],
)
def test_patches_that_no_endpoint_takes(patch: dict[str, Any]) -> None:
    assert refusal(patched, created(BODY), patch).status == 400


def test_an_endpoint_that_takes_jobs_has_code_of_its_own_from_the_beginning_or_never() -> None:
    own = created({**COMMAND, "command": None, "artifact": "0" * 64})
    assert (own["artifact"], own["timeout"]) == ("0" * 64, TIMEOUT_DEFAULT_MS)
    assert patched(own, {"artifact": "1" * 64})["artifact"] == "1" * 64
    assert "keeps whether it has" in refusal(patched, own, {"artifact": None}).detail
    assert "keeps whether it has" in refusal(patched, created(LEAST), {"artifact": "0" * 64}).detail
    assert patched(created(LEAST), {"artifact": None, "name": "m"})["name"] == "m"


def test_a_cpu_list_is_replaced_whole() -> None:
    current = created({**LEAST, "gpu": None, "cpu": [{"id": "cpu3c", "vcpuCount": 2}, {"id": "cpu3g", "vcpuCount": 4}]})
    assert patched(current, {"cpu": [{"id": "cpu5c", "vcpuCount": 8}]})["cpu"] == [{"id": "cpu5c", "vcpuCount": 8}]
    assert refusal(patched, current, {"gpu": {"pools": ["ADA_24"]}}).status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["QUEUE", "QUEUE_DELAY"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*BODY, "min", "pools", "?"]), inner),
    max_leaves=6,
)


@given(patch=st.dictionaries(st.sampled_from([*BODY, "cpu", "disk", "x"]), JSON, max_size=3))
def test_any_json_gives_a_body_or_a_problem(patch: dict[str, Any]) -> None:
    current = created(BODY)
    for work, args in ((patched, (current, patch)), (created, ({**BODY, **patch},))):
        try:
            body = work(*args)
        except Problem:
            continue
        assert created(body) == body
