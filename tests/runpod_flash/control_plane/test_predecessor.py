"""What a new version takes over from the one before it."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane.api.serverless_body import created
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.predecessor import Legacy, left_behind, newest_other, still_runs
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.stage_table import VersionRecord, VersionState
from runpod_flash.control_plane.store import Store
from runpod_flash.state_folder import StateFolder
from tests.support.listening_plane import BODY

SERVES: dict[str, Any] = {**BODY, "name": "serves", "command": "python handler.py", "env": {"A": "1"}}


def left(state: StateFolder, *bodies: Mapping[str, Any], ended: bool = True) -> list[EndpointRecord]:
    """The state of a version that has made these endpoints of alice; `ended`: it was stopped, and not killed."""
    store = Store.open(state.database)
    catalog = Catalog(store)

    async def make() -> None:
        for body in bodies:
            await catalog.create("/p", created(body), "alice")

    asyncio.run(make())
    made = catalog.list()
    if not ended:
        database, copies = state.database, {path: path.read_bytes() for path in state.plane.glob("flash.db*")}
        store.close()
        for path, content in copies.items():
            path.write_bytes(content)
        assert database.with_name("flash.db-wal").stat().st_size
    else:
        store.close()
    return made


def found(state: StateFolder) -> Legacy:
    """What the version before has left."""
    folder = newest_other(state)
    return Legacy() if folder is None or still_runs(folder, state) else left_behind(folder, state, created)


def taken(state: StateFolder) -> list[EndpointRecord]:
    return list(found(state).endpoints)


@pytest.fixture
def older(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path, "a" * 64)


@pytest.fixture
def newer(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path, "b" * 64)


def test_endpoints_of_images_come_along(older: StateFolder, newer: StateFolder) -> None:
    image, _ = left(older, {**BODY, "name": "contained", "image": "a/b", "args": "x"}, {**BODY, "name": "shipped"})
    older.plane_lock.touch()
    assert taken(newer) == [image]


@pytest.mark.parametrize("ended", [True, False])
def test_endpoints_with_a_command_come_along_as_they_were(older: StateFolder, newer: StateFolder, ended: bool) -> None:
    serves, _ = left(older, SERVES, {**BODY, "name": "shipped"}, ended=ended)
    older.plane_lock.touch()
    (older.home / "planes" / "api_keys.json").touch()
    before = {path: path.read_bytes() for path in older.plane.glob("flash.db") if ended}
    assert taken(newer) == [serves]
    assert {path: path.read_bytes() for path in before} == before
    store = Store.open(older.database)
    assert Catalog(store).list()[0] == serves, "it goes on to work there"
    store.close()


def test_none_while_the_other_version_runs(older: StateFolder, newer: StateFolder) -> None:
    left(older, SERVES)
    with older.plane_lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert taken(newer) == []
    assert len(taken(newer)) == 1


def test_the_version_that_was_used_last_counts(older: StateFolder, newer: StateFolder) -> None:
    oldest = StateFolder(older.home, "c" * 64)
    left(older, {**SERVES, "name": "of the older"})
    left(oldest, {**SERVES, "name": "of the oldest"})
    for path in oldest.plane.iterdir():
        os.utime(path, (1, 1))
    assert [each.name for each in taken(newer)] == ["of the older"]
    left(newer)
    assert [each.name for each in taken(oldest)] == []


def test_before_any_other_version(newer: StateFolder) -> None:
    assert taken(newer) == []


def test_what_cannot_be_read_is_said_and_left(
    older: StateFolder, newer: StateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    left(older, SERVES, {**SERVES, "name": "odd"})
    connection = sqlite3.connect(older.database)
    with connection:
        connection.execute("""UPDATE endpoints SET body = json_set(body, '$.workers.min', -1) WHERE name = 'odd'""")
    connection.close()
    assert [each.name for each in taken(newer)] == ["serves"]
    assert "endpoint odd of the version before is not taken over" in caplog.text
    older.database.write_bytes(b"no database" * 1000)
    assert taken(newer) == []
    assert f"the endpoints in {older.database} cannot be taken over" in caplog.text


def test_a_database_from_before_there_were_users(older: StateFolder, newer: StateFolder) -> None:
    left(older, SERVES)
    connection = sqlite3.connect(older.database)
    with connection:
        connection.execute("ALTER TABLE endpoints DROP COLUMN owner")
    connection.close()
    assert [(each.name, each.owner) for each in taken(newer)] == [("serves", "")]


def test_apps_come_along_with_all_that_lasts(older: StateFolder, newer: StateFolder) -> None:
    store = Store.open(older.database)
    catalog = Catalog(store)
    apps = Apps(store, catalog)

    async def make() -> None:
        for user, terms in (("alice", {}), ("bob", {"expires_in": 60.0})):
            stage = await apps.create_stage(user, "shop", "production", **terms)
            await catalog.create(stage.scope, created({**BODY, "name": "a"}), user)
            for number in (1, 2):
                version = VersionRecord(number, number - 1, 1.0, VersionState.ACTIVE, "f", ("a" * 64,), {"n": number})
                stage = await apps.record(stage, version)

    asyncio.run(make())
    store.close()
    legacy = found(newer)
    ((stage, versions),) = legacy.stages
    assert ([app.owner for app in legacy.apps], stage.owner, stage.version) == (["alice"], "alice", 2)
    assert [(each.state, each.manifest) for each in versions] == [("superseded", {"n": 1}), ("active", {"n": 2})]
    assert [(each.owner, each.name) for each in legacy.endpoints] == [("alice", "a")]
