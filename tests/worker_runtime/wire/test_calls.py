"""Calls in frames: what one side writes the other reads, and what is none is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire import PROTOCOL, calls, frames
from worker_runtime.wire.calls import Pattern, Submit, SubmitReader
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.jobs import Call, Instance, Payload
from worker_runtime.wire.retries import Backoff

NOTHING = Payload.inlined(b"")
FAR = Payload(sha256="a" * 64, size=10**9)
KEYS = st.text('0123456789abcdef-ä"', min_size=1, max_size=40)
CALLS = st.builds(
    Call,
    artifact=st.just("f" * 64),
    arguments=st.just(NOTHING),
    method=st.none() | st.text(max_size=5),
    instance=st.none()
    | st.builds(Instance, st.text(max_size=5), st.binary(max_size=20).map(Payload.inlined) | st.just(FAR)),
    retries=st.none() | st.integers(0, 5),
    backoff=st.none() | st.just(Backoff(("ValueError",), 1.0, 2.0, 3.0)),
    stream=st.booleans(),
)
SENT = st.lists(st.tuples(KEYS, st.binary(max_size=30).map(Payload.inlined) | st.just(FAR)), min_size=1, max_size=8)


def read(pieces: list[Any], reader: SubmitReader | None = None) -> list[Submit]:
    reader = reader or SubmitReader()
    return [reader.read(*frame) for frame in frames.Splitter().feed(b"".join(pieces))]


def submit(**changes: Any) -> dict[str, Any]:
    call = {"protocol": PROTOCOL, "artifact": "a"}
    return {"type": "submit", "endpoint": "e", "call": call, "jobs": [["k", 1]], **changes}


@given(CALLS, SENT, st.booleans(), st.booleans())
def test_what_is_submitted_is_what_arrives(call: Call, sent: list[Any], fresh: bool, later: bool) -> None:
    (found,) = read(Pattern("e", call, {"policy": {"ttl": 5}}).frames(sent, fresh=fresh, later=later))
    assert found == Submit("e", call, {"policy": {"ttl": 5}}, sent, fresh, later)


def test_many_calls_go_in_several_frames_and_none_is_large() -> None:
    sent = [(f"k{number}", Payload.inlined(bytes(10_000))) for number in range(2500)]
    found = read(Pattern("e", Call("a", NOTHING), {}).frames(sent, fresh=True, later=True))
    assert [job for each in found for job in each.jobs] == sent
    assert all(1 < len(each.jobs) <= calls.AT_ONCE for each in found)
    assert max(sum(payload.size for _, payload in each.jobs) for each in found) <= calls.FRAME_BYTES


def test_what_calls_have_in_common_is_read_once_and_a_change_of_it_is_seen() -> None:
    reader, one, other = SubmitReader(), Call("a", NOTHING, "m"), Call("a", NOTHING, "n")
    sent = [("k", Payload.inlined(b"x"))]
    first, again = (read(Pattern("e", one, {}).frames(sent, fresh=True, later=True), reader)[0] for _ in range(2))
    assert first.call is again.call
    assert read(Pattern("e", other, {}).frames(sent, fresh=True, later=True), reader)[0].call == other


@pytest.mark.parametrize(
    ("changes", "body", "said"),
    [
        ({"jobs": [["k", 2]]}, b"x", "have 2 bytes by their sizes, its body has 1"),
        ({"jobs": [["k", 1]]}, b"xy", "have 1 bytes by their sizes, its body has 2"),
        ({"jobs": [["k", -1]]}, b"", "-1 is no size"),
        ({"jobs": [["k", True]]}, b"x", "True is no size"),
        ({"jobs": [["k", 1.0]]}, b"x", "1.0 is no size"),
        ({"jobs": [["", 1]]}, b"x", "must hold pairs of a key"),
        ({"jobs": [["k" * 256, 1]]}, b"x", "must hold pairs of a key"),
        ({"jobs": [[7, 1]]}, b"x", "must hold pairs of a key"),
        ({"jobs": ["k"]}, b"x", "must hold pairs of a key"),
        ({"jobs": {"k": 1}}, b"x", "field 'jobs' is"),
        ({"jobs": [["k", {"value": "no hash", "size": 1}]]}, b"", "must be a sha256"),
        ({"endpoint": 7}, b"x", "field 'endpoint' is 7"),
        ({"call": None}, b"x", "field 'call' is None"),
        ({"options": []}, b"x", "field 'options' is"),
        ({"fresh": "yes"}, b"x", "field 'fresh' is 'yes'"),
        ({"call": {"protocol": PROTOCOL, "instance": {"id": "i", "constructor": -3}}}, b"x", "-3 is no size"),
    ],
)
def test_what_is_no_submit_is_refused_and_says_why(changes: dict[str, Any], body: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        SubmitReader().read(submit(**changes), body)


def test_another_protocol_is_named() -> None:
    with pytest.raises(VersionMismatch, match="protocol 99"):
        SubmitReader().read(submit(call={"protocol": 99, "artifact": "a"}), b"x")


def test_ids_are_read_or_refused() -> None:
    assert calls.ids_of({"jobs": ["a", "b"]}) == ["a", "b"]
    for wrong in ("a", ["a", 1], [""], None):
        with pytest.raises(WireError, match="field 'jobs'"):
            calls.ids_of({"jobs": wrong})


def test_hello_says_who_comes() -> None:
    assert calls.hello("secret", "c") == {"type": "hello", "protocol": PROTOCOL, "key": "secret", "client": "c"}
