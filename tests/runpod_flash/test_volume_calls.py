"""Volumes from a program: made, filled, read, emptied; over a real control plane's HTTP, without workers."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runpod_flash import NetworkVolume
from runpod_flash.errors import BackendError, ConfigError, PayloadTooLarge, VolumeFileNotFound, VolumeNotFound
from runpod_flash.session import Session, use
from runpod_flash.settings import Settings
from tests.support.fake_platform import KEY as FAKE_KEY
from tests.support.fake_platform import FakePlatform, serving
from tests.support.inline import inline_session
from tests.support.plane_app import KEY, PlaneApp, plane_app, served_app
from tests.support.waiting import wait_until


class Served:
    """The application of a control plane, served by a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.plane: PlaneApp
        self.url = ""
        self._folder, self._stop = folder, asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "Served":
        self._thread.start()
        wait_until(lambda: self.url or not self._thread.is_alive(), 20, "the application is served")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with plane_app(self._folder) as self.plane, served_app(self.plane.app, self.plane.hub) as client:
            self.url = str(client.base_url)
            await self._stop.wait()

    def root(self, volume: NetworkVolume) -> Path:
        """The folder of a volume."""
        assert volume.id is not None
        return self.plane.files.volumes.files(volume.id)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "plane") as served:
        settings = Settings(target=served.url, api_key=KEY, home=tmp_path / "home", logs="off")
        with use(Session(settings, project=tmp_path)):
            yield served


@pytest.fixture
def volume(served: Served) -> NetworkVolume:
    return NetworkVolume("models", size=10)


def paths(volume: NetworkVolume, path: str = "/") -> list[str]:
    return [entry.path for entry in volume.list.blocking(path)]


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_volume_is_made_once_and_found_again(served: Served, volume: NetworkVolume, tmp_path: Path) -> None:
    assert (volume.id, volume.is_created) == (None, False)
    assert volume.provision() is volume
    assert volume.id is not None
    assert volume.deploy() is volume
    other = NetworkVolume("models", datacenter="US-GA-2").provision()
    again = NetworkVolume("models", size=10)
    asyncio.run(again.provision.aio())
    assert again.id == volume.id != other.id
    assert NetworkVolume(id=volume.id).provision().id == volume.id
    with pytest.raises(VolumeNotFound, match="there is no network volume 'agv6w2qcg7'"):
        NetworkVolume(id="agv6w2qcg7").provision()


def test_many_at_once_make_one(served: Served) -> None:
    async def main() -> set[str | None]:
        volumes = [NetworkVolume("models", size=size) for size in range(10, 20)]
        await asyncio.gather(*(volume.provision.aio() for volume in volumes))
        return {volume.id for volume in volumes}

    assert len(asyncio.run(main())) == 1


