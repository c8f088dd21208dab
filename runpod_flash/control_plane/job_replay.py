"""What the journal of an earlier run says: the jobs as they were when it ended, however that was."""

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

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

_OVER: Final = "SELECT seq FROM jobs WHERE finished_at IS NOT NULL AND seq IN (SELECT job FROM journal)"
_ROWS: Final = f"SELECT seq, job, {', '.join((*STATE, *FIXED))} FROM journal ORDER BY seq"


@dataclass(slots=True)
class Found:
    """A job that is not in the table as it was: `in_table` is how that has it, `row` its first in the journal."""

    number: int
    values: dict[str, Any]
    in_table: JobRecord | None = None
    row: int | None = None


def replay(connection: sqlite3.Connection) -> tuple[list[Found], int]:
    """The jobs that are unfinished, or ended and are not in the table yet; and the number of the journal's last row.

    In the order in which they came. Rows of jobs whose end is in the table are left over, and passed over.
    """
    found = dict[int, Found]()
    for row in connection.execute(f"{SELECT} WHERE jobs.finished_at IS NULL ORDER BY jobs.seq"):
        values = named(COLUMNS, row)
        found[values.pop("seq")] = Found(row[0], values)
    over, last = {number for (number,) in connection.execute(_OVER)}, 0
    for last, number, *row in connection.execute(_ROWS):
        if number in over:
            continue
        known = found.get(number)
        if known is None:
            found[number] = Found(number, named((*STATE, *FIXED), row), row=last)
            continue
        if known.row is None:
            known.in_table, known.row = record_of(known.values), last
        known.values.update(named(STATE, row[: len(STATE)]))
    return [found[number] for number in sorted(found)], last
