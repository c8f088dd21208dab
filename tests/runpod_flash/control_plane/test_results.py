"""Large results and disks without room."""

import asyncio
import hashlib

from runpod_flash.control_plane.results import Results
from runpod_flash.control_plane.store import StoreFull
from tests.support.memory_fleet import MemoryValues
from worker_runtime.wire.jobs import ErrorKind

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