def test_one_that_is_there_keeps_its_size_and_that_is_said(
    served: Served, volume: NetworkVolume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume.provision()
    larger = NetworkVolume("models", size=500)
    larger.provision()
    assert larger.id is not None
    assert served.plane.files.volumes.get(larger.id).size == 10
    assert (
        "network volume 'models' has 10 GB already and keeps them; size=500 changes nothing" in capsys.readouterr().err
    )


def test_files_and_folders_go_there_and_back(served: Served, volume: NetworkVolume, tmp_path: Path) -> None:
    source = tmp_path / "weights"
    (source / "deep" / "empty").mkdir(parents=True)
    (source / "big").write_bytes(os.urandom(3_000_000))
    (source / "deep" / "small").write_text("s")
    (source / "link").symlink_to("big")
    volume.put(source, "/models")
    assert tree(served.root(volume)) == [
        "models", "models/big", "models/deep", "models/deep/empty", "models/deep/small", "models/link",
    ]  # fmt: skip
    assert paths(volume) == ["/models"]
    assert paths(volume, "models/deep") == ["/models/deep/empty", "/models/deep/small"]
    volume.get("/models", tmp_path / "back")
    assert tree(tmp_path / "back") == ["big", "deep", "deep/empty", "deep/small", "link"]
    assert (tmp_path / "back" / "link").read_bytes() == (source / "big").read_bytes()
    assert not (tmp_path / "back" / "link").is_symlink()
    volume.delete("models/deep")
    assert paths(volume, "/models") == ["/models/big", "/models/link"]


def test_where_a_single_file_goes(served: Served, volume: NetworkVolume, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    for remote in ("x", "/folder/", "/runpod-volume/deep/y"):
        volume.put(tmp_path / "a.txt", remote)
    assert tree(served.root(volume)) == ["deep", "deep/y", "folder", "folder/a.txt", "x"]
    (tmp_path / "there").mkdir()
    volume.get("x", tmp_path / "there")
    volume.get("x", str(tmp_path / "new") + "/")
    volume.get("x", tmp_path / "n" / "z")
    assert [(tmp_path / name).read_text() for name in ("there/x", "new/x", "n/z")] == ["a"] * 3
    (entry,) = volume.list("folder/a.txt")
    assert (entry.path, entry.kind, entry.size) == ("/folder/a.txt", "file", 1)


def test_in_async_code_it_is_awaited(served: Served, volume: NetworkVolume, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")

    async def main() -> list[str]:
        await volume.put(tmp_path / "a", "/a")
        await volume.get.aio("/a", tmp_path / "b")
        return [entry.path for entry in await volume.list()]

    assert asyncio.run(main()) == ["/a"]
    assert (tmp_path / "b").read_text() == "a"


def test_what_is_in_a_volume_may_be_anything(
    served: Served, volume: NetworkVolume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = served.root(volume.provision())
    (root / "blobs").mkdir()
    (root / "blobs" / "1").write_text("weights")
    (root / "a b ü%2F?&#").write_text("named")
    (root / "good").symlink_to("/runpod-volume/blobs/1")
    (root / "out").symlink_to("/etc/passwd")
    (root / "broken").symlink_to("nothing")
    (root / "folder").symlink_to("blobs")
    os.mkfifo(root / "pipe")
    volume.get("/", tmp_path / "all")
    assert tree(tmp_path / "all") == ["a b ü%2F?&#", "blobs", "blobs/1", "good"]
    assert (tmp_path / "all" / "good").read_text() == "weights"
    said = capsys.readouterr().err
    assert "not copied from volume models: /broken, /folder, /out and 1 more; those are links" in said
    volume.get("folder", tmp_path / "folder")
    assert tree(tmp_path / "folder") == ["1"]
    volume.get("a b ü%2F?&#", tmp_path / "named")
    assert (tmp_path / "named").read_text() == "named"


def test_a_file_here_is_replaced_when_all_has_come(served: Served, volume: NetworkVolume, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    volume.put(tmp_path / "old", "x")
    (served.root(volume) / "x").unlink()
    with pytest.raises(VolumeFileNotFound, match="volume 'models' has no '/x'"):
        volume.get("x", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "old"
    assert [path.name for path in tmp_path.glob(".old*")] == []


@pytest.mark.parametrize("call", ["get", "list", "delete"])
def test_only_what_puts_something_there_makes_a_volume(
    served: Served, volume: NetworkVolume, tmp_path: Path, call: str
) -> None:
    arguments = {"get": ("/x", tmp_path / "x"), "list": ("/",), "delete": ("/x",)}[call]
    with pytest.raises(VolumeNotFound, match=r"no network volume 'models' in EU-RO-1; it is made by put\(\)"):
        getattr(volume, call)(*arguments)
    assert served.plane.files.volumes.list() == []


def test_what_cannot_be_put_is_refused_before_anything_is_sent(
    served: Served, volume: NetworkVolume, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "pipe").symlink_to("../pipe")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "to").symlink_to("../folder")
    local: Any
    for local, remote, said in (
        (tmp_path / "nothing", "/x", "there is no such file or folder here"),
        (tmp_path / "pipe", "/x", "is neither a file nor a folder"),
        (tmp_path / "folder", "/x", "is neither a file nor a folder"),
        (tmp_path / "linked", "/x", "is a link to a folder"),
        (tmp_path, "../x", "it must be a path in the volume, without '..'"),
        (tmp_path, 5, "remote= is 5"),
    ):
        with pytest.raises(ConfigError, match=said):
            volume.put(local, remote)  # type: ignore[arg-type]
    assert served.plane.files.volumes.list() == []


def test_what_has_no_room_is_refused_with_the_sizes(served: Served, volume: NetworkVolume, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(11 * 1024**3)
    said = f"volume models has room for {10 * 1024**3} bytes more, and {11 * 1024**3} are to be put there"
    with pytest.raises(PayloadTooLarge, match=said):
        volume.put(tmp_path / "huge", "/huge")
    assert paths(volume) == []


def test_a_place_that_cannot_be_written_is_named(served: Served, volume: NetworkVolume, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    volume.put(tmp_path / "a", "/folder/a")
    with pytest.raises(ConfigError, match="cannot be made: "):
        volume.get("/folder", tmp_path / "a")
    with pytest.raises(ConfigError, match="cannot be made: "):
        volume.get("/folder/a", tmp_path / "a" / "b")


def test_inline_has_none_and_says_what_has(tmp_path: Path) -> None:
    with inline_session(tmp_path), pytest.raises(ConfigError, match="FLASH_TARGET=inline has no network volumes"):
        NetworkVolume("models").provision()


def test_a_platform_with_the_published_api_alone_says_how_files_come_there(tmp_path: Path) -> None:
    platform = FakePlatform()
    platform.modern = False
    with serving(platform) as url:
        settings = Settings(target=url, api_key=FAKE_KEY, home=tmp_path, logs="off")
        with use(Session(settings, project=tmp_path)):
            said = "has the published API alone, .* S3 API: https://s3api-.*the bucket is the volume's id, agv6w2qcg7"
            with pytest.raises(BackendError, match=said):
                NetworkVolume(id="agv6w2qcg7").list()
            with pytest.raises(BackendError, match="GET /v2/network-volumes"):
                NetworkVolume("models").provision()
