"""Network volumes on disk: made, found by others, renamed, enlarged, deleted, swept up."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.store import StoreError
from runpod_flash.control_plane.volumes import VolumeRecord, Volumes, VolumeTaken
from runpod_flash.errors import ConfigError, VolumeNotFound


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(tmp_path / "volumes")


async def made(volumes: Volumes, name: str = "models", datacenter: str = "EU-RO-1", **more: Any) -> VolumeRecord:
    project, owner = more.get("project", "/p"), more.get("owner", "")
    return await volumes.create(project, name, 10, datacenter, owner)


async def test_what_is_made_is_there_for_another_control_plane(volumes: Volumes, tmp_path: Path) -> None:
    first, second = await made(volumes), await made(volumes, "other")
    again = Volumes(tmp_path / "volumes")
    assert again.list() == [first, second]
    assert again.get(first.id) == first
    assert volumes.files(first.id).is_dir()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "volumes", volumes.files(first.id))} == {0o700}


async def test_a_name_is_there_once_in_a_data_center_a_project_and_for_a_user(volumes: Volumes) -> None:
    first = await made(volumes)
    for more in ({"project": "/q"}, {"owner": "ada"}, {"datacenter": "US-GA-2"}):
        await made(volumes, **more)
    with pytest.raises(VolumeTaken, match=f"a network volume 'models' in EU-RO-1 already, with id {first.id}"):
        await made(volumes)
    assert len(volumes.list()) == 4
    assert volumes.list("/p", "") == [first, volumes.list("/p", "")[1]]
    assert [record.owner for record in volumes.list(owner="ada")] == ["ada"]


async def test_of_many_at_once_one_is_made(volumes: Volumes, tmp_path: Path) -> None:
    others = [Volumes(tmp_path / "volumes") for _ in range(4)]
    done = await asyncio.gather(*(made(each) for each in (volumes, *others)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == [*["VolumeRecord"], *["VolumeTaken"] * 4]


async def test_it_is_renamed_and_only_grows(volumes: Volumes) -> None:
    record = await made(volumes)
    await made(volumes, "taken")
    changed = await volumes.change(record.id, name="weights", size=20)
    assert (changed.name, changed.size) == ("weights", 20)
    assert volumes.get(record.id) == changed
    with pytest.raises(ConfigError, match="size is 10 GB and volume 'weights' has 20 GB; a volume only grows"):
        await volumes.change(record.id, size=10)
    with pytest.raises(VolumeTaken):
        await volumes.change(record.id, name="taken")
    assert await volumes.change(record.id, name="weights", size=20) == changed


async def test_it_is_deleted_with_what_is_in_it_but_not_while_it_is_used(volumes: Volumes, tmp_path: Path) -> None:
    record = await made(volumes)
    (volumes.files(record.id) / "deep").mkdir()
    (volumes.files(record.id) / "deep" / "file").write_text("x")
    volumes.users = lambda volume_id: [f"e{number}" for number in range(5)]
    said = "is used by endpoint 'e0', endpoint 'e1', endpoint 'e2' and 2 more; delete what uses it"
    with pytest.raises(VolumeTaken, match=said):
        await volumes.delete(record.id)
    volumes.users = lambda volume_id: []
    await volumes.delete(record.id)
    assert os.listdir(tmp_path / "volumes") == ["lock"]
    for act in (volumes.delete(record.id), volumes.change(record.id, size=20)):
        with pytest.raises(VolumeNotFound, match=f"there is no network volume '{record.id}'"):
            await act


@pytest.mark.parametrize("name", ["", "..", "../x", "lock", "ABCDEFGHIJ", "abcdefghi", "abcdefghij"])
async def test_what_is_no_id_is_not_there(volumes: Volumes, name: str) -> None:
    await made(volumes)
    with pytest.raises(VolumeNotFound):
        volumes.get(name)


@pytest.mark.parametrize("content", ["", "{}", '{"id": 5}', "[]"])
async def test_a_damaged_record_is_named_and_hides_no_others(
    volumes: Volumes, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = await made(volumes, "bad"), await made(volumes, "good")
    volumes.files(bad.id).with_name("volume.json").write_text(content)
    with pytest.raises(StoreError, match=r"the record of a network volume .*volume.json is damaged"):
        volumes.get(bad.id)
    assert volumes.list() == [good]
    assert "volume.json is damaged" in caplog.text


async def test_a_record_that_was_copied_is_none_of_its_folder(volumes: Volumes, tmp_path: Path) -> None:
    record = await made(volumes)
    volumes.files(record.id).parent.rename(tmp_path / "volumes" / "abcdefghij")
    assert volumes.list() == []


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "volumes").write_text("a file")
    with pytest.raises(StoreError, match=r"volumes cannot be used: .*set FLASH_HOME"):
        await made(Volumes(tmp_path / "volumes"))


async def test_a_lock_that_is_held_is_not_waited_for_without_end(
    volumes: Volumes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runpod_flash.control_plane.volumes.LOCK_S", 0.1)
    async with Volumes(tmp_path / "volumes").changing():
        with pytest.raises(StoreError, match="are held by another process"):
            await made(volumes)
    await made(volumes)


async def test_what_a_killed_control_plane_left_is_swept_up_after_a_day(volumes: Volumes, tmp_path: Path) -> None:
    record = await made(volumes)
    folder, incoming = tmp_path / "volumes", volumes.incoming(record.id)
    for path in (folder / ".deleted-abcdefghij" / "files", folder / ".new-abcdefghij"):
        path.mkdir(parents=True)
    (incoming / "half").write_text("x")
    (incoming / "fresh").write_text("x")
    (volumes.files(record.id) / "old").write_text("x")
    for path in (folder / ".deleted-abcdefghij", folder / ".new-abcdefghij", incoming / "half"):
        os.utime(path, (time.time() - 90_000,) * 2)
    volumes.sweep()
    assert sorted(os.listdir(folder)) == sorted(["lock", record.id])
    assert os.listdir(incoming) == ["fresh"]
    assert os.listdir(volumes.files(record.id)) == ["old"]


def endpoint(*ids: str) -> EndpointRecord:
    return EndpointRecord("e", "/p", "n", {"networkVolumes": list(ids)}, "", 1, 0.0)


async def test_workers_see_the_volume_of_their_data_center_else_the_first(volumes: Volumes, tmp_path: Path) -> None:
    us, eu = await made(volumes, datacenter="US-GA-2"), await made(volumes)
    assert volumes.of_worker(endpoint()) is None
    assert volumes.of_worker(endpoint(us.id, eu.id)) == us
    assert Volumes(tmp_path / "volumes", "EU-RO-1").of_worker(endpoint(us.id, eu.id)) == eu
    assert Volumes(tmp_path / "volumes", "EU-CZ-1").of_worker(endpoint(eu.id, us.id)) == eu
    await volumes.delete(eu.id)
    with pytest.raises(VolumeNotFound):
        volumes.of_worker(endpoint(us.id, eu.id))
