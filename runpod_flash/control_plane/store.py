"""All SQL: endpoints and jobs in one SQLite file, written in groups.

The dispatcher decides in memory; this file is what a restarted control plane knows. One connection, used by the thread
of the event loop alone. What arrives within one turn of the loop is committed together:

    save_job(a) ─┐
    save_job(b) ─┼─ the loop has run all that was ready ─ BEGIN … COMMIT ─ all three awaitables resolve
    save_job(c) ─┘

(A timer instead would cost every lone job its window.) Acknowledged writes survive SIGKILL of any process.
"""

import asyncio
import contextlib
import errno
import json
import logging
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any, Final

from runpod_flash.control_plane.records import EndpointRecord, JobRecord, LogLine
from runpod_flash.errors import BackendError
from worker_runtime.wire.jobs import JobStatus

logger = logging.getLogger(__name__)

Statement = tuple[str, Sequence[Any]]

BUSY_TIMEOUT_S = 2.0
_COLLECTED_AT_ONCE = 1000
_FULL: Final = "cannot be written: the disk is full; free some space, or set FLASH_HOME to a folder on another disk"

_JOB_COLUMNS: Final = ("id", "endpoint", "status", "retries", "finished_at", "idempotency_key")
_JOB_FACTS: Final = tuple(
    field.name for field in fields(JobRecord) if field.name not in (*_JOB_COLUMNS, "input", "output")
)
_SELECT_JOB = (
    f"SELECT {', '.join(f'jobs.{name}' for name in _JOB_COLUMNS)}, facts, output, input "
    "FROM jobs JOIN job_inputs ON job_inputs.job = jobs.id "
)
_SAVE_JOB = (
    f"INSERT INTO jobs ({', '.join(_JOB_COLUMNS)}, expires_at, facts, output) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (id) DO UPDATE SET status = excluded.status, retries = excluded.retries, "
    "finished_at = excluded.finished_at, expires_at = excluded.expires_at, facts = excluded.facts, "
    "output = excluded.output WHERE jobs.finished_at IS NULL"  # an end is written once and never changes
)
_WANT_WEBHOOK = "INSERT OR IGNORE INTO webhooks (job, due_at) VALUES (?, ?)"
_LAST: Final = 2**63 - 1
_REOPEN: Final = ("DELETE FROM job_chunks WHERE job = ?", "DELETE FROM webhooks WHERE job = ?")
_REOPENED = (
    "UPDATE jobs SET status = ?, retries = 0, facts = ?, output = NULL, finished_at = NULL, expires_at = NULL "
    "WHERE id = ? AND finished_at IS NOT NULL"
)
_SAVE_LOGS = "INSERT INTO job_logs (job, lines) VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET lines = excluded.lines"
_SAVE_INPUT = "INSERT INTO job_inputs (job, input) VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET input = excluded.input"


class StoreError(BackendError):
    """The database or the blobs cannot be read or written. The message says which file, why and what to do."""


class StoreFull(StoreError):
    """The disk that holds the state is full. Works again as soon as there is space."""


