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
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.predecessor import endpoints_to_take_over
from runpod_flash.control_plane.records import EndpointRecord
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
    found = catalog.list()
    if not ended:
        database, copies = state.database, {path: path.read_bytes() for path in state.plane.glob("flash.db*")}
        store.close()
        for path, content in copies.items():
            path.write_bytes(content)
        assert database.with_name("flash.db-wal").stat().st_size
    else:
        store.close()
    return found


@pytest.fixture
def older(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path, "a" * 64)


@pytest.fixture
def newer(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path, "b" * 64)


def test_endpoints_of_images_come_along(older: StateFolder, newer: StateFolder) -> None:
    image, _ = left(older, {**BODY, "name": "contained", "image": "a/b", "args": "x"}, {**BODY, "name": "shipped"})
    older.plane_lock.touch()
    assert endpoints_to_take_over(newer, created) == [image]


@pytest.mark.parametrize("ended", [True, False])
def test_endpoints_with_a_command_come_along_as_they_were(older: StateFolder, newer: StateFolder, ended: bool) -> None:
    serves, _ = left(older, SERVES, {**BODY, "name": "shipped"}, ended=ended)
    older.plane_lock.touch()
    (older.home / "planes" / "api_keys.json").touch()
    before = {path: path.read_bytes() for path in older.plane.glob("flash.db") if ended}
    assert endpoints_to_take_over(newer, created) == [serves]
    assert {path: path.read_bytes() for path in before} == before
    store = Store.open(older.database)
    assert Catalog(store).list()[0] == serves, "it goes on to work there"
    store.close()


def test_none_while_the_other_version_runs(older: StateFolder, newer: StateFolder) -> None:
    left(older, SERVES)
    with older.plane_lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert endpoints_to_take_over(newer, created) == []
    assert len(endpoints_to_take_over(newer, created)) == 1


def test_the_version_that_was_used_last_counts(older: StateFolder, newer: StateFolder) -> None:
    oldest = StateFolder(older.home, "c" * 64)
    left(older, {**SERVES, "name": "of the older"})
    left(oldest, {**SERVES, "name": "of the oldest"})
    for path in oldest.plane.iterdir():
        os.utime(path, (1, 1))
    assert [each.name for each in endpoints_to_take_over(newer, created)] == ["of the older"]
    left(newer)
    assert [each.name for each in endpoints_to_take_over(oldest, created)] == []


def test_before_any_other_version(newer: StateFolder) -> None:
    assert endpoints_to_take_over(newer, created) == []


def test_what_cannot_be_read_is_said_and_left(
    older: StateFolder, newer: StateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    left(older, SERVES, {**SERVES, "name": "odd"})
    connection = sqlite3.connect(older.database)
    with connection:
        connection.execute("""UPDATE endpoints SET body = json_set(body, '$.workers.min', -1) WHERE name = 'odd'""")
    connection.close()
    assert [each.name for each in endpoints_to_take_over(newer, created)] == ["serves"]
    assert "endpoint odd of the version before is not taken over" in caplog.text
    older.database.write_bytes(b"no database" * 1000)
    assert endpoints_to_take_over(newer, created) == []
    assert f"the endpoints in {older.database} cannot be taken over" in caplog.text


def test_a_database_from_before_there_were_users(older: StateFolder, newer: StateFolder) -> None:
    left(older, SERVES)
    connection = sqlite3.connect(older.database)
    with connection:
        connection.execute("ALTER TABLE endpoints DROP COLUMN owner")
    connection.close()
    assert [(each.name, each.owner) for each in endpoints_to_take_over(newer, created)] == [("serves", "")]
