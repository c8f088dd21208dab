"""Endpoints and jobs on disk: one SQLite file, written in groups. Tables of others go through it, too.

The dispatcher decides in memory; this file is what a restarted control plane knows. One connection, used by the thread
of the event loop alone. What arrives within one turn of the loop is committed together (`groups`). Jobs go to a journal
first and to their table later (`job_journal`). Acknowledged writes survive SIGKILL of any process.
"""

import asyncio
import contextlib
import heapq
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

from runpod_flash.control_plane import database
from runpod_flash.control_plane.counters import Counters
from runpod_flash.control_plane.database import StoreError as StoreError
from runpod_flash.control_plane.database import StoreFull as StoreFull
from runpod_flash.control_plane.database import disk_error as disk_error
from runpod_flash.control_plane.database import text
from runpod_flash.control_plane.groups import Group, Saved, Statement, Written
from runpod_flash.control_plane.job_journal import Entry, JobJournal, to_table
from runpod_flash.control_plane.job_replay import COLUMNS, SELECT
from runpod_flash.control_plane.job_rows import BRIEF, named, record_of
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, LogLine
from runpod_flash.control_plane.turn import Step, Turn

logger = logging.getLogger(__name__)

T = TypeVar("T")

_COLLECTED_AT_ONCE = 1000
_FOLDED_AT_ONCE: Final = 128
_QUIET_S: Final = 0.2
"""So long after the last commit jobs that have ended begin to go to their table."""

_REFUSED_PAUSE_S: Final = 5.0

_WANT_WEBHOOK = "INSERT OR IGNORE INTO webhooks (job, due_at) VALUES (?, ?)"
_LAST: Final = 2**63 - 1
_REOPEN: Final = (
    "DELETE FROM job_chunks WHERE job = ?",
    "DELETE FROM webhooks WHERE job = ?",
    "UPDATE jobs SET finished_at = NULL WHERE id = ?",
)
_SAVE_LOGS = "INSERT INTO job_logs (job, lines) VALUES (?, ?) ON CONFLICT (job) DO UPDATE SET lines = excluded.lines"
_WAITING: Final = "SELECT 1 FROM webhooks WHERE webhooks.job = jobs.id AND due_at IS NOT NULL"
_EXPIRED: Final = f"SELECT seq FROM jobs WHERE expires_at < ? AND NOT EXISTS ({_WAITING}) LIMIT ?"


