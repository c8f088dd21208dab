"""The tables of apps: apps, their stages, and the versions that were deployed to them."""

import json
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, Protocol

from runpod_flash.control_plane.groups import Statement
from runpod_flash.control_plane.store import Store
from runpod_flash.scopes import StageName

_STAGE_KEY: Final = "owner = ? AND app = ? AND {name} = ?"


class VersionState(StrEnum):
    """What has become of a version."""

    ACTIVE = "active"
    SUPERSEDED = "superseded"  # a later one took its place
    ROLLED_BACK = "rolled-back"  # an earlier one took its place


@dataclass(frozen=True, slots=True)
class AppRecord:
    """An app of a user. `lasting`: it stays when its last stage has gone. Times are seconds since the epoch."""

    owner: str
    name: str
    created_at: float
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A stage of an app: endpoints that are deployed together.

    `version` is the active one, 0 before the first deploy. `expires_in`: seconds that it lives after each renewal;
    None: it lasts.
    """

    owner: str
    app: str
    name: str
    created_at: float
    label: str = ""
    expires_in: float | None = None
    renewed_at: float = 0.0
    version: int = 0
    deployed_at: float | None = None

    @property
    def scope(self) -> str:
        """The scope of its endpoints."""
        return StageName(self.app, self.name).scope

    @property
    def expires_at(self) -> float | None:
        """When it expires; None: never."""
        return None if self.expires_in is None else self.renewed_at + self.expires_in

    @property
    def key(self) -> tuple[str, str, str]:
        """By which it is known."""
        return self.owner, self.app, self.name


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """What was deployed to a stage at once. `base` is the version that was active before it, 0: none."""

    number: int
    base: int
    created_at: float
    state: VersionState
    fingerprint: str
    artifacts: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)


_VERSION_COLUMNS: Final = tuple(each.name for each in fields(VersionRecord))


class Reads(Protocol):
    """Gives the rows of a query: the store, or the database of another version."""

    def read(self, sql: str, *values: Any) -> list[Any]: ...


class StageRows:
    """Reads the rows. Raises what `Reads` does."""

    def __init__(self, source: Reads) -> None:
        self._source = source

    def apps(self) -> list[AppRecord]:
        """All apps, the oldest first."""
        rows = self._source.read("SELECT owner, name, created_at, lasting FROM apps ORDER BY created_at, name")
        return [AppRecord(owner, name, created_at, bool(lasting)) for owner, name, created_at, lasting in rows]

    def stages(self) -> list[StageRecord]:
        """All stages, the oldest first."""
        names = ", ".join(each.name for each in fields(StageRecord))
        return [StageRecord(*row) for row in self._source.read(f"SELECT {names} FROM stages ORDER BY created_at, name")]

    def artifacts(self) -> set[str]:
        """The ids of the artifacts that any version names."""
        return {each for (text,) in self._source.read("SELECT artifacts FROM versions") for each in json.loads(text)}

    def versions(self, stage: StageRecord) -> list[VersionRecord]:
        """The versions of a stage that are kept, without their manifests; the oldest first."""
        names = ", ".join(name for name in _VERSION_COLUMNS if name != "manifest")
        where = f"WHERE {_STAGE_KEY.format(name='stage')} ORDER BY number"
        rows = self._source.read(f"SELECT {names} FROM versions {where}", *stage.key)
        return [_version(row) for row in rows]

    def version(self, stage: StageRecord, number: int) -> VersionRecord | None:
        """A version with its manifest; None where it was never there, or is kept no longer."""
        where = f"WHERE {_STAGE_KEY.format(name='stage')} AND number = ?"
        rows = self._source.read(f"SELECT {', '.join(_VERSION_COLUMNS)} FROM versions {where}", *stage.key, number)
        return _version(rows[0]) if rows else None


class StageTable(StageRows):
    """Reads and writes the rows. Raises StoreError, as the store does."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def save_app(self, app: AppRecord) -> Awaitable[None]:
        """Write an app, new or changed."""
        return self._store.write(_insert_app(app))

    def save_stage(self, stage: StageRecord, app: AppRecord | None = None) -> Awaitable[None]:
        """Write a stage, new or changed, and its app with it."""
        return self._store.write(*([] if app is None else [_insert_app(app)]), _insert_stage(stage))

    def add_version(self, stage: StageRecord, version: VersionRecord, drop: Collection[int]) -> Awaitable[None]:
        """Write a version and the stage that has it, in one step; the versions `drop` are forgotten."""
        where = f"WHERE {_STAGE_KEY.format(name='stage')} AND number"
        superseded: Statement = (
            f"UPDATE versions SET state = ? {where} != ? AND state = ?",
            [str(VersionState.SUPERSEDED), *stage.key, version.number, str(VersionState.ACTIVE)],
        )
        dropped: list[Statement] = [(f"DELETE FROM versions {where} = ?", [*stage.key, each]) for each in drop]
        return self._store.write(_insert_version(stage, version), superseded, *dropped, _insert_stage(stage))

    def save_versions(self, stage: StageRecord, versions: Sequence[VersionRecord]) -> Awaitable[None]:
        """Write a stage with all its versions as they were elsewhere."""
        return self._store.write(*(_insert_version(stage, each) for each in versions), _insert_stage(stage))

    def switch_version(self, stage: StageRecord, states: Mapping[int, VersionState]) -> Awaitable[None]:
        """Write that other versions of a stage are active, superseded or rolled back by now, and the stage with it."""
        sql = f"UPDATE versions SET state = ? WHERE {_STAGE_KEY.format(name='stage')} AND number = ?"
        changed: list[Statement] = [(sql, [str(state), *stage.key, number]) for number, state in states.items()]
        return self._store.write(*changed, _insert_stage(stage))

    def delete_stage(self, stage: StageRecord, app: AppRecord | None = None) -> Awaitable[None]:
        """Forget a stage with its versions, and its app with it."""
        statements: list[Statement] = [
            (f"DELETE FROM versions WHERE {_STAGE_KEY.format(name='stage')}", stage.key),
            (f"DELETE FROM stages WHERE {_STAGE_KEY.format(name='name')}", stage.key),
        ]
        return self._store.write(*statements, *([] if app is None else [_delete_app(app)]))

    def delete_app(self, app: AppRecord) -> Awaitable[None]:
        """Forget an app that has no stages."""
        return self._store.write(_delete_app(app))


