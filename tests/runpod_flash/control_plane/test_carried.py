"""Calls that carry their code and data: stored as if uploaded, and checked as uploads are."""

import asyncio
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.carried import Carried
from runpod_flash.errors import PayloadTooLarge
from worker_runtime.wire import paths
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.jobs import INLINE_LIMIT, Call, Instance, Payload
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

MANIFEST = ArtifactManifest("function", "f", "c", EnvironmentRequest("3.11"))
DATA = paths.pack(MANIFEST, b"code", {})
LARGE = bytes(INLINE_LIMIT + 1)
SHA = hashlib.sha256(LARGE).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path, artifact_limit=10_000)


def unloaded(blobs: Blobs, call: Call) -> Call:
    """The call after it was unloaded; in whatever form it came."""
    found = asyncio.run(Carried(blobs).unload(call.to_input()))
    assert asyncio.run(Carried(blobs).unload(call)) == found
    return found


def test_what_is_carried_is_stored_and_no_longer_a_part_of_the_call(blobs: Blobs) -> None:
    instance = Instance("i", Payload.inlined(LARGE + b"2"))
    sent = Call(MANIFEST.id, Payload.inlined(LARGE), "m", instance, 2, artifact_data=DATA, inline=True)
    kept = unloaded(blobs, sent)
    assert kept == Call(MANIFEST.id, Payload.of(LARGE), "m", Instance("i", Payload.of(LARGE + b"2")), 2, inline=True)
    assert blobs.read_artifact(MANIFEST.id) == DATA
    assert asyncio.run(blobs.read(SHA)) == LARGE
    assert all(blobs.has(sha256) for sha256 in kept.values)


def test_a_call_that_carries_nothing_stays_as_it_is(blobs: Blobs) -> None:
    call = Call(MANIFEST.id, Payload.of(LARGE))
    assert unloaded(blobs, call) == call
    assert not blobs.has_artifact(MANIFEST.id)


@given(st.binary(max_size=20))
def test_small_payloads_stay_inside(data: bytes) -> None:
    class Nothing(Blobs):
        def has(self, sha256: str) -> bool:
            raise AssertionError("nothing is stored")

    call = Call(MANIFEST.id, Payload.inlined(data), inline=True)
    assert unloaded(Nothing(Path("/nowhere")), call) == call


def test_an_artifact_that_is_here_already_is_left_alone(blobs: Blobs) -> None:
    call = Call(MANIFEST.id, Payload.of(b""), artifact_data=DATA)
    unloaded(blobs, call)
    before = blobs.artifact_path(MANIFEST.id).stat().st_ino
    unloaded(blobs, call)
    assert blobs.artifact_path(MANIFEST.id).stat().st_ino == before


@pytest.mark.parametrize(("identity", "data"), [("0" * 64, DATA), (MANIFEST.id, b"no artifact"), ("../key", DATA)])
def test_an_artifact_that_is_another_one_is_refused(blobs: Blobs, identity: str, data: bytes) -> None:
    with pytest.raises(WireError):
        unloaded(blobs, Call(identity, Payload.inlined(LARGE), artifact_data=data))
    assert not blobs.has(SHA), "nothing of a refused call is stored"


def test_an_artifact_that_is_too_large_is_refused(blobs: Blobs) -> None:
    with pytest.raises(PayloadTooLarge):
        unloaded(blobs, Call(MANIFEST.id, Payload.of(b""), artifact_data=bytes(10_001)))