class Store:
    """Endpoints and jobs on disk.

    Every write returns an awaitable that resolves after the commit and raises StoreError or StoreFull where nothing of
    its group was written. Nobody has to await it: a failure is logged too. Reads see all writes made before them.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, turn: Turn) -> None:
        """Use `Store.open`."""
        self._path = path
        self._turn = turn
        self._connection = connection
        self._counters = Counters()
        self._journal = JobJournal(self._counters)
        self._group = Group()
        self._due = False  # a commit will come
        self._folding: asyncio.Handle | None = None
        self._commits = 0
        self._seen = 0  # commits when the last look was that nothing is done

    @classmethod
    def open(cls, path: Path, *, power_safe: bool = False, turn: Turn | None = None) -> "Store":
        """Open the database, make it where there is none, bring an older one up to date.

        It commits at the end of `turn`, by default of one of its own.

        Commits survive the end of any process; with `power_safe` a loss of power too, which costs a disk flush each.

        The file belongs to this process until `close`: no other can open it.

        Raises:
            StoreError: it is damaged, of a newer version, held by another process, or its folder cannot be written.
            StoreFull: the disk is full.
        """
        store = cls(path, database.connect(path, power_safe=power_safe), turn or Turn())
        try:
            store._journal.load(store._connection)
        except sqlite3.Error as error:
            store._connection.close()
            raise database.translated(error, path) from error
        return store

    def close(self) -> None:
        """Write what is pending and close the file. Writes after this are refused."""
        with contextlib.suppress(StoreError):  # what is not in its table is in the journal
            self.fold()
        if self._folding is not None:
            self._folding.cancel()
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
        self._counters.add(record.id)
        texts = [record.id, record.project, record.name, json.dumps(dict(record.body)), record.config_hash]
        names = ", ".join(field.name for field in fields(EndpointRecord))
        sql = f"INSERT OR REPLACE INTO endpoints ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        return self.write((sql, [*map(text, texts), record.generation, record.created_at, text(record.owner)]))

    def delete_endpoint(self, endpoint_id: str) -> Awaitable[None]:
        """Forget an endpoint with its jobs and counters. Written at once."""
        self.fold()
        numbers = [entry.number for entry in self._journal.of(endpoint_id)]
        numbers += [number for (number,) in self.read("SELECT seq FROM jobs WHERE endpoint = ?", endpoint_id)]

        def delete(connection: sqlite3.Connection) -> None:
            for table, column in (("endpoints", "id"), ("jobs", "endpoint"), ("counters", "endpoint")):
                connection.execute(f"DELETE FROM {table} WHERE {column} = ?", [endpoint_id])

        written = self._at_once(delete, forgotten=numbers)
        if written.error is None:
            self._counters.drop(endpoint_id)
            self._journal.forget(endpoint_id)
        return written

    def counts(self, endpoint_id: str) -> dict[str, int]:
        """How a stored endpoint's jobs ended since it was made: `completed`, `failed` (or timed out), `retried`."""
        return dict(zip(("completed", "failed", "retried"), self._counters.of(endpoint_id), strict=True))

    # ---- jobs

    def save_job(self, record: JobRecord, *, is_first: bool = False) -> Saved:
        """Write a job, new or changed. Its input and key are those of the first time; a written end stays as it is.

        `is_first`: there is no other of its id.

        Several of one turn of the loop are one row, with the last of them.
        """
        entry, final = self._journal.entry(record.id), record.status.final
        if entry is None and not is_first and (final or record.attempts) and self._has_ended(record.id):
            return Written.at_once()
        if self._journal.save(record, entry) and final and record.webhook is not None:
            self._group.add([(_WANT_WEBHOOK, [record.id, record.finished_at or record.created_at])])
        if not self._due:
            self._schedule()
        return self._group.written

    def reopen_job(self, record: JobRecord) -> Awaitable[None]:
        """Write, at once, a job that had ended and is queued once more. What it gave the first time is forgotten."""
        self.fold()
        number = self.read("SELECT seq FROM jobs WHERE id = ? AND finished_at IS NOT NULL", record.id)
        if not number:
            return Written.at_once()
        entry = Entry(record, number[0][0])

        def reopen(connection: sqlite3.Connection) -> None:
            for sql in _REOPEN:
                connection.execute(sql, [record.id])
            to_table(connection, [entry])

        written = self._at_once(reopen, forgotten=[entry.number])
        if written.error is None:
            self._journal.enter_again(entry)
        return written

    def save_logs(self, job_id: str, lines: Sequence[LogLine]) -> Awaitable[None]:
        """Write what a job has written so far, in place of what was kept before."""
        return self.write((_SAVE_LOGS, [job_id, json.dumps(list(lines))]))

    def logs(self, job_id: str) -> list[LogLine]:
        """What a job has written: its last lines, the oldest first."""
        rows = self.read("SELECT lines FROM job_logs WHERE job = ?", job_id)
        return json.loads(rows[0][0]) if rows else []

    def job(self, job_id: str) -> JobRecord | None:
        """The job, None where it is unknown or collected."""
        recent = self.recent(job_id)
        if recent is not None:
            return recent
        return next((record for _, record in self._jobs("WHERE jobs.id = ?", job_id)), None)

    def recent(self, job_id: str) -> JobRecord | None:
        """The job, if its table does not have it as it is."""
        entry = self._journal.entry(job_id)
        return None if entry is None else entry.record

    def is_written(self, job_id: str) -> bool:
        """Whether a job that is known here is on disk, and not only about to be."""
        entry = self._journal.entry(job_id)
        return entry is None or entry.written

    @property
    def next_commit(self) -> Saved:
        """The commit that writes what is asked for now."""
        return self._group.written

    def job_by_key(self, endpoint_id: str, key: str) -> str | None:
        """The id of the endpoint's job that was submitted with this idempotency key."""
        for entry in reversed(self._journal.with_key(key)):
            if entry.record.endpoint == endpoint_id:
                return entry.record.id
        stored = text(key)
        if not self._journal.may_be_in_table(stored):
            return None
        sql = "SELECT id FROM jobs WHERE endpoint = ? AND idempotency_key = ? ORDER BY seq DESC LIMIT 1"
        rows = self.read(sql, endpoint_id, stored)
        return rows[0][0] if rows else None

    def endpoint_of(self, job_id: str) -> str | None:
        """The id of the job's endpoint, None where the job is unknown or collected."""
        recent = self.recent(job_id)
        if recent is not None:
            return recent.endpoint
        rows = self.read("SELECT endpoint FROM jobs WHERE id = ?", job_id)
        return rows[0][0] if rows else None

    def jobs_by_keys(self, keys: Sequence[str], sees: Callable[[str], bool]) -> dict[str, JobRecord]:
        """The jobs that were submitted with these idempotency keys; the last one of each key.

        Only those of the endpoints, by their ids, for which `sees` is true.
        """
        marks = ", ".join("?" * len(keys))
        stored = self._jobs(f"WHERE idempotency_key IN ({marks}) ORDER BY jobs.seq", *map(text, keys))
        recent = (entry for key in keys for entry in self._journal.with_key(key))
        found = sorted(self._merged(stored, recent), key=_number)
        return {job.idempotency_key: job for _, job in found if job.idempotency_key is not None and sees(job.endpoint)}

    def unfinished_jobs(self) -> list[JobRecord]:
        """The jobs that are not final, in the order in which they came."""
        entries = [entry for entry in self._journal.entries() if not entry.record.status.final]
        return [entry.record for entry in sorted(entries, key=lambda entry: entry.number)]

    def recent_jobs(self, endpoint_id: str, limit: int) -> list[JobRecord]:
        """The endpoint's last jobs, the newest first."""
        stored = self._jobs("WHERE endpoint = ? ORDER BY jobs.seq DESC LIMIT ?", endpoint_id, limit)
        return [job for _, job in _newest(self._merged(stored, self._journal.of(endpoint_id)), limit)]

    def brief_jobs(self, endpoint_ids: Sequence[str], before: int | None, limit: int) -> list[tuple[int, JobRecord]]:
        """Jobs of these endpoints, of all where there are none, the newest first, without what they take and give.

        Each with its number; `before`: only those with smaller ones.
        """
        marks, last = ", ".join("?" * len(endpoint_ids)), _LAST if before is None else before
        only = f"AND endpoint IN ({marks}) " if endpoint_ids else ""
        sql = f"SELECT seq, {', '.join(BRIEF)} FROM jobs WHERE seq < ? {only}ORDER BY seq DESC LIMIT ?"
        stored = [(number, record_of(named(BRIEF, row))) for number, *row in self.read(sql, last, *endpoint_ids, limit)]
        entries = (
            entry
            for entry in self._journal.entries()
            if entry.number < last and (not endpoint_ids or entry.record.endpoint in endpoint_ids)
        )
        found = _newest(self._merged(stored, entries), limit)
        return [(number, job.changed(input={}, output=None)) for number, job in found]

    def jobs_with_logs(self, endpoint_id: str, limit: int) -> list[str]:
        """The ids of the endpoint's last jobs that have ended and have written, the newest first."""
        self.fold()
        joined = "jobs JOIN job_logs ON job_logs.job = jobs.id"
        rows = self.read(f"SELECT id FROM {joined} WHERE endpoint = ? ORDER BY seq DESC LIMIT ?", endpoint_id, limit)
        return [row[0] for row in rows]

    async def collect(self, now: float) -> int:
        """Delete the finished jobs whose time to be kept is over; returns how many. Raises StoreError."""
        for _ in range(0, self._journal.ended, _FOLDED_AT_ONCE):
            self._fold(_FOLDED_AT_ONCE)
            await asyncio.sleep(0)
        total, removed = 0, _COLLECTED_AT_ONCE
        while removed == _COLLECTED_AT_ONCE:  # in parts, between which others have their turn
            numbers = [number for (number,) in self.read(_EXPIRED, now, _COLLECTED_AT_ONCE)]
            if not numbers:
                break
            self._journal.forget_numbers(numbers)
            marks = ", ".join("?" * len(numbers))
            removed = await self.write((f"DELETE FROM jobs WHERE seq IN ({marks})", numbers))
            total += removed
        return total

    def size(self) -> int:
        """Bytes on disk, what is not yet moved from the log into the database included."""
        return database.size(self._path)

    # ---- in and out

    def _jobs(self, condition: str, *values: Any) -> list[tuple[int, JobRecord]]:
        return [(number, record_of(named(COLUMNS[1:], row))) for number, *row in self.read(SELECT + condition, *values)]

    @staticmethod
    def _merged(stored: Iterable[tuple[int, T]], entries: Iterable[Entry]) -> list[tuple[int, Any]]:
        """Rows of the table, but for jobs that are in memory as they have become."""
        recent = {entry.number: entry.record for entry in entries}
        return [*recent.items(), *((number, job) for number, job in stored if number not in recent)]

    def _has_ended(self, job_id: str) -> bool:
        return bool(self.read("SELECT 1 FROM jobs WHERE id = ? AND finished_at IS NOT NULL", job_id))

    def read(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a query; sees all statements written before it. Other modules ask for their tables so, too.

        What has happened to jobs a moment ago is not in `jobs` and `counters`: see `fold`.
        """
        if self._group.statements:
            self._flush()
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise database.translated(error, self._path) from error

    def write(self, *statements: Statement) -> "asyncio.Future[Any]":
        """Write in the next group; resolves after its commit with the number of rows of the last statement."""
        future = self._group.add(statements)
        if not self._due:
            self._schedule()
        return future

    def _schedule(self) -> None:
        """Let a commit come."""
        self._due = True
        self._turn.at_end(Step.COMMIT, self._flush)
        if self._folding is None:
            self._folding = self._turn.loop.call_later(_QUIET_S, self._look)

    def _flush(self) -> None:
        self._due = False
        group, self._group = self._group, Group()
        if not (group.statements or self._journal.changes):
            group.committed(())
            return
        self._commits += 1
        try:
            counts = self._commit(group)
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self._journal.refused()
            group.refused(self._roll_back(error, len(group.statements)))
            return
        self._journal.committed()
        group.committed(counts)
        if self._journal.is_full:
            self._fold(_FOLDED_AT_ONCE)

    def _commit(self, group: Group) -> Sequence[int]:
        """Write a group and what has changed; the rows of each of its statements."""
        if not group.statements:
            self._journal.append(self._connection)  # a statement by itself is a transaction
            return ()
        self._connection.execute("BEGIN IMMEDIATE")
        counts = [[self._connection.execute(*each).rowcount for each in few][-1] for few, _ in group.statements]
        if self._journal.changes:
            self._journal.append(self._connection)
        self._connection.execute("COMMIT")
        return counts

    def _at_once(self, work: Callable[[sqlite3.Connection], None], *, forgotten: Sequence[int]) -> Written:
        """Do something rare in a transaction of its own, after all that was asked for before.

        `forgotten`: the numbers of the jobs of which the journal has something to say no more.
        """
        self._flush()
        self._journal.forget_numbers(forgotten)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._journal.changes:
                self._journal.append(self._connection)
            work(self._connection)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError) as error:
            self._journal.refused()
            return Written.at_once(self._roll_back(error, 1))
        self._journal.committed()
        return Written.at_once()

    def _roll_back(self, error: Exception, writes: int) -> StoreError:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:  # SQLite rolls back some failures by itself
                self._connection.execute("ROLLBACK")
        refused = database.translated(error, self._path)
        logger.error("%d writes were refused: %s", writes, refused)
        return refused

    # ---- from the journal to the table

    def fold(self) -> None:
        """Bring all jobs that have ended to their table, where a query of others looks for them. Raises StoreError."""
        self._flush()
        while self._journal.ended:
            if not self._fold(_COLLECTED_AT_ONCE):
                raise StoreError(f"database {self._path} cannot be written; the log of the control plane says why")

    def _fold(self, most: int) -> bool:
        """Bring some there; whether that could be written."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            folded = self._journal.fold(self._connection, most)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back(error, most)
            return False
        self._journal.folded(folded)
        return True

    def _look(self) -> None:
        """Bring some there if nothing has been written for a while; come back as long as there are more."""
        self._folding, pause = None, 0.0
        if self._commits != self._seen:
            self._seen, pause = self._commits, _QUIET_S
        elif self._journal.ended and not self._fold(_FOLDED_AT_ONCE):
            pause = _REFUSED_PAUSE_S
        if self._journal.ended:
            self._folding = asyncio.get_running_loop().call_later(pause, self._look)


def _number(found: tuple[int, Any]) -> int:
    return found[0]


def _newest(found: list[tuple[int, JobRecord]], limit: int) -> list[tuple[int, JobRecord]]:
    return heapq.nlargest(limit, found, key=_number)