class Store:
    """Endpoints and jobs on disk.

    Every write returns an awaitable that resolves after the commit and raises StoreError or StoreFull where nothing of
    its group was written. Nobody has to await it: a failure is logged too. Reads see all writes made before them.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use `Store.open`."""
        self._path = path
        self._connection = connection
        self._pending: list[tuple[Sequence[Statement], asyncio.Future[Any]]] = []
        self._with_input: set[str] = set()  # unfinished jobs whose input is on disk or in the pending group

    @classmethod
    def open(cls, path: Path, *, power_safe: bool = False) -> "Store":
        """Open the database, make it where there is none, bring an older one up to date.

        Commits survive the end of any process; with `power_safe` a loss of power too, which costs a disk flush each.

        The file belongs to this process until `close`: no other can open it.

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
            connection.execute(f"PRAGMA synchronous = {'FULL' if power_safe else 'NORMAL'}")
            _migrate(connection, path)
        except (sqlite3.Error, OSError, StoreError) as error:
            if connection is not None:
                connection.close()
            refused = _translated(error, path)
            if isinstance(refused, StoreFull) and not existed:
                _remove(path)
            raise refused from error
        return cls(path, connection)

    def close(self) -> None:
        """Write what is pending and close the file. Writes after this are refused."""
        self._flush()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # ---- endpoints

    def endpoints(self) -> list[EndpointRecord]:
        """All endpoints, the oldest first."""
        names = [field.name for field in fields(EndpointRecord)]
        rows = self.read(f"SELECT {', '.join(names)} FROM endpoints ORDER BY created_at, id")
        return [EndpointRecord(**{**dict(zip(names, row, strict=True)), "body": json.loads(row[3])}) for row in rows]

    def save_endpoint(self, record: EndpointRecord) -> Awaitable[None]:
        """Write an endpoint, new or changed."""
        texts = [record.id, record.project, record.name, json.dumps(dict(record.body)), record.config_hash]
        names = ", ".join(field.name for field in fields(EndpointRecord))
        sql = f"INSERT OR REPLACE INTO endpoints ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        return self.write((sql, [*map(_text, texts), record.generation, record.created_at, _text(record.owner)]))

    def delete_endpoint(self, endpoint_id: str) -> Awaitable[None]:
        """Forget an endpoint with its jobs and counters."""
        return self.write(
            ("DELETE FROM endpoints WHERE id = ?", [endpoint_id]),
            ("DELETE FROM jobs WHERE endpoint = ?", [endpoint_id]),
            ("DELETE FROM counters WHERE endpoint = ?", [endpoint_id]),
        )

    def counts(self, endpoint_id: str) -> dict[str, int]:
        """How a stored endpoint's jobs ended since it was made: `completed`, `failed` (or timed out), `retried`."""
        rows = self.read("SELECT completed, failed, retried FROM counters WHERE endpoint = ?", endpoint_id)
        return dict(zip(("completed", "failed", "retried"), rows[0] if rows else (0, 0, 0), strict=True))

    # ---- jobs

    def save_job(self, record: JobRecord) -> Awaitable[None]:
        """Write a job, new or changed. Its input and key are those of the first time."""
        finished_at = (record.finished_at or record.created_at) if record.status.final else None
        expires_at = None if finished_at is None else finished_at + record.keep_s
        output = None if record.output is None else json.dumps(record.output_json)
        key = None if record.idempotency_key is None else _text(record.idempotency_key)
        columns = [record.id, record.endpoint, str(record.status), record.retries, finished_at, key]
        statements: list[Statement] = [(_SAVE_JOB, [*columns, expires_at, _facts(record), output])]
        if record.id not in self._with_input:
            statements.append((_SAVE_INPUT, [record.id, json.dumps(dict(record.input_json))]))
        if record.status.final and record.webhook is not None:
            statements.append((_WANT_WEBHOOK, [record.id, finished_at]))
        if record.status.final:
            self._with_input.discard(record.id)
        else:
            self._with_input.add(record.id)
        return self.write(*statements)

    def reopen_job(self, record: JobRecord) -> Awaitable[None]:
        """Write a job that had ended and is queued once more: what it gave the first time is forgotten."""
        statements = [(sql, [record.id]) for sql in _REOPEN]
        return self.write(*statements, (_REOPENED, [str(record.status), _facts(record), record.id]))

    def save_logs(self, job_id: str, lines: Sequence[LogLine]) -> Awaitable[None]:
        """Write what a job has written so far, in place of what was kept before."""
        return self.write((_SAVE_LOGS, [job_id, json.dumps(list(lines))]))

    def logs(self, job_id: str) -> list[LogLine]:
        """What a job has written: its last lines, the oldest first."""
        rows = self.read("SELECT lines FROM job_logs WHERE job = ?", job_id)
        return json.loads(rows[0][0]) if rows else []

    def job(self, job_id: str) -> JobRecord | None:
        """The job, None where it is unknown or collected."""
        return next(self._jobs("WHERE jobs.id = ?", job_id), None)

    def job_by_key(self, endpoint_id: str, key: str) -> str | None:
        """The id of the endpoint's job that was submitted with this idempotency key."""
        sql = "SELECT id FROM jobs WHERE endpoint = ? AND idempotency_key = ? ORDER BY seq DESC LIMIT 1"
        rows = self.read(sql, endpoint_id, _text(key))
        return rows[0][0] if rows else None

    def endpoint_of(self, job_id: str) -> str | None:
        """The id of the job's endpoint, None where the job is unknown or collected."""
        rows = self.read("SELECT endpoint FROM jobs WHERE id = ?", job_id)
        return rows[0][0] if rows else None

    def jobs_by_keys(self, keys: Sequence[str], sees: Callable[[str], bool]) -> dict[str, JobRecord]:
        """The jobs that were submitted with these idempotency keys; the last one of each key.

        Only those of the endpoints, by their ids, for which `sees` is true.
        """
        marks = ", ".join("?" * len(keys))
        found = self._jobs(f"WHERE idempotency_key IN ({marks}) ORDER BY seq", *map(_text, keys))
        return {job.idempotency_key: job for job in found if job.idempotency_key is not None and sees(job.endpoint)}

    def unfinished_jobs(self) -> list[JobRecord]:
        """The jobs that are not final, in the order in which they came."""
        jobs = list(self._jobs("WHERE finished_at IS NULL ORDER BY seq"))
        self._with_input.update(job.id for job in jobs)
        return jobs

    def recent_jobs(self, endpoint_id: str, limit: int) -> list[JobRecord]:
        """The endpoint's last jobs, the newest first."""
        return list(self._jobs("WHERE endpoint = ? ORDER BY seq DESC LIMIT ?", endpoint_id, limit))

    def brief_jobs(self, endpoint_ids: Sequence[str], before: int | None, limit: int) -> list[tuple[int, JobRecord]]:
        """Jobs of these endpoints, of all where there are none, the newest first, without what they take and give.

        Each with its number; `before`: only those with smaller ones.
        """
        marks = ", ".join("?" * len(endpoint_ids))
        only = f"AND endpoint IN ({marks}) " if endpoint_ids else ""
        names = ", ".join(_JOB_COLUMNS)
        sql = f"SELECT seq, facts, {names} FROM jobs WHERE seq < ? {only}ORDER BY seq DESC LIMIT ?"
        rows = self.read(sql, _LAST if before is None else before, *endpoint_ids, limit)
        return [(seq, _record(facts, columns, {})) for seq, facts, *columns in rows]

    def jobs_with_logs(self, endpoint_id: str, limit: int) -> list[str]:
        """The ids of the endpoint's last jobs that have written, the newest first."""
        joined = "jobs JOIN job_logs ON job_logs.job = jobs.id"
        rows = self.read(f"SELECT id FROM {joined} WHERE endpoint = ? ORDER BY seq DESC LIMIT ?", endpoint_id, limit)
        return [row[0] for row in rows]

    async def collect(self, now: float) -> int:
        """Delete the finished jobs whose time to be kept is over; returns how many. Raises StoreError."""
        waiting = "SELECT 1 FROM webhooks WHERE webhooks.job = jobs.id AND due_at IS NOT NULL"
        expired = f"SELECT seq FROM jobs WHERE expires_at < ? AND NOT EXISTS ({waiting}) LIMIT ?"
        sql = f"DELETE FROM jobs WHERE seq IN ({expired})"
        removed: int = await self.write((sql, [now, _COLLECTED_AT_ONCE]))
        total = removed
        while removed == _COLLECTED_AT_ONCE:  # in parts, between which others have their turn
            removed = await self.write((sql, [now, _COLLECTED_AT_ONCE]))
            total += removed
        return total

    def size(self) -> int:
        """Bytes on disk, what is not yet moved from the log into the database included."""
        sizes = 0
        for path in (self._path, self._path.with_name(f"{self._path.name}-wal")):
            with contextlib.suppress(FileNotFoundError):
                sizes += path.stat().st_size
        return sizes

    # ---- in and out

    def _jobs(self, condition: str, *values: Any) -> Iterator[JobRecord]:
        for *columns, facts, output, job_input in self.read(_SELECT_JOB + condition, *values):
            given = None if output is None else json.loads(output)
            yield _record(facts, columns, json.loads(job_input), given)

    def read(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a query; sees all writes made before it. For the tables that have a module of their own, too."""
        self._flush()
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _translated(error, self._path) from error

    def write(self, *statements: Statement) -> "asyncio.Future[Any]":
        """Write in the next group; resolves after its commit with the number of rows of the last statement."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        future.add_done_callback(_retrieve)  # so that asyncio does not complain of a failure that nobody awaits
        self._pending.append((statements, future))
        if len(self._pending) == 1:
            loop.call_soon(loop.call_soon, self._flush)  # after all that is ready now has run
        return future

    def _flush(self) -> None:
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        results: list[int] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for statements, _ in batch:
                results.append([self._connection.execute(sql, values).rowcount for sql, values in statements][-1])
            self._connection.execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self._roll_back()
            self._with_input.clear()
            refused = _translated(error, self._path)
            logger.error("%d writes were refused: %s", len(batch), refused)
            for _, future in batch:
                if not future.done():
                    future.set_exception(refused)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():  # the one who waited may have been cancelled
                future.set_result(result)

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:  # SQLite rolls back some failures by itself
                self._connection.execute("ROLLBACK")


def disk_error(error: OSError, what: str) -> StoreError:
    """An OSError at a file of ours, as StoreFull or StoreError. `what` begins the message."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"{what} {_FULL}")
    reason = error.strerror or str(error)
    return StoreError(f"{what} cannot be used: {reason}; make it writable, or set FLASH_HOME to another folder")


def _record(facts: str, columns: Sequence[Any], job_input: Mapping[str, Any], output: Any = None) -> JobRecord:
    known = {name: value for name, value in json.loads(facts).items() if name in _JOB_FACTS}
    known.update(zip(_JOB_COLUMNS, columns, strict=True))
    return JobRecord(**{**known, "status": JobStatus(known["status"]), "input": job_input, "output": output})


def _facts(record: JobRecord) -> str:
    return json.dumps({name: getattr(record, name) for name in _JOB_FACTS})


def _retrieve(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _text(text: str) -> str:
    """Without lone surrogates, which SQLite cannot store: one such text would refuse its whole group."""
    return text.encode("utf-8", "replace").decode()


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
    text = resources.files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    _, *parts = re.split(r"^-- version (\d+)$", text, flags=re.MULTILINE)
    return {int(version): script for version, script in zip(parts[::2], parts[1::2], strict=True)}


def _remove(path: Path) -> None:
    """Take away a database that could not be made, so that nothing half-made stays."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-journal"):
        with contextlib.suppress(OSError):
            path.with_name(name).unlink(missing_ok=True)


def _translated(error: Exception, path: Path) -> StoreError:
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
