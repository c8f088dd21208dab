"""What a new version takes over, when, and once."""

import asyncio
import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane import succession
from runpod_flash.control_plane.api.serverless_body import created
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.succession import Succession
from runpod_flash.state_folder import PlaneRecord, StateFolder, process_started
from tests.support.listening_plane import BODY

pytestmark = pytest.mark.anyio


class Version:
    """A version's control plane, as far as it has a catalogue and apps."""

    def __init__(self, home: Path, letter: str) -> None:
        self.state = StateFolder(home, letter * 64)
        is_new = not self.state.database.exists()
        self.store = Store.open(self.state.database)
        self.catalog = Catalog(self.store)
        self.apps = Apps(self.store, self.catalog)
        self.succession = Succession(self.state, self.catalog, self.apps, created, is_new=is_new)
        self.adopted = list[EndpointRecord]()
        self.succession.on_adopted = self.adopted.append

    async def deployed(self, app: str = "shop") -> EndpointRecord:
        stage = await self.apps.create_stage(OWNER, app, "production")
        return await self.catalog.create(stage.scope, created({**BODY, "name": "a"}))

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.state.plane_lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


async def test_what_the_version_before_has_left_is_taken_over_once(tmp_path: Path) -> None:
    older = Version(tmp_path, "a")
    endpoint = await older.deployed()
    older.succession.note_port(4321)
    older.store.close()
    newer = Version(tmp_path, "b")
    assert newer.succession.wished_port() == 4321
    await newer.succession.begin()
    assert newer.catalog.list() == [endpoint]
    assert newer.apps.endpoints(newer.apps.stage(OWNER, "shop", "production")) == [endpoint]
    await newer.apps.delete(newer.apps.get(OWNER, "shop"))
    newer.store.close()
    again = Version(tmp_path, "b")
    await again.succession.begin()
    assert (again.catalog.list(), again.apps.every_app()) == ([], [])
    again.store.close()


async def test_one_that_still_runs_is_waited_for_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "LOOK_S", 0.005)
    older = Version(tmp_path, "a")
    with older.running():
        first = Version(tmp_path, "b")
        await first.succession.begin()
        first.store.close()
        endpoint = await older.deployed()
        older.succession.note_port(4321)
        newer = Version(tmp_path, "b")
        await newer.succession.begin()
        waiting = asyncio.create_task(newer.succession.run())
        await asyncio.sleep(0.02)
        assert (newer.catalog.list(), waiting.done()) == ([], False)
        older.store.close()
    await asyncio.wait_for(waiting, 10)
    assert newer.catalog.list() == newer.adopted == [endpoint]
    assert newer.succession.wished_port() == 4321, "at its next start it is found where the other was"
    newer.store.close()


async def test_what_was_made_meanwhile_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "LOOK_S", 0.005)
    older = Version(tmp_path, "a")
    with older.running():
        await older.deployed("shop")
        other = await older.deployed("other")
        newer = Version(tmp_path, "b")
        await newer.succession.begin()
        mine = await newer.deployed("shop")
        older.store.close()
    await asyncio.wait_for(newer.succession.run(), 10)
    assert newer.catalog.list() == [mine, other]
    newer.store.close()


async def test_one_that_was_killed_in_the_middle_of_it_goes_on(tmp_path: Path) -> None:
    older = Version(tmp_path, "a")
    endpoint = await older.deployed()
    older.store.close()
    newer = Version(tmp_path, "b")

    async def killed(record: EndpointRecord) -> Any:
        raise ZeroDivisionError

    newer.catalog.adopt = killed  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await newer.succession.begin()
    newer.store.close()
    again = Version(tmp_path, "b")
    await again.succession.begin()
    assert again.catalog.list() == [endpoint]
    again.store.close()


@pytest.fixture
def later() -> Iterator[int]:
    """The number of a process that started after this one."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def test_a_version_that_comes_back_takes_no_place(tmp_path: Path, later: int) -> None:
    version, other = Version(tmp_path, "a"), Version(tmp_path, "b")
    started = process_started(later) or 0.0
    assert started > (process_started(os.getpid()) or 0.0)
    for state, is_new, comes in (("serving", False, False), ("starting", True, False), ("serving", True, True)):
        record = PlaneRecord(later, started, "2", "b", 1, 1, "", "", state=state, is_new=is_new)
        other.state.write_record(record)
        assert version.succession.has_successor() == comes, (state, is_new)
    version.store.close()
    other.store.close()


async def test_it_is_new_until_it_has_taken_over(tmp_path: Path) -> None:
    older = Version(tmp_path, "a")
    assert older.succession.is_new
    with older.running():
        newer = Version(tmp_path, "b")
        await newer.succession.begin()
        newer.store.close()
    newer = Version(tmp_path, "b")
    assert newer.succession.is_new, "it was killed while it waited for the other one"
    older.store.close()
    await newer.succession.begin()
    newer.store.close()
    again = Version(tmp_path, "b")
    assert not again.succession.is_new
    again.store.close()


def test_it_is_used_while_a_program_holds_the_lock(tmp_path: Path) -> None:
    version = Version(tmp_path, "a")
    assert not version.succession.is_used()
    with version.state.programs_lock.open("ab") as first, version.state.programs_lock.open("ab") as second:
        for file in (first, second):
            fcntl.flock(file, fcntl.LOCK_SH)
        first.close()
        assert version.succession.is_used()
    assert not version.succession.is_used()
    version.store.close()


def test_no_port_is_wished_where_none_was_noted(tmp_path: Path) -> None:
    version = Version(tmp_path, "a")
    assert version.succession.wished_port() == 0
    (version.state.plane / "port").write_text("70000")
    assert version.succession.wished_port() == 0
    version.store.close()
