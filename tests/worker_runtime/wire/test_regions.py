"""Payloads whose buffers lie behind the pickle."""

import pickle
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_runtime.wire import payload, regions
from worker_runtime.wire.errors import VersionMismatch, WireError
from worker_runtime.wire.pieces import WHOLE_LIMIT, Pieces, joined

LARGE = 300_000


class Held:
    """An object with a buffer, as arrays are."""

    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Held, (pickle.PickleBuffer(self.buffer),)


def test_large_buffers_are_not_copied_and_begin_at_multiples_of_64() -> None:
    data = bytearray(b"d" * LARGE)
    found = payload.encode_pieces([Held(data), "x", Held(bytearray(b"e" * LARGE))])
    assert isinstance(found, Pieces)
    assert any(isinstance(part, memoryview) and part.obj is data for part in found.parts)
    whole = found.joined()
    assert whole.index(b"d" * LARGE) % regions.ALIGNED == whole.index(b"e" * LARGE) % regions.ALIGNED == 0


def test_large_bytes_are_not_copied() -> None:
    data = b"d" * LARGE
    found = payload.encode_pieces((data, 1))
    assert isinstance(found, Pieces)
    assert any(part is data for part in found.parts)
    assert payload.decode(found.joined()) == (data, 1)


def test_a_value_in_writable_memory_is_used_where_it_lies() -> None:
    memory = bytearray(joined(payload.encode_pieces(Held(bytearray(b"d" * LARGE)))))
    found = payload.decode(memory)
    found.buffer[0] = ord("x")
    assert memory.count(b"x" + b"d" * 8) == 1


def test_a_value_in_other_memory_is_copied_so_that_it_can_be_changed() -> None:
    memory = joined(payload.encode_pieces(Held(bytearray(b"d" * LARGE))))
    payload.decode(memory).buffer[0] = ord("x")
    assert payload.decode(memory).buffer[0] == ord("d")


def test_what_could_not_be_changed_cannot_be_changed_afterwards() -> None:
    for memory in (joined(payload.encode_pieces(Held(b"d" * LARGE))),):
        for data in (memory, bytearray(memory)):
            found = payload.decode(data).buffer
            assert memoryview(found).readonly
            assert bytes(found) == b"d" * LARGE


def test_one_object_twice_is_one_object_and_small_buffers_lie_in_the_pickle() -> None:
    one, small = Held(bytearray(LARGE)), Held(bytearray(b"s"))
    encoded = payload.encode_pieces([one, one, small, Held(bytearray())])
    first, second, *rest = payload.decode(joined(encoded))
    assert first is second
    assert [bytes(each.buffer) for each in rest] == [b"s", b""]
    assert isinstance(encoded, Pieces)
    assert sum(len(part) >= LARGE for part in encoded.parts) == 1


def test_up_to_a_limit_it_is_one_bytes() -> None:
    assert isinstance(payload.encode_pieces(Held(bytearray(WHOLE_LIMIT // 2))), bytes)
    assert isinstance(payload.encode_pieces(Held(bytearray(WHOLE_LIMIT))), Pieces)


def test_another_version_is_refused_before_anything_is_unpickled() -> None:
    data = bytearray(joined(payload.encode_pieces(Held(bytearray(LARGE)))))
    data[4] += 1
    with pytest.raises(VersionMismatch, match="written by Python"):
        payload.decode(data)


@given(st.data())
def test_damaged_regions_are_refused_and_never_read_outside(data: st.DataObject) -> None:
    pieces = regions.lay_out(b"FBxxx", [b"pickle"], [memoryview(b"one"), memoryview(b"three")])
    whole = bytearray(pieces.joined())
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, len(whole) - 1)) :]
    else:
        place = data.draw(st.integers(8, 55))
        whole[place] ^= data.draw(st.integers(1, 255))
    try:
        stream, buffers = regions.take_apart(memoryview(whole))
    except WireError:
        return
    assert all(each.nbytes <= len(whole) for each in [stream, *buffers])


def test_an_index_that_points_elsewhere_is_refused() -> None:
    whole = bytearray(regions.lay_out(b"FBxxx", [b"pickle"], [memoryview(b"one")]).joined())
    struct.pack_into("<QQ", whole, 24, 2**40, 3)
    with pytest.raises(WireError, match="does not have"):
        regions.take_apart(memoryview(whole))
