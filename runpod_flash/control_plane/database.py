"""The SQLite file of a control plane: opened for one process alone, brought up to date, its failures in our words."""

import contextlib
import errno
import os
import re
import sqlite3
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

from runpod_flash.errors import BackendError

BUSY_TIMEOUT_S = 2.0
_CHECKPOINT_PAGES: Final = 4000  # 16 MB of log: a checkpoint, which flushes the disk, is rare under load
_FULL: Final = "cannot be written: the disk is full; free some space, or set FLASH_HOME to a folder on another disk"


class StoreError(BackendError):
    """The database or the blobs cannot be read or written. The message says which file, why and what to do."""


class StoreFull(StoreError):
    """The disk that holds the state is full. Works again as soon as there is space."""


def connect(path: Path, *, power_safe: bool) -> sqlite3.Connection:
    """Open the database, make it where there is none, bring an older one up to date. It is this process's until closed.

    Raises:
        StoreError: it is damaged, of a newer version, held by another process, or its folder cannot be written.
        StoreFull: the disk is full.
    """
    existed = path.exists()
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # inputs are nobody else's business
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        connection.execute(
            "PRAGMA locking_mode = EXCLUSIVE"
        )  # before WAL: no shared memory, so any file system will do
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
        _migrate(connection, path)
    except (sqlite3.Error, OSError, StoreError) as error:
        if connection is not None:
            connection.close()
        refused = translated(error, path)
        if isinstance(refused, StoreFull) and not existed:
            _remove(path)
        raise refused from error
    return connection


def size(path: Path) -> int:
    """Bytes on disk, what is not yet moved from the log into the database included."""
    sizes = 0
    for each in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(FileNotFoundError):
            sizes += each.stat().st_size
    return sizes


def disk_error(error: OSError, what: str) -> StoreError:
    """An OSError at a file of ours, as StoreFull or StoreError. `what` begins the message."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"{what} {_FULL}")
    reason = error.strerror or str(error)
    return StoreError(f"{what} cannot be used: {reason}; make it writable, or set FLASH_HOME to another folder")


def translated(error: Exception, path: Path) -> StoreError:
    """A failure of the database, in our words."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        return disk_error(error, f"database {path}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"database {path} {_FULL}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"database {path} is held by another process; stop that process (`flash server stop`) and try again"
        )
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreError(
            f"database {path} is damaged ({error}); move it and its -wal file away and try again: an empty one "
            "is made, the next calls provision their endpoints anew, results of earlier jobs are lost"
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StoreError(
            f"database {path} cannot be written ({error}); make it and its folder writable, or set FLASH_HOME"
        )
    return StoreError(
        f"database {path} failed: {error}; if that stays so, move the file away or set FLASH_HOME to another folder"
    )


def text(given: str) -> str:
    """Without lone surrogates, which SQLite cannot store: one such text would refuse its whole group."""
    return given if given.isascii() else given.encode("utf-8", "replace").decode()


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute("COMMIT")
    steps = _schema()
    if version > max(steps):
        raise StoreError(
            f"database {path} has version {version} and this release knows {max(steps)}: a newer release wrote it; "
            "install that release, or set FLASH_HOME to another folder"
        )
    for step in sorted(step for step in steps if step > version):
        connection.executescript(f"BEGIN IMMEDIATE; {steps[step]}; PRAGMA user_version = {step}; COMMIT;")


def _schema() -> Mapping[int, str]:
    """The sections of schema.sql by version."""
    found = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- version (\d+)$", found, flags=re.MULTILINE)
    return {int(version): script for version, script in zip(parts[::2], parts[1::2], strict=True)}


def _remove(path: Path) -> None:
    """Take away a database that could not be made, so that nothing half-made stays."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-journal"):
        with contextlib.suppress(OSError):
            path.with_name(name).unlink(missing_ok=True)
