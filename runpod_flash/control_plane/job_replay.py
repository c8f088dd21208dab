"""What the journal of an earlier run says: the jobs as they were when it ended, however that was."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runpod_flash.control_plane.job_records import Change, unpack
from runpod_flash.control_plane.job_rows import FIXED, STATE, named, record_of
from runpod_flash.control_plane.records import JobRecord

COLUMNS: Final = ("seq", *STATE, *FIXED)
"""The columns of `SELECT`."""

SELECT: Final = (
    "SELECT jobs.seq, "
    + ", ".join(f"jobs.{name}" for name in STATE if name != "result")
    + ", COALESCE(jobs.result, jobs.output), "
    + ", ".join(f"jobs.{name}" for name in FIXED if name not in ("input", "arguments"))
    + ", COALESCE(jobs.input, job_inputs.input), jobs.arguments "
    "FROM jobs LEFT JOIN job_inputs ON job_inputs.job = jobs.id "
)
"""Jobs of the table, those of earlier releases too; a condition follows."""

_RECORDS: Final = "SELECT seq, jobs FROM journal ORDER BY seq"
_OLD_ROWS: Final = f"SELECT job, {', '.join((*STATE, *FIXED))} FROM old_journal ORDER BY seq"
_ASKED_AT_ONCE: Final = 500


@dataclass(slots=True)
class Found:
    """A job that is not in the table as it was: `in_table` is how that has it, `row` its first in the journal."""

    number: int
    values: dict[str, Any]
    in_table: JobRecord | None = None
    row: int | None = None


@dataclass(slots=True)
class Replayed:
    """What was found, in the order in which it came.

    `first`, `after`: the numbers of the journal's first row, and of the one that is appended next. `last_number`: the
    highest of a job in it. `old`: all of it is of an earlier release, in whose journal each job has rows of its own.
    """

    found: list[Found]
    first: int
    after: int
    last_number: int
    old: bool


def replay(connection: sqlite3.Connection) -> Replayed:
    """The jobs that are unfinished, or ended and are not in the table yet.

    What was said of jobs whose end is in the table is left over, and passed over. Raises sqlite3.Error.
    """
    found = dict[int, Found]()
    for row in connection.execute(f"{SELECT} WHERE jobs.finished_at IS NULL ORDER BY jobs.seq"):
        values = named(COLUMNS, row)
        found[values.pop("seq")] = Found(row[0], values)
    said = [(0, tuple(row)) for row in connection.execute(_OLD_ROWS)]
    old, first, after = bool(said), 1, 1
    for seq, record in connection.execute(_RECORDS):
        changes = unpack(record)
        first, after = (seq if after == 1 else first), seq + len(changes)
        said += [(seq, change) for change in changes]
    for row, change in _standing(connection, said):
        _take(found, row, change)
    last_number = max((change[0] for _, change in said), default=0)
    return Replayed([found[number] for number in sorted(found)], first, after, last_number, old)


def _standing(connection: sqlite3.Connection, said: Sequence[tuple[int, Change]]) -> Iterator[tuple[int, Change]]:
    """Without what is over."""
    over = _ended(connection, sorted({change[0] for _, change in said}))
    forgotten = {change[0]: place for place, (_, change) in enumerate(said) if len(change) == 1}
    for place, (row, change) in enumerate(said):
        if change[0] not in over and place > forgotten.get(change[0], -1):
            yield row, change


def _ended(connection: sqlite3.Connection, numbers: Sequence[int]) -> set[int]:
    """Which of these jobs have their end in the table."""
    ended = set[int]()
    for start in range(0, len(numbers), _ASKED_AT_ONCE):
        some = numbers[start : start + _ASKED_AT_ONCE]
        marks = ", ".join("?" * len(some))
        sql = f"SELECT seq FROM jobs WHERE finished_at IS NOT NULL AND seq IN ({marks})"
        ended.update(number for (number,) in connection.execute(sql, some))
    return ended


def _take(found: dict[int, Found], row: int, change: Change) -> None:
    number, *said = change
    state, fixed = said[: len(STATE)], said[len(STATE) :]
    known = found.get(number)
    if known is None:
        found[number] = Found(number, named((*STATE, *FIXED), (*state, *fixed)), row=row)
        return
    if known.row is None:
        known.in_table, known.row = record_of(known.values), row
    known.values.update(named(STATE, state))
