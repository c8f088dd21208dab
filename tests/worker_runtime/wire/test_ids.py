"""Ids grow with time and do not repeat."""

import time
import uuid

from worker_runtime.wire.ids import ordered_hex, ordered_uuid


def test_ids_are_uuids_of_version_7_that_grow_with_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [ordered_uuid() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1000
    times = [uuid.UUID(each).int >> 80 for each in ids]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= after
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}


def test_keys_have_their_time_in_front() -> None:
    first, second = ordered_hex(), ordered_hex()
    assert (len(first), first != second, first[:12] <= second[:12]) == (32, True, True)