def _insert_app(app: AppRecord) -> Statement:
    return "INSERT OR REPLACE INTO apps (owner, name, created_at, lasting) VALUES (?, ?, ?, ?)", astuple(app)


def _delete_app(app: AppRecord) -> Statement:
    return "DELETE FROM apps WHERE owner = ? AND name = ?", [app.owner, app.name]


def _insert_stage(stage: StageRecord) -> Statement:
    names = [each.name for each in fields(StageRecord)]
    return f"INSERT OR REPLACE INTO stages ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", astuple(stage)


def _insert_version(stage: StageRecord, version: VersionRecord) -> Statement:
    columns = ("owner", "app", "stage", *_VERSION_COLUMNS)
    sql = f"INSERT OR REPLACE INTO versions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    return sql, [*stage.key, *_values(version)]


def _values(version: VersionRecord) -> list[Any]:
    values = {name: getattr(version, name) for name in _VERSION_COLUMNS}
    values |= {"artifacts": json.dumps(version.artifacts), "manifest": json.dumps(dict(version.manifest))}
    return [str(value) if isinstance(value, VersionState) else value for value in values.values()]


def _version(row: tuple[Any, ...]) -> VersionRecord:
    number, base, created_at, state, fingerprint, artifacts, *rest = row
    manifest = json.loads(rest[0]) if rest else {}
    return VersionRecord(
        number, base, created_at, VersionState(state), fingerprint, tuple(json.loads(artifacts)), manifest
    )
