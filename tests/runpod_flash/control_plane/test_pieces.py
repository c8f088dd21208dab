"""Artifacts in pieces: what arrived stays, wherever the stream was cut; nothing but a whole, checked one is stored."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.control_plane.pieces import Gap, Piece, Pieces
from runpod_flash.errors import PayloadTooLarge
from worker_runtime.wire import paths
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest

CODE = os.urandom(3_000_000)
MANIFEST = ArtifactManifest("function", "f", hashlib.sha256(CODE).hexdigest(), EnvironmentRequest("3.11"))
DATA = paths.pack(MANIFEST, CODE, {})
TOTAL = len(DATA)


class Cut(Exception):
    """The connection is gone."""


async def streamed(chunks: Iterable[bytes | Exception]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        if isinstance(chunk, Exception):
            raise chunk
        yield chunk


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", artifact_limit=5_000_000)


def put(blobs: Blobs, piece: Piece, *chunks: bytes | Exception, user: str = "") -> int:
    return asyncio.run(Pieces(blobs).put(user, MANIFEST.id, piece, streamed(chunks)))


def received(blobs: Blobs, user: str = "") -> int:
    return Pieces(blobs).received(user, MANIFEST.id)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(1, 1_500_000), st.none() | st.integers(0, 1_500_000), st.integers(0, 100_000)))
)
def test_whatever_is_cut_the_artifact_becomes_whole(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int | None, int]]
) -> None:
    """Pieces of any size, some cut after so many bytes, some that begin before what has arrived."""
    blobs = Blobs(tmp_path_factory.mktemp("blobs"))
    for size, cut, back in [*steps, *[(1_000_000, None, 0)] * 5]:
        here = received(blobs)
        start = max(0, here - back)
        end = min(start + size, TOTAL)
        piece = Piece(start, end - 1, TOTAL)
        if cut is not None and cut < end - start:
            with pytest.raises(Cut):
                put(blobs, piece, DATA[start : start + cut], Cut())
            assert here <= received(blobs) <= max(here, start + cut)
            continue
        assert put(blobs, piece, DATA[start:end]) == max(here, end)
        if max(here, end) == TOTAL:
            break
    assert blobs.read_artifact(MANIFEST.id) == DATA
    assert (received(blobs), list(blobs.incoming.iterdir())) == (0, [])


def test_what_arrived_is_there_after_a_restart_and_for_its_user_alone(blobs: Blobs) -> None:
    assert put(blobs, Piece(0, 999, TOTAL), DATA[:1000], user="ann") == 1000
    again = Blobs(blobs.incoming.parent, artifact_limit=5_000_000)
    assert (received(again, "ann"), received(again, "bob"), received(again)) == (1000, 0, 0)
    assert put(again, Piece(1000, TOTAL - 1, TOTAL), DATA[1000:], user="ann") == TOTAL


def test_a_piece_beyond_the_end_is_no_hole(blobs: Blobs) -> None:
    put(blobs, Piece(0, 99, TOTAL), DATA[:100])
    with pytest.raises(Gap) as caught:
        put(blobs, Piece(101, 200, TOTAL), DATA[101:201])
    assert (caught.value.received, received(blobs)) == (100, 100)


def test_wrong_bytes_are_found_at_the_end_and_forgotten(blobs: Blobs) -> None:
    put(blobs, Piece(0, 99, TOTAL), b"x" * 100)
    with pytest.raises(WireError):
        put(blobs, Piece(100, TOTAL - 1, TOTAL), DATA[100:])
    assert (received(blobs), blobs.has_artifact(MANIFEST.id)) == (0, False)
    assert put(blobs, Piece(0, TOTAL - 1, TOTAL), DATA) == TOTAL


def test_a_beginning_of_more_bytes_than_there_are_is_dropped(blobs: Blobs) -> None:
    put(blobs, Piece(0, 2_999_999, 4_999_999), b"x" * 3_000_000 + b"y" * 0)
    put(blobs, Piece(3_000_000, 3_499_999, 4_999_999), b"x" * 500_000)
    assert received(blobs) > TOTAL
    assert put(blobs, Piece(0, TOTAL - 1, TOTAL), DATA) == TOTAL


def test_what_is_refused(blobs: Blobs) -> None:
    with pytest.raises(PayloadTooLarge, match="5000001 bytes, more than 5000000"):
        put(blobs, Piece(0, 9, 5_000_001), DATA[:10])
    with pytest.raises(WireError, match="more than its 10 bytes"):
        put(blobs, Piece(0, 9, TOTAL), DATA[:11])
    with pytest.raises(WireError, match="64 lower-case hexadecimal digits"):
        Pieces(blobs).received("", "../../etc/passwd")
    assert not blobs.has_artifact(MANIFEST.id)


def test_two_programs_that_bring_the_same_one(blobs: Blobs) -> None:
    async def both() -> list[int]:
        pieces = Pieces(blobs)
        whole = Piece(0, TOTAL - 1, TOTAL)
        blocks = [DATA[start : start + 1_048_576] for start in range(0, TOTAL, 1_048_576)]
        return await asyncio.gather(*(pieces.put("", MANIFEST.id, whole, streamed(blocks)) for _ in range(2)))

    assert asyncio.run(both()) == [TOTAL, TOTAL]
    assert blobs.read_artifact(MANIFEST.id) == DATA


@pytest.mark.parametrize("header", ["", "bytes 0-9", "bytes 0-9/*", "bytes 9-0/10", "bytes 0-10/10", "items 0-9/10"])
def test_headers_that_name_no_piece(header: str) -> None:
    with pytest.raises(WireError, match="it must be 'bytes FIRST-LAST/TOTAL'"):
        Piece.parse(header)
    assert Piece.parse("bytes 0-9/10") == Piece(0, 9, 10)
