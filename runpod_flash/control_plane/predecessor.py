"""After an upgrade: what the version before has that no program will declare anew.

Those are endpoints with a command or an image, and apps with their stages and endpoints. Programs that ship code
declare theirs with the next call.
"""

import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord, is_ours
from runpod_flash.control_plane.stage_table import AppRecord, StageRecord, StageRows, VersionRecord
from runpod_flash.scopes import is_managed
from runpod_flash.state_folder import StateFolder, is_locked

logger = logging.getLogger(__name__)

Check = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Gives the body of an endpoint as this version has it; raises Problem where it cannot be one."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """What another version has left. Apps and stages that expire are not in it, nor is what belongs to those."""

    endpoints: tuple[EndpointRecord, ...] = ()
    apps: tuple[AppRecord, ...] = ()
    stages: tuple[tuple[StageRecord, tuple[VersionRecord, ...]], ...] = ()


def newest_other(state: StateFolder) -> Path | None:
    """The folder of the other version whose database was written last."""
    written = dict[Path, float]()
    for path in state.plane.parent.glob(f"*/{state.database.name}*"):  # what was written last may be beside it
        if path.parent != state.plane:
            with contextlib.suppress(OSError):
                written[path.parent] = max(written.get(path.parent, 0.0), path.stat().st_mtime)
    return max(written, key=lambda folder: written[folder], default=None)


def still_runs(folder: Path, state: StateFolder) -> bool:
    """Whether the control plane of another version, whose folder this is, lives."""
    lock = folder / state.plane_lock.name
    return lock.exists() and is_locked(lock)


def left_behind(folder: Path, state: StateFolder, check: Check) -> Legacy:
    """What the version of this folder has left, whose control plane has ended.

    Its database is only read. One that cannot be read is said in the log, and gives nothing.
    """
    database = folder / state.database.name
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
            return _legacy(_Database(connection), check)
    except (sqlite3.Error, ValueError, TypeError, OSError) as error:
        logger.warning("the endpoints in %s cannot be taken over: %s", database, error)
        return Legacy()


class _Database:
    """Reads another version's database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def read(self, sql: str, *values: Any) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()

    def endpoints(self) -> list[dict[str, Any]]:
        """All endpoints, by the names of the columns that it has."""
        cursor = self._connection.execute("SELECT * FROM endpoints ORDER BY created_at, id")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def has_apps(self) -> bool:
        """Whether that version knew apps."""
        return bool(self.read("SELECT name FROM sqlite_master WHERE name = 'stages'"))


def _legacy(database: _Database, check: Check) -> Legacy:
    rows = StageRows(database)
    there = database.has_apps()
    stages = [stage for stage in rows.stages() if stage.expires_in is None] if there else []
    kept = {(stage.owner, stage.scope) for stage in stages}
    return Legacy(
        tuple(_checked(database.endpoints(), kept, check)),
        tuple(app for app in rows.apps() if app.lasting) if there else (),
        tuple((stage, _versions(rows, stage)) for stage in stages),
    )


def _versions(rows: StageRows, stage: StageRecord) -> tuple[VersionRecord, ...]:
    found = (rows.version(stage, version.number) for version in rows.versions(stage))
    return tuple(version for version in found if version is not None)


def _checked(rows: list[dict[str, Any]], kept: set[tuple[str, str]], check: Check) -> Iterator[EndpointRecord]:
    known = {field.name for field in fields(EndpointRecord)}
    for row in rows:
        body = json.loads(row["body"])
        if not _comes_along(row, body, kept):
            continue
        try:
            named = {name: value for name, value in row.items() if name in known}
            yield EndpointRecord(**{**named, "body": check(body)})
        except Problem as error:
            logger.warning("endpoint %s of the version before is not taken over: %s", row["name"], error)


def _comes_along(row: Mapping[str, Any], body: Mapping[str, Any], kept: set[tuple[str, str]]) -> bool:
    if is_managed(str(row["project"])):
        return (str(row.get("owner", "")), str(row["project"])) in kept
    return bool(body.get("command")) or not is_ours(str(body.get("image") or ""))
