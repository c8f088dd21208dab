"""How the jobs of endpoints ended since those were made: in memory, and in a table for the jobs that are in theirs."""

import sqlite3
from collections.abc import Iterable

from runpod_flash.control_plane.records import JobRecord
from worker_runtime.wire.jobs import JobStatus

_COMPLETED = JobStatus.COMPLETED
_FAILED = (JobStatus.FAILED, JobStatus.TIMED_OUT)
_MADE = "INSERT OR IGNORE INTO counters (endpoint) SELECT id FROM endpoints WHERE id = ?"
_ADDED = "UPDATE counters SET completed = completed + ?, failed = failed + ?, retried = retried + ? WHERE endpoint = ?"

Counts = tuple[int, int, int]
"""How many have completed, failed (or timed out), and were started once more."""

Step = tuple[JobRecord | None, JobRecord]
"""A job as it was (None: it was not there) and as it has become."""


class Counters:
    """Counts for the endpoints that are there; they outlive the jobs."""

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        """Read what the tables have."""
        sql = "SELECT id, completed, failed, retried FROM endpoints LEFT JOIN counters ON endpoint = id"
        self._counts = {
            name: (completed or 0, failed or 0, retried or 0)
            for name, completed, failed, retried in connection.execute(sql)
        }

    def add(self, endpoint: str) -> None:
        """The endpoint is there."""
        self._counts.setdefault(endpoint, (0, 0, 0))

    def drop(self, endpoint: str) -> None:
        """The endpoint is gone."""
        self._counts.pop(endpoint, None)

    def of(self, endpoint: str) -> Counts:
        """The counts of an endpoint, zeros where it is not there."""
        return self._counts.get(endpoint, (0, 0, 0))

    def count(self, before: JobRecord | None, after: JobRecord) -> None:
        """A job has changed."""
        if not (after.status.final or after.retries):
            return
        counts = self._counts.get(after.endpoint)
        if counts is not None:
            self._counts[after.endpoint] = _sum(counts, _step(before, after))

    @staticmethod
    def save(connection: sqlite3.Connection, steps: Iterable[Step]) -> None:
        """Add what has become of jobs to the table, in its transaction."""
        sums = dict[str, Counts]()
        for before, after in steps:
            sums[after.endpoint] = _sum(sums.get(after.endpoint, (0, 0, 0)), _step(before, after))
        for endpoint, counts in sums.items():
            if counts != (0, 0, 0):
                connection.execute(_MADE, (endpoint,))
                connection.execute(_ADDED, (*counts, endpoint))


def _step(before: JobRecord | None, after: JobRecord) -> Counts:
    was, retries = (None, 0) if before is None else (before.status, before.retries)
    now = after.status
    completed = now is _COMPLETED and was is not _COMPLETED
    failed = now in _FAILED and was not in _FAILED
    return int(completed), int(failed), max(0, after.retries - retries)


def _sum(one: Counts, other: Counts) -> Counts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
