"""Items of streams: JSON as it is where that carries them, else a payload; never one taken for the other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire import items, payload
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.items import Item
from worker_runtime.wire.jobs import INLINE_LIMIT, Payload

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None))
) | st.sampled_from([(), (1,), {1}, b"x", 2**60, float("inf"), "\ud800", {1: 2}, {"flash": 1}])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.just("flash"), inner)
)


def travelled(value: Any) -> Any:
    """The value after its way: worker, control plane, JSON, caller."""
    item = items.encode(value)
    chunk = items.plain(item.data) if item.plain else items.chunk_of(Payload.inlined(item.data))
    arrived = json.loads(json.dumps(chunk, ensure_ascii=False).encode())
    found = items.read(arrived)
    return arrived if found is None else payload.decode(found.inline or b"")


@given(VALUES)
def test_every_value_arrives_as_it_was(value: Any) -> None:
    arrived = travelled(value)
    assert arrived == value
    assert repr(arrived) == repr(value)  # 1 is not True, (1,) not [1]


@pytest.mark.parametrize("value", [None, True, 5, -0.5, "ü", [1, ["x"]], {"a": {"b": []}}], ids=repr)
def test_what_any_client_can_read_is_json(value: Any) -> None:
    item = items.encode(value)
    assert item.plain
    assert json.loads(item.data) == value


@pytest.mark.parametrize(
    "value",
    [(1,), b"x", {1: 2}, {"flash": 1}, float("nan"), 2**53 + 1, "\ud800", "x" * (INLINE_LIMIT + 1), [0] * 20_000],
    ids=lambda value: repr(value)[:20],
)
def test_everything_else_is_a_payload(value: Any) -> None:
    assert not items.encode(value).plain


def test_a_value_that_holds_itself_travels() -> None:
    ring: list[Any] = []
    ring.append(ring)
    item = items.encode(ring)
    arrived = payload.decode(item.data)
    assert arrived[0] is arrived


def test_what_is_no_item_is_refused() -> None:
    with pytest.raises(WireError, match="should be JSON"):
        items.plain(Item(b"{", plain=True).data)
    with pytest.raises(WireError, match="field 'value' is missing"):
        items.read({"flash": {}})
    assert items.read({"x": {"flash": 1}}) is None
