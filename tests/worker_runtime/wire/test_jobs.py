"""Calls and outcomes as JSON."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire.call_shape import Shape
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.jobs import (
    INLINE_LIMIT,
    Call,
    ErrorInfo,
    ErrorKind,
    Instance,
    JobStatus,
    Payload,
    error_output,
    read_output,
    value_output,
)
from worker_runtime.wire.retries import Backoff

LARGE = st.binary(min_size=1, max_size=4).map(lambda seed: seed * INLINE_LIMIT + b"x")
PAYLOADS = st.binary(max_size=50).map(Payload.of) | LARGE.map(Payload.of)
TEXTS = st.lists(st.text(max_size=5), max_size=3).map(tuple)
CALLS = st.builds(
    Call,
    artifact=st.text(),
    arguments=PAYLOADS,
    method=st.none() | st.text(),
    instance=st.none() | st.builds(Instance, st.text(), PAYLOADS),
    retries=st.none() | st.integers(),
    backoff=st.none()
    | st.builds(
        Backoff,
        st.none() | st.lists(st.text()).map(tuple),
        st.floats(0, 1e9),
        st.floats(0, 1e9),
        st.floats(0, 1e9),
    ),
    artifact_data=st.none() | st.binary(max_size=50),
    inline=st.booleans(),
    shape=st.none() | st.builds(Shape, TEXTS, TEXTS, st.integers(0, 9)),
)
ERRORS = st.builds(
    ErrorInfo,
    st.sampled_from(ErrorKind),
    st.text(),
    st.text(),
    st.text(),
    st.none() | st.binary(max_size=50),
    st.lists(st.text()).map(tuple),
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "flash",
                    "value",
                    "error",
                    "inline",
                    "size",
                    "kind",
                    "artifact",
                    "arguments",
                    "protocol",
                    "artifact_data",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


def over_the_wire(data: dict[str, Any]) -> Any:
    return json.loads(json.dumps(data))


@given(CALLS)
def test_calls_come_back(call: Call) -> None:
    assert Call.from_input(over_the_wire(call.to_input())) == call
    assert Call.of_head(over_the_wire(call.head()), *call.payloads) == call


def test_a_head_without_its_payloads_is_refused() -> None:
    method = Call("a", Payload.of(b"x"), "m", Instance("i", Payload.of(b"y")))
    for call, payloads in ((method, method.payloads[:1]), (Call("a", Payload.of(b"x")), method.payloads)):
        with pytest.raises(WireError, match="constructor"):
            Call.of_head(call.head(), *payloads)


@given(PAYLOADS)
def test_values_come_back(value: Payload) -> None:
    assert read_output(over_the_wire(value_output(value))) == value
    assert (value.inline is None) is (value.size > INLINE_LIMIT)


@given(LARGE)
def test_large_payloads_may_travel_inside(data: bytes) -> None:
    payload = Payload.inlined(data)
    assert Payload.from_json(over_the_wire(payload.to_json())) == payload
    assert Call("a", payload).values == ()


@pytest.mark.parametrize("change", [{"artifact_data": "not base64!"}, {"artifact_data": 1}, {"inline": "yes"}])
def test_calls_that_carry_nonsense_are_refused(change: dict[str, Any]) -> None:
    data = Call("a", Payload.of(b"")).to_input()
    data["flash"] |= change
    with pytest.raises(WireError, match=next(iter(change))):
        Call.from_input(data)


def test_what_a_call_carries_is_not_shown() -> None:
    assert "secret" not in repr(Call("a", Payload.of(b""), artifact_data=b"secret"))


@given(ERRORS)
def test_errors_come_back(error: ErrorInfo) -> None:
    assert read_output(over_the_wire(error_output(error))) == error


@given(ANY_JSON)
def test_arbitrary_json_is_read_or_refused(data: Any) -> None:
    for read in (Call.from_input, read_output):
        with contextlib.suppress(WireError):
            read(data if isinstance(data, dict) else {})


def test_a_call_names_the_values_it_needs() -> None:
    big, small = Payload.of(b"x" * (INLINE_LIMIT + 1)), Payload.of(b"x")
    assert Call("a", small).values == ()
    assert Call("a", big, "m", Instance("i", small)).values == (big.sha256,)
    assert Call("a", small, "m", Instance("i", big)).values == (big.sha256,)


def test_another_protocol_is_refused() -> None:
    data = Call("a", Payload.of(b"")).to_input()
    data["flash"]["protocol"] += 1
    with pytest.raises(VersionMismatch, match="one version on both sides"):
        Call.from_input(data)


@pytest.mark.parametrize(
    "data",
    [{"inline": "not base64!"}, {"inline": 1}, {"value": "abc", "size": 1}, {"value": "A" * 64, "size": 1}, {}],
)
def test_bad_payloads(data: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        Payload.from_json(data)


@pytest.mark.parametrize("exception", ["not base64!", "ä", 5])
def test_an_error_whose_exception_is_no_base64_text_is_refused(exception: object) -> None:
    data = {**ErrorInfo(ErrorKind.USER, "T", "m").to_json(), "exception": exception}
    with pytest.raises(WireError, match="exception"):
        ErrorInfo.from_json(data)


def test_final_states() -> None:
    assert {status for status in JobStatus if not status.final} == {JobStatus.IN_QUEUE, JobStatus.IN_PROGRESS}
