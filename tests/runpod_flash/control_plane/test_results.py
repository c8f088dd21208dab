"""Large results and disks without room."""

import asyncio
import hashlib

from runpod_flash.control_plane.results import INLINE_RESULT_LIMIT, Results, described
from runpod_flash.control_plane.store import StoreFull
from tests.support.memory_fleet import MemoryValues
from worker_runtime.wire.jobs import INLINE_LIMIT, Call, ErrorInfo, ErrorKind, Payload

BODY = b"result"
SHA = hashlib.sha256(BODY).hexdigest()


class Filling(MemoryValues):
    """Refuses the first few values."""

    refusals: list[Exception]

    async def put_bytes(self, sha256: str, data: bytes) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        await super().put_bytes(sha256, data)


def values(*refusals: Exception) -> Filling:
    found = Filling()
    found.refusals = list(refusals)
    return found


def test_results_are_values_above_a_size() -> None:
    call = Call("a", Payload.of(b""))
    assert described(call, BODY) == Payload.inlined(BODY)
    assert described(call, bytes(INLINE_LIMIT + 1)) == Payload.of(bytes(INLINE_LIMIT + 1))


def test_results_come_inside_where_a_call_asks_for_it() -> None:
    call = Call("a", Payload.of(b""), inline=True)
    for size in (6, INLINE_LIMIT + 1, INLINE_RESULT_LIMIT):
        assert described(call, bytes(size)) == Payload.inlined(bytes(size))
    refused = described(call, bytes(INLINE_RESULT_LIMIT + 1))
    assert isinstance(refused, ErrorInfo)
    assert refused.kind is ErrorKind.TOO_LARGE
    assert refused.message.startswith("the value was computed but has 15728641 bytes")


def test_room_that_comes_in_time_is_waited_for() -> None:
    store = values(StoreFull("no room"))
    assert asyncio.run(Results(store, patience_s=5).keep(SHA, BODY)) is None
    assert store.held == {SHA: BODY}


def test_room_that_does_not_come_is_told() -> None:
    found = asyncio.run(Results(values(*[StoreFull("no room")] * 9), patience_s=0.1).keep(SHA, BODY))
    assert found is not None
    assert found.kind is ErrorKind.PLATFORM
    assert "6 bytes cannot be stored: no room" in found.message


def test_another_failure_is_told_at_once() -> None:
    store = values(PermissionError("not yours"), StoreFull("never reached"))
    found = asyncio.run(Results(store, patience_s=60).keep(SHA, BODY))
    assert found is not None
    assert "not yours" in found.message
    assert len(store.refusals) == 1
