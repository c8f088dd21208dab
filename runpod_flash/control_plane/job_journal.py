"""What happens to jobs: kept in memory, appended to the journal, and brought to the table `jobs` later.

    save ── memory ── one row for all jobs that have changed ──▶ journal   in the commit of the loop's turn
               └── jobs that have ended, some at a time ──────▶ jobs      when nothing else is done, or too many wait

A row of the journal is gone when all jobs with earlier ones are in the table. What is in memory goes before the table.
"""

import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runpod_flash.control_plane.counters import Counters
from runpod_flash.control_plane.job_records import Change, pack
from runpod_flash.control_plane.job_replay import replay
from runpod_flash.control_plane.job_rows import FIXED, STATE, Row, fixed_row, record_of, state_row, weight
from runpod_flash.control_plane.records import JobRecord

FOLD_ABOVE: Final = 16_384
"""Jobs that have ended and are not in the table: with more of them, each commit brings some there."""

FOLD_ABOVE_BYTES: Final = 32 * 1024**2
"""The same for the bytes of what they took and gave."""

SHORTEN_ABOVE: Final = 200_000
"""Changes in the journal above which jobs go to the table that have not ended, so that it can be cut behind them."""

_LAST_KEY: Final = "SELECT max(idempotency_key) FROM jobs WHERE idempotency_key IS NOT NULL"
_APPEND: Final = "INSERT INTO journal (seq, jobs) VALUES (?, ?)"
_CLIENT: Final = FIXED.index("client")
_KEY: Final = FIXED.index("idempotency_key")
_ENDED: Final = STATE.index("finished_at")
_TABLE: Final = ("seq", *STATE, *FIXED, "expires_at")
_CHANGING: Final = (*STATE, "client", "facts", "created_at", "expires_at")
_TO_TABLE: Final = (
    f"INSERT INTO jobs ({', '.join(_TABLE)}) VALUES ({', '.join('?' * len(_TABLE))}) ON CONFLICT (id) DO UPDATE SET "
    f"output = NULL, {', '.join(f'{name} = excluded.{name}' for name in _CHANGING)} "
    "WHERE jobs.finished_at IS NULL"  # an end is written once and never changes
)


class Entry:
    """A job in memory. `number` is its place in the order of arrival."""

    __slots__ = ("_state", "counted", "fixed", "number", "record", "written")

    def __init__(self, record: JobRecord, number: int) -> None:
        self.record = record
        self.number = number
        self.fixed = fixed_row(record)
        self._state: Row | None = None
        self.counted: JobRecord | None = None  # as the table has it; None: it is not there
        self.written = False  # its first row, here or in the table, is on disk

    def become(self, record: JobRecord) -> None:
        """The job is now so."""
        self._state = state_row(record, self.fixed[_CLIENT])
        self.record = record

    @property
    def state(self) -> Row:
        """Its row of what changes. Of one that has just come it is made when it is needed: most begin at once."""
        if self._state is None:
            self._state = state_row(self.record, self.fixed[_CLIENT])
        return self._state

    @property
    def weight(self) -> int:
        """How many bytes it takes and gives."""
        return weight(self.fixed, self.state)


@dataclass(slots=True)
class Folded:
    """What one transaction brings to the table. `kept`: the first row that the journal keeps."""

    ended: list[Entry]
    waiting: list[Entry] = field(default_factory=list)
    kept: int = 0

    @property
    def entries(self) -> list[Entry]:
        """All of them."""
        return [*self.ended, *self.waiting]


