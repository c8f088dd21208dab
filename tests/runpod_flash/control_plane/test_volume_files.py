"""Files of volumes: listed, read, put as a whole or not at all, deleted, counted."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runpod_flash.control_plane import volume_files
from runpod_flash.control_plane.store import StoreFull
from runpod_flash.control_plane.volume_files import GB, Entry, VolumeFiles
from runpod_flash.control_plane.volumes import VolumeRecord, Volumes
from runpod_flash.errors import ConfigError, PayloadTooLarge, VolumeFileNotFound


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


@pytest.fixture
def files(tmp_path: Path) -> VolumeFiles:
    return VolumeFiles(Volumes(tmp_path / "volumes"))


@pytest.fixture
async def volume(files: VolumeFiles, anyio_backend: str) -> VolumeRecord:
    return await files.volumes.create("/p", "models", 10, "EU-RO-1")


@pytest.fixture
def root(files: VolumeFiles, volume: VolumeRecord) -> Path:
    return files.volumes.files(volume.id)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for each in data:
        yield each


async def read(files: VolumeFiles, volume: VolumeRecord, path: str) -> bytes:
    size, stream = await files.read(volume, path)
    data = b"".join([piece async for piece in stream])
    assert len(data) == size
    return data


async def names(files: VolumeFiles, volume: VolumeRecord, path: str) -> list[str]:
    return [entry.name for entry in (await files.entries(volume, path)).entries]


async def test_what_is_put_can_be_read_and_replaced(files: VolumeFiles, volume: VolumeRecord, root: Path) -> None:
    big = os.urandom(3_000_000)
    assert await files.put(volume, "/a/b/big", pieces(big[:5], big[5:]), len(big)) == len(big)
    assert await read(files, volume, "a/b/big") == big
    assert (root / "a" / "b" / "big").stat().st_mode & 0o777 == 0o644
    reading = await files.read(volume, "a/b/big")
    await files.put(volume, "a/b/big", pieces(b"new"), None)
    assert b"".join([piece async for piece in reading[1]]) == big  # who has begun reads the old one to its end
    assert await read(files, volume, "a/b/big") == b"new"
    assert os.listdir(files.volumes.incoming(volume.id)) == []


async def test_what_does_not_come_whole_is_not_there(files: VolumeFiles, volume: VolumeRecord, root: Path) -> None:
    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    async def stalls() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        await asyncio.sleep(3600)

    (root / "file").write_text("old")
    with pytest.raises(ConnectionResetError):
        await files.put(volume, "file", breaks(), None)
    task = asyncio.create_task(files.put(volume, "file", stalls(), None))
    while not any(path.stat().st_size for path in files.volumes.incoming(volume.id).iterdir()):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert (root / "file").read_text() == "old"
    assert os.listdir(files.volumes.incoming(volume.id)) == []


async def test_a_folder_is_listed_by_name(files: VolumeFiles, volume: VolumeRecord, root: Path) -> None:
    (root / "b").mkdir()
    (root / "a").write_bytes(b"12345")
    (root / "c").symlink_to("a")
    os.mkfifo(root / "d")
    os.utime(root / "a", (5, 5))
    listing = await files.entries(volume, "/")
    assert [(entry.name, entry.kind) for entry in listing.entries] == [
        ("a", "file"), ("b", "folder"), ("c", "link"), ("d", "other"),
    ]  # fmt: skip
    assert listing.entries[0] == Entry("a", "file", 5, 5.0)
    assert (listing.kind, listing.more) == ("folder", False)
    one = await files.entries(volume, "c")
    assert (one.kind, one.entries) == ("file", [Entry("a", "file", 5, 5.0)])


async def test_a_long_folder_is_listed_in_parts(
    files: VolumeFiles, volume: VolumeRecord, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_files, "LIST_LIMIT", 2)
    for name in "abcde":
        (root / name).touch()
    found, after, more = list[str](), "", True
    while more:
        listing = await files.entries(volume, "", after)
        found += [entry.name for entry in listing.entries]
        after, more = found[-1], listing.more
    assert found == list("abcde")


async def test_a_name_that_is_no_text_is_listed_all_the_same(
    files: VolumeFiles, volume: VolumeRecord, root: Path
) -> None:
    (root / os.fsdecode(b"\xff")).touch()
    assert await names(files, volume, "") == ["\N{REPLACEMENT CHARACTER}"]


async def test_only_files_are_read(files: VolumeFiles, volume: VolumeRecord, root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    (root / "out").symlink_to("/etc/passwd")
    for path, kind, said in (
        ("pipe", ConfigError, "'pipe' is no file"),
        ("folder", ConfigError, "'folder' of volume 'models' is a folder"),
        ("", ConfigError, "is a folder"),
        ("out", ConfigError, "leads out of the network volume"),
        ("nothing", VolumeFileNotFound, "volume 'models' has no 'nothing'"),
        ("pipe/x", ConfigError, "leads through what is no folder"),
    ):
        with pytest.raises(kind, match=said):
            await files.read(volume, path)


async def test_a_file_cannot_take_the_place_of_a_folder_but_of_a_link(
    files: VolumeFiles, volume: VolumeRecord, root: Path
) -> None:
    (root / "folder").mkdir()
    (root / "file").write_text("kept")
    (root / "link").symlink_to("file")
    for path in ("folder", "folder/..", "folder/sub/.."):
        with pytest.raises(ConfigError, match="is a folder"):
            await files.put(volume, path, pieces(b"x"), 1)
    with pytest.raises(ConfigError, match="path is that of the whole volume"):
        await files.put(volume, "/", pieces(b"x"), 1)
    with pytest.raises(ConfigError, match="leads through what is no folder"):
        await files.put(volume, "file/x", pieces(b"x"), 1)
    await files.put(volume, "link", pieces(b"new"), 3)
    assert ((root / "file").read_text(), (root / "link").read_text()) == ("kept", "new")


async def test_folders_are_made_and_left(files: VolumeFiles, volume: VolumeRecord, root: Path) -> None:
    for _ in range(2):
        await files.make_folder(volume, "a/b/c")
    await files.make_folder(volume, "/")
    (root / "file").touch()
    with pytest.raises(ConfigError, match="no folder"):
        await files.make_folder(volume, "file")
    assert (root / "a" / "b" / "c").is_dir()


async def test_what_is_deleted_goes_with_all_in_it_and_a_link_goes_itself(
    files: VolumeFiles, volume: VolumeRecord, root: Path, tmp_path: Path
) -> None:
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "file").touch()
    (root / "other").touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (root / "a" / "out").symlink_to(tmp_path / "outside")
    (root / "link").symlink_to("other")
    await files.delete(volume, "link")
    await files.delete(volume, "a")
    assert os.listdir(root) == ["other"]
    assert (tmp_path / "outside" / "kept").exists()
    with pytest.raises(VolumeFileNotFound):
        await files.delete(volume, "a")
    for path, said in (("", "whole volume"), ("/", "whole volume"), ("other/..", "no folder")):
        with pytest.raises(ConfigError, match=said):
            await files.delete(volume, path)
    (root / "b").mkdir()
    with pytest.raises(ConfigError, match="name what shall be deleted"):
        await files.delete(volume, "b/..")


async def test_what_is_used_counts_each_file_once_and_follows_what_is_put(
    files: VolumeFiles, volume: VolumeRecord, root: Path
) -> None:
    (root / "deep").mkdir()
    (root / "deep" / "a").write_bytes(bytes(1000))
    os.link(root / "deep" / "a", root / "same")
    (root / "link").symlink_to("/etc")
    assert await files.used(volume) == 1000
    await files.put(volume, "b", pieces(bytes(500)), 500)
    assert await files.used(volume) == 1500
    await files.put(volume, "b", pieces(bytes(100)), 100)
    assert await files.used(volume) == 1100
    await files.delete(volume, "b")
    assert await files.used(volume) == 1000


async def test_a_volume_takes_no_more_than_its_size(files: VolumeFiles, volume: VolumeRecord, root: Path) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(10 * GB - 100)  # takes no room on the disk
    said = "volume 'models' has room for 100 bytes more, of its 10 GB; delete something in it, or let it grow: PATCH"
    for announced in (101, None):
        with pytest.raises(PayloadTooLarge, match=said):
            await files.put(volume, "more", pieces(bytes(60), bytes(41)), announced)
    assert os.listdir(root) == ["huge"]
    assert await files.put(volume, "more", pieces(bytes(100)), 100) == 100


async def test_where_nothing_new_is_accepted_nothing_is_put(
    files: VolumeFiles, volume: VolumeRecord, root: Path
) -> None:
    def full() -> None:
        raise StoreFull("the disk is full")

    files.admit = full
    with pytest.raises(StoreFull):
        await files.put(volume, "x", pieces(b"x"), 1)
    with pytest.raises(StoreFull):
        await files.make_folder(volume, "x")
    assert os.listdir(root) == []
