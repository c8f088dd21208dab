"""What inputs become at endpoints with code of their own, and which code they can have."""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from runpod_flash.control_plane.own_code import call_of, check_body, input_as_sent
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.errors import ContentNotFound, NotPortable
from tests.support.memory_fleet import MemoryArtifacts, MemoryValues
from tests.support.own_code import CHECK, code, parameter
from worker_runtime.wire import neutral, paths, payload
from worker_runtime.wire.class_names import ClassNames
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.jobs import INLINE_LIMIT, Call, Instance, Payload
from worker_runtime.wire.retries import Backoff

SHIPPED = code("add", "def add(a, b=1): return a + b", (parameter("a", "integer"), parameter("b", required=False)))
MANIFEST = paths.read_manifest(SHIPPED.data)
ENDPOINT = EndpointRecord("e", "", "adder", {"type": "QUEUE", "artifact": SHIPPED.id}, "h", 1, 0.0)
NEUTRAL = Payload.inlined(neutral.encode(((1,), {}), ClassNames()).data)
PICKLE = Payload.inlined(payload.encode(((1,), {})))


def of(job_input: dict[str, Any]) -> Call:
    return call_of(ENDPOINT, MANIFEST, job_input)


def test_plain_json_is_a_call_of_what_is_there_now() -> None:
    call = of({"a": 1})
    assert (call.artifact, call.method, call.plain, call.inline, call.retries) == (SHIPPED.id, None, True, True, None)


def test_the_input_is_kept_as_it_was_sent() -> None:
    small, large = {"a": 1}, {"a": 1, "b": "x" * INLINE_LIMIT}
    data = of(large).arguments.inline
    assert data is not None
    stored, values = Payload.of(data), MemoryValues()
    assert stored.sha256 is not None
    values.held[stored.sha256] = data

    def kept(job_input: dict[str, Any]) -> Any:
        return asyncio.run(input_as_sent(JobRecord("j", "e", job_input, 0.0), values))

    assert kept(of(small).to_input()) == small
    assert kept(replace(of(large), arguments=stored).to_input()) == large
    for other in (Call("", NEUTRAL).to_input(), {"flash": "a command's own"}, {"a": 1}):
        assert kept(other) is other


def test_plain_calls_are_tried_again_as_the_endpoint_was_declared() -> None:
    call = call_of(ENDPOINT, replace(MANIFEST, retries=2, backoff=Backoff(("OSError",))), {"a": 1})
    assert (call.retries, call.backoff) == (2, Backoff(("OSError",)))


def test_what_does_not_fit_is_a_problem_with_each_fault() -> None:
    with pytest.raises(Problem) as caught:
        of({"c": 1})
    assert (caught.value.status, caught.value.code, len(caught.value.errors)) == (422, "CallError", 2)


def test_code_without_an_interface_takes_calls_of_the_sdk_alone() -> None:
    bare = replace(MANIFEST, interface=None)
    with pytest.raises(Problem, match="was not built to take plain JSON"):
        call_of(ENDPOINT, bare, {"a": 1})
    assert call_of(ENDPOINT, bare, Call("", NEUTRAL).to_input()).artifact == SHIPPED.id


def test_calls_of_the_sdk_name_no_code_or_this_one() -> None:
    for artifact in ("", SHIPPED.id):
        assert of(Call(artifact, NEUTRAL, retries=2).to_input()) == Call(SHIPPED.id, NEUTRAL, retries=2)
    stored = Call("", Payload(sha256="0" * 64, size=1))
    assert of(stored.to_input()).arguments == stored.arguments  # the worker looks into it
    assert of(CHECK) == Call(SHIPPED.id, Payload.inlined(b""), check=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (Call("1" * 64, NEUTRAL), "none that a call brings"),
        (Call("", NEUTRAL, artifact_data=SHIPPED.data), "none that a call brings"),
        (Call("", PICKLE), "loads no pickles"),
        (Call("", NEUTRAL, instance=Instance("i", PICKLE)), "loads no pickles"),
        (Call("", NEUTRAL, "__setattr__"), "has no method '__setattr__'"),
        (Call("", NEUTRAL, plain=True), "said by the platform alone"),
        (Call("1" * 64, NEUTRAL, check=True), "none that a call brings"),
    ],
)
def test_code_that_a_call_brings_is_refused_in_whatever_form(call: Call, words: str) -> None:
    with pytest.raises((Problem, NotPortable), match=words):
        of(call.to_input())


@pytest.mark.parametrize(
    ("method", "allowed"), [("go", True), ("close", True), ("__call__", True), ("_own", False), ("__setattr__", False)]
)
def test_methods_that_are_public_can_be_called(method: str, allowed: bool) -> None:
    built = paths.read_manifest(code("A", "class A: ...", {"go": ()}, kind="class").data)
    for manifest in (built, replace(built, interface=None)):
        refused = nullcontext() if allowed else pytest.raises(Problem, match="has no method")
        with refused:
            call_of(ENDPOINT, manifest, Call("", NEUTRAL, method).to_input())


def test_what_is_no_call_of_ours_is_said_so() -> None:
    with pytest.raises(VersionMismatch):
        of({"flash": {"protocol": 99}})
    with pytest.raises(WireError):
        of({"flash": {"protocol": 1, "arguments": "x"}})


def test_which_code_an_endpoint_can_have() -> None:
    pickled = replace(MANIFEST, entry=None, files={})
    routes = replace(MANIFEST, kind="routes")
    data = paths.read_code(SHIPPED.data)
    assert data is None
    text = {"app.py": b"def add(a, b=1): return a + b"}
    held = {
        SHIPPED.id: SHIPPED.data,
        pickled.id: paths.pack(pickled, b"code", {}),
        routes.id: paths.pack(routes, None, text),
    }
    artifacts = MemoryArtifacts(held)
    check_body({"name": "n", "type": "QUEUE"}, artifacts)
    check_body({"name": "n", "type": "QUEUE", "artifact": SHIPPED.id}, artifacts)
    check_body({"name": "n", "type": "LOAD_BALANCER", "artifact": pickled.id}, artifacts)
    with pytest.raises(ContentNotFound):
        check_body({"name": "n", "type": "QUEUE", "artifact": "0" * 64}, artifacts)
    for manifest, words in ((pickled, "is a pickle"), (routes, "has routes")):
        with pytest.raises(Problem, match=words):
            check_body({"name": "n", "type": "QUEUE", "artifact": manifest.id}, artifacts)
