"""Changes as one value of the journal: they come back as they were, or it is said that they cannot."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.job_records import pack, unpack

VALUES = st.none() | st.text() | st.binary() | st.floats(allow_nan=False) | st.integers(-(2**70), 2**70)
CHANGES = st.lists(st.lists(VALUES, max_size=20).map(tuple), max_size=20)


@given(changes=CHANGES)
def test_what_is_packed_comes_back_as_it_was(changes: list[tuple[object, ...]]) -> None:
    assert unpack(pack(changes)) == changes


def test_large_bytes_come_back_as_bytes_whatever_they_were_kept_in() -> None:
    ((found,),) = unpack(pack([(bytearray(b"abc" * 99_999),)]))
    assert (type(found), found) == (bytes, b"abc" * 99_999)


@given(changes=CHANGES, place=st.integers(0), other=st.integers(1, 255))
def test_one_that_was_changed_is_refused_before_anything_is_made_of_it(
    changes: list[tuple[object, ...]], place: int, other: int
) -> None:
    record = bytearray(pack(changes))
    record[place % len(record)] ^= other
    with pytest.raises(sqlite3.DatabaseError, match="not as it was written"):
        unpack(bytes(record))


@pytest.mark.parametrize("record", [b"", b"abc", bytes(4), b"\0\0\0\1"])
def test_what_is_no_record_is_refused(record: bytes) -> None:
    with pytest.raises(sqlite3.DatabaseError, match="not as it was written"):
        unpack(record)


def test_what_is_neither_text_nor_number_nor_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="unmarshallable"):
        pack([(1, object())])