class JobJournal:
    """The jobs that are not in the table as they are now: all unfinished ones, and those that ended a moment ago.

    Every method that takes a connection runs inside its transaction. What a commit wrote is told by `committed`.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, tuple[Entry, ...]] = {}
        self._changed: dict[Entry, JobRecord | None] = {}  # since the last commit, with what they were before
        self._ended: deque[Entry] = deque()  # and not in the table yet, in that order
        self._ended_bytes = 0
        self._forgotten: list[int] = []  # numbers of jobs that are taken from the disk with the next commit
        self._first_rows: dict[Entry, int] = {}  # of the entries that are in the journal, in the rows' order
        self._row, self._next_row = 1, 1  # the first that the journal has, and the one that comes next
        self._next_number = 1
        self._last_key = ""  # none in the table comes after it

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what an earlier run has left. Not in a transaction."""
        self._counters.load(connection)
        replayed = replay(connection)
        for each in replayed.found:
            entry = self._enter(Entry(record_of(each.values), each.number))
            entry.written = True
            if each.row is None:
                entry.counted = entry.record
                continue
            entry.counted = each.in_table
            self._counters.count(entry.counted, entry.record)
            if entry.record.status.final:
                self._end(entry)
        in_journal = sorted((each for each in replayed.found if each.row is not None), key=lambda each: each.row or 0)
        self._first_rows = {self._entries[each.values["id"]]: each.row or 0 for each in in_journal}
        self._row, self._next_row = replayed.first, replayed.after
        (last,) = connection.execute("SELECT max(seq) FROM jobs").fetchone()
        self._next_number = max(last or 0, replayed.last_number) + 1
        self._last_key = connection.execute(_LAST_KEY).fetchone()[0] or ""
        if replayed.old:
            self._settle(connection)

    def _settle(self, connection: sqlite3.Connection) -> None:
        """Bring all to the table that a journal of an earlier release says."""
        waiting = [entry for entry in self._first_rows if not entry.record.status.final]
        folded = Folded(list(self._ended), waiting, self._next_row)
        connection.execute("BEGIN IMMEDIATE")
        self._bring(connection, folded)
        connection.execute("DELETE FROM old_journal")
        connection.execute("COMMIT")
        self.folded(folded)

    # ---- memory

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def changes(self) -> int:
        """How many changes the next commit writes."""
        return len(self._changed) + len(self._forgotten)

    @property
    def ended(self) -> int:
        """How many jobs have ended and are not in the table."""
        return len(self._ended)

    def entry(self, job_id: str) -> Entry | None:
        """The job, if it is in memory."""
        return self._entries.get(job_id)

    def entries(self) -> Iterator[Entry]:
        """All that are in memory."""
        yield from self._entries.values()

    def of(self, endpoint: str) -> list[Entry]:
        """Those of an endpoint that are in memory."""
        return [entry for entry in self._entries.values() if entry.record.endpoint == endpoint]

    def forget_numbers(self, numbers: Sequence[int]) -> None:
        """With the next commit the jobs of these numbers are gone from the table: what was said of them is over."""
        if self._next_row > self._row:
            self._forgotten += numbers

    def forget(self, endpoint: str) -> None:
        """The jobs of an endpoint are gone from the disk, of which none has ended since `fold`."""
        for entry in self.of(endpoint):
            self._first_rows.pop(entry, None)
            self._leave(entry)

    def enter_again(self, entry: Entry) -> None:
        """A job of the table is unfinished once more, and stands there as it is."""
        entry.written, entry.counted = True, entry.record
        self._enter(entry)

    def with_key(self, key: str) -> tuple[Entry, ...]:
        """The jobs in memory that were submitted with this key, each at an endpoint of its own, in their order."""
        return self._keys.get(key, ())

    def may_be_in_table(self, key: str) -> bool:
        """Whether the table may have a job of this key. Keys of our SDK grow with time: none of a new one is there."""
        return key <= self._last_key

    def save(self, record: JobRecord, entry: Entry | None) -> bool:
        """Let the next commit write a job as it is now. False: its end is written, or will be, and stays.

        `entry`: the job, if it is in memory.
        """
        if entry is None:
            entry = self._enter(Entry(record, self._next_number))
            self._next_number += 1
            self._changed[entry] = None
            return True
        if entry.record.status.final:
            return False
        before = entry.record
        entry.become(record)
        self._changed.setdefault(entry, before)
        return True

    def refused(self) -> None:
        """Nothing of the commit was written: all is as before."""
        for entry, before in self._changed.items():
            if before is None:
                self._leave(entry)
            else:
                entry.become(before)
        self._changed.clear()
        self._forgotten.clear()

    def _enter(self, entry: Entry) -> Entry:
        record = entry.record
        self._entries[record.id] = entry
        if record.idempotency_key is not None:
            self._keys[record.idempotency_key] = (*self.with_key(record.idempotency_key), entry)
        return entry

    def _leave(self, entry: Entry) -> None:
        record = entry.record
        del self._entries[record.id]
        if record.idempotency_key is not None:
            others = tuple(each for each in self.with_key(record.idempotency_key) if each is not entry)
            if others:
                self._keys[record.idempotency_key] = others
            else:
                del self._keys[record.idempotency_key]

    def _end(self, entry: Entry) -> None:
        self._ended.append(entry)
        self._ended_bytes += entry.weight

    # ---- to the journal

    def append(self, connection: sqlite3.Connection) -> None:
        """Write what has changed: one statement."""
        changes: list[Change] = [(number,) for number in self._forgotten]
        changes += [
            (entry.number, *entry.state) if entry.written else (entry.number, *entry.state, *entry.fixed)
            for entry in self._changed
        ]
        connection.execute(_APPEND, (self._next_row, pack(changes)))

    def committed(self) -> None:
        """What `append` wrote is on disk."""
        row = self._next_row
        self._next_row += self.changes
        for entry, before in self._changed.items():
            entry.written = True
            self._first_rows.setdefault(entry, row)
            record = entry.record
            if record.status.final or record.retries:
                self._counters.count(before, record)
            if record.status.final:
                self._end(entry)
        self._changed.clear()
        self._forgotten.clear()

    # ---- to the table

    @property
    def _length(self) -> int:
        """How many changes the journal has."""
        return self._next_row - self._row

    @property
    def is_full(self) -> bool:
        """Whether so much has ended that it has to go to the table now."""
        return len(self._ended) > FOLD_ABOVE or self._ended_bytes > FOLD_ABOVE_BYTES or self._length > SHORTEN_ABOVE

    def fold(self, connection: sqlite3.Connection, most: int) -> "Folded":
        """Write up to so many of the jobs that have ended to the table, and cut the journal behind them."""
        folded = Folded([self._ended[place] for place in range(min(most, len(self._ended)))])
        if not folded.ended or self._length > SHORTEN_ABOVE:
            folded.waiting = self._oldest(most, set(folded.ended))
        gone = set(folded.entries)
        folded.kept = next((row for entry, row in self._first_rows.items() if entry not in gone), self._next_row)
        self._bring(connection, folded)
        behind = "" if folded.kept == self._next_row else f" WHERE seq < {folded.kept}"  # to empty it costs nothing
        connection.execute(f"DELETE FROM journal{behind}")
        return folded

    def _bring(self, connection: sqlite3.Connection, folded: "Folded") -> None:
        to_table(connection, folded.entries)
        keys = (entry.fixed[_KEY] for entry in folded.entries)
        self._last_key = max(self._last_key, max(filter(None, keys), default=""))
        self._counters.save(connection, [(entry.counted, entry.record) for entry in folded.entries])

    def folded(self, what: "Folded") -> None:
        """What `fold` wrote is on disk."""
        for entry in what.ended:
            self._ended.popleft()
            self._ended_bytes -= entry.weight
            self._first_rows.pop(entry, None)
            self._leave(entry)
        for entry in what.waiting:
            self._first_rows.pop(entry, None)
            entry.counted = entry.record
        self._row = what.kept

    def _oldest(self, most: int, but: set[Entry]) -> list[Entry]:
        """Unfinished jobs whose rows stand in front, where the journal is too long."""
        if self._length <= SHORTEN_ABOVE:
            return []
        before = self._next_row - SHORTEN_ABOVE // 2
        found = (
            entry
            for entry, row in self._first_rows.items()
            if row < before and not entry.record.status.final and entry not in self._changed and entry not in but
        )
        return [entry for entry, _ in zip(found, range(most), strict=False)]


def to_table(connection: sqlite3.Connection, entries: list[Entry]) -> None:
    """Write jobs to the table as they are."""
    rows = list[tuple[Any, ...]]()
    for entry in sorted(entries, key=lambda entry: entry.number):  # the order of the table
        ended = entry.state[_ENDED]
        expires = None if ended is None else ended + entry.record.keep_s
        rows.append((entry.number, *entry.state, *entry.fixed, expires))
    connection.executemany(_TO_TABLE, rows)
