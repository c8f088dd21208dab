"""After an upgrade: endpoints with a command or an image come along from the version before.

Nobody need declare them anew, as programs do that ship code.
"""

import contextlib
import fcntl
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord, is_ours
from runpod_flash.state_folder import StateFolder

logger = logging.getLogger(__name__)

Check = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Gives the body of an endpoint as this version has it; raises Problem where it cannot be one."""


def endpoints_to_take_over(state: StateFolder, check: Check) -> list[EndpointRecord]:
    """The endpoints with a command or an image that the version used last has left; none while it still runs.

    That database is only read. One that cannot be read is said in the log, and gives none.
    """
    folder = _newest(state)
    if folder is None:
        return []
    if _runs(folder / state.plane_lock.name):
        logger.info("the control plane of %s still runs, so its endpoints stay there", folder)
        return []
    database = folder / state.database.name
    try:
        return list(_checked(_rows(database), check))
    except (sqlite3.Error, ValueError, TypeError, OSError) as error:
        logger.warning("the endpoints in %s cannot be taken over: %s", database, error)
        return []


def _newest(state: StateFolder) -> Path | None:
    """The folder of the other version whose database was written last."""
    written = dict[Path, float]()
    for path in state.plane.parent.glob(f"*/{state.database.name}*"):  # what was written last may be beside it
        if path.parent != state.plane:
            with contextlib.suppress(OSError):
                written[path.parent] = max(written.get(path.parent, 0.0), path.stat().st_mtime)
    return max(written, key=lambda folder: written[folder], default=None)


def _runs(lock: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), open(lock, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _rows(database: Path) -> list[dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM endpoints ORDER BY created_at, id")]


def _checked(rows: list[dict[str, Any]], check: Check) -> Iterator[EndpointRecord]:
    known = {field.name for field in fields(EndpointRecord)}
    for row in rows:
        body = json.loads(row["body"])
        if not body.get("command") and is_ours(str(body.get("image") or "")):
            continue
        try:
            kept = {name: value for name, value in row.items() if name in known}
            yield EndpointRecord(**{**kept, "body": check(body)})
        except Problem as error:
            logger.warning("endpoint %s of the version before is not taken over: %s", row["name"], error)
