"""Large results and disks without room."""

import asyncio
import hashlib

from runpod_flash.control_plane.records import PlainOutput
from runpod_flash.control_plane.results import INLINE_RESULT_LIMIT, Results, Told, described, outcome_of
from runpod_flash.control_plane.store import StoreFull
from tests.support.memory_fleet import MemoryValues
from worker_runtime.wire.jobs import INLINE_LIMIT, PLAIN_LIMIT, Call, ErrorInfo, ErrorKind, Payload

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


def test_the_outcome_of_each_kind_of_call() -> None:
    def of(body: bytes, *, read: bool = False, **kind: bool) -> Told | Payload | ErrorInfo:
        return outcome_of(Call("a", Payload.of(b""), **kind), body, 3, read=read)  # type: ignore[arg-type]

    assert of(b"x", check=True) == Told({"flash": {"checked": True}})
    assert of(b"x", stream=True) == Told({"flash": {"items": 3}})
    assert of(BODY) == Told(Payload.inlined(BODY))
    assert of(bytes(INLINE_LIMIT + 1)) == Payload.of(bytes(INLINE_LIMIT + 1))
    assert of(b'{"a": [1]}', plain=True) == Told(PlainOutput('{"a": [1]}'))
    assert of(b"null", plain=True) == Told(None)
    assert of(b"", read=True, plain=True) == Told(None)  # a reader of its stream has all of it


def test_a_plain_result_that_is_too_large_or_no_json() -> None:
    call = Call("a", Payload.of(b""), plain=True)
    for body, kind, words in (
        (b'"' + bytes(PLAIN_LIMIT) + b'"', ErrorKind.TOO_LARGE, "has 20971522 bytes of JSON"),
        (b"", ErrorKind.TOO_LARGE, "has 7 items with more than 20971520 bytes of JSON"),
        (b"{", ErrorKind.PLATFORM, "that is no JSON"),
        (b"[NaN]", ErrorKind.PLATFORM, "that is no JSON: NaN"),
        (b'"\xff"', ErrorKind.PLATFORM, "that is no JSON"),
        (b"[" * 100_000, ErrorKind.PLATFORM, "that is no JSON"),
    ):
        found = outcome_of(call, body, 7, read=False)
        assert isinstance(found, ErrorInfo)
        assert found.kind is kind
        assert words in found.message


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
