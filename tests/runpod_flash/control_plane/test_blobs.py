"""Blobs: complete and checked under their name, or not there."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_flash.control_plane.blobs import Blobs
from runpod_flash.errors import PayloadTooLarge
from tests.support.full_disk import run_on_small_disk
from worker_runtime.wire import paths
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.specs import ArtifactManifest, EnvironmentRequest


async def streamed(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def artifact(code: bytes = b"code", **files: bytes) -> tuple[str, bytes]:
    hashes = {path: sha(content) for path, content in files.items()}
    manifest = ArtifactManifest("function", "f", sha(code), EnvironmentRequest("3.11"), files=hashes)
    return manifest.id, paths.pack(manifest, code, files)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", value_limit=5_000_000, artifact_limit=10_000)


def files(blobs: Blobs) -> list[Path]:
    return [path for path in blobs._root.rglob("*") if path.is_file()]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary() | st.sampled_from([b"x" * 700_000, b"y" * 1_500_000]), max_size=3))
def test_a_value_comes_back_as_it_was_sent(blobs: Blobs, chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    assert asyncio.run(blobs.put(sha(data), streamed(chunks))) == len(data)
    assert blobs.has(sha(data))
    assert asyncio.run(blobs.read(sha(data))) == blobs.path(sha(data)).read_bytes() == data


def test_bytes_in_memory_and_many_at_once(blobs: Blobs) -> None:
    async def put() -> None:
        await asyncio.gather(*(blobs.put_bytes(sha(b"same"), b"same") for _ in range(10)))

    asyncio.run(put())
    assert files(blobs) == [blobs.path(sha(b"same"))]


def test_bytes_of_another_hash_are_refused(blobs: Blobs) -> None:
    with pytest.raises(WireError, match=f"announced as {sha(b'a')} and its bytes have sha256 {sha(b'b')}"):
        asyncio.run(blobs.put(sha(b"a"), streamed([b"b"])))
    assert files(blobs) == []
    assert not blobs.has(sha(b"a"))


def test_a_stream_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(blobs.put(sha(b"a"), broken()))
    assert files(blobs) == []


def test_a_cancelled_upload_leaves_nothing(blobs: Blobs) -> None:
    async def put() -> None:
        arrived = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            while True:
                arrived.set()
                yield b"x" * 100_000
                await asyncio.sleep(0)

        task = asyncio.create_task(blobs.put(sha(b"a"), endless()))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(put())
    assert files(blobs) == []


def test_too_many_bytes_are_refused(blobs: Blobs) -> None:
    with pytest.raises(PayloadTooLarge, match="more than 5000000 bytes"):
        asyncio.run(blobs.put(sha(b"a"), streamed([b"x" * 3_000_000] * 2)))
    code = os.urandom(20_000)
    name, data = artifact(code)
    with pytest.raises(PayloadTooLarge, match="more than 10000 bytes"):
        asyncio.run(blobs.put_artifact(name, streamed([data])))
    assert files(blobs) == []


def test_artifacts_are_named_by_their_manifest(blobs: Blobs) -> None:
    name, data = artifact(**{"a.py": b"x = 1"})
    asyncio.run(blobs.put_artifact(name, streamed([data])))
    assert blobs.has_artifact(name)
    assert not blobs.has(name)
    assert blobs.read_artifact(name) == data
    with pytest.raises(WireError, match=f"its manifest has id {name}"):
        asyncio.run(blobs.put_artifact(sha(b"other"), streamed([data])))
    assert files(blobs) == [blobs.artifact_path(name)]


@given(data=st.binary(max_size=200), flips=st.lists(st.integers(0, 10_000), max_size=3))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_are_no_artifact_are_refused_in_words(blobs: Blobs, data: bytes, flips: list[int]) -> None:
    if flips:  # else any bytes; so: a true artifact with a few bytes changed
        data = bytearray(artifact(**{"a.py": b"x = 1"})[1])  # type: ignore[assignment]
        for position in flips:
            data[position % len(data)] ^= 0x55  # type: ignore[index]
    with pytest.raises(WireError):
        asyncio.run(blobs.put_artifact(sha(b"announced"), streamed([bytes(data)])))


def test_absent_blobs_and_bad_names(blobs: Blobs) -> None:
    with pytest.raises(FileNotFoundError):
        blobs.path(sha(b"a"))
    with pytest.raises(FileNotFoundError):
        asyncio.run(blobs.read(sha(b"a")))
    with pytest.raises(FileNotFoundError):
        blobs.read_artifact(sha(b"a"))
    for name in ("", "a", "../../etc/passwd", sha(b"a").upper(), sha(b"a") + "\n"):
        with pytest.raises(WireError, match="64 lower-case hexadecimal digits"):
            blobs.has(name)
        with pytest.raises(WireError):
            blobs.has_artifact(name)


def test_collecting_goes_by_the_last_use(blobs: Blobs) -> None:
    name, data = artifact()
    for content in (b"old", b"kept", b"used"):
        asyncio.run(blobs.put_bytes(sha(content), content))
    asyncio.run(blobs.put_artifact(name, streamed([data])))
    (blobs._root / "incoming" / "tmpabc").write_bytes(b"of a killed process")
    for path in files(blobs):
        os.utime(path, (1000, 1000))
    assert blobs.has(sha(b"used"))
    assert asyncio.run(blobs.collect(2000, 1500, keep=[sha(b"kept")])) == 0
    assert asyncio.run(blobs.collect(2000, 500, keep=[sha(b"kept")])) == 3
    assert sorted(path.name for path in files(blobs)) == sorted([sha(b"kept"), sha(b"used")])
    assert asyncio.run(blobs.collect(2000, 500)) == 0  # as another would that does not know what this one needs


def test_only_the_user_can_read_them(blobs: Blobs) -> None:
    asyncio.run(blobs.put_bytes(sha(b"a"), b"a"))
    assert {path.stat().st_mode & 0o077 for path in [blobs._root, *blobs._root.rglob("*")]} == {0}


def test_a_full_or_read_only_disk_is_said_and_nothing_half_made_stays(tmp_path: Path) -> None:
    printed = run_on_small_disk(
        """
        import hashlib
        from runpod_flash.control_plane.blobs import Blobs
        from runpod_flash.control_plane.store import StoreError, StoreFull

        async def main():
            blobs = Blobs(disk / "blobs")
            for step in ("full", "space", "read-only"):
                data = b"x" * (2_000_000 if step == "full" else 1000)
                if step == "read-only":
                    set_read_only()
                try:
                    await blobs.put_bytes(hashlib.sha256(data).hexdigest(), data)
                    print(step, "stored")
                except StoreError as error:
                    print(step, type(error).__name__, error)
                print(sum(path.is_file() for path in disk.rglob("*")))
            print(blobs.has(hashlib.sha256(data).hexdigest()))

        asyncio.run(main())
        """,
        tmp_path / "disk",
    )
    full, left, stored, kept, read_only, _, there = printed.splitlines()
    assert full.startswith("full StoreFull")
    assert "the disk is full; free some space" in full
    assert (left, stored, kept, there) == ("0", "space stored", "1", "True")
    assert read_only.startswith("read-only StoreError")
    assert "Read-only file system" in read_only
