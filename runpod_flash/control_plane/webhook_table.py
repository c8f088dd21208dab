"""The table `webhooks`: which jobs' ends are still to be told. The store writes a row with the end of a job."""

import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Final

from runpod_flash.control_plane.store import Store

AT_ONCE = 500
"""How many rows are read in one query."""

_SELECT: Final = (
    "SELECT webhooks.job, webhooks.attempts, due_at, facts FROM webhooks LEFT JOIN jobs ON jobs.id = webhooks.job "
    "WHERE due_at IS NOT NULL AND webhooks.job IN "
)


@dataclass(frozen=True, slots=True)
class WaitingWebhook:
    """A webhook that is to be sent.

    `attempts` is how many tries there were, `due_at` when the next is due, in seconds since the epoch. `url` is None
    where the job is gone or wants to be told no more.
    """

    job: str
    attempts: int
    due_at: float
    url: str | None = field(repr=False)


class WebhookTable:
    """Reads and writes the rows. Raises StoreError, as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def waiting(self) -> list[str]:
        """The jobs whose webhooks are to be sent, the first that is due first."""
        return [job for (job,) in self._store.read("SELECT job FROM webhooks WHERE due_at IS NOT NULL ORDER BY due_at")]

    def rows(self, jobs: Sequence[str]) -> list[WaitingWebhook]:
        """The rows of these jobs (at most AT_ONCE) that are to be sent."""
        marks = ", ".join("?" * len(jobs))
        self._store.fold()
        return [
            WaitingWebhook(job, attempts, due_at, None if facts is None else json.loads(facts).get("webhook"))
            for job, attempts, due_at, facts in self._store.read(f"{_SELECT}({marks}) ORDER BY due_at", *jobs)
        ]

    def row(self, job: str) -> WaitingWebhook | None:
        """The row of one job, None where nothing is to be sent."""
        return next(iter(self.rows([job])), None)

    async def tried(self, row: WaitingWebhook, due_at: float | None) -> bool:
        """Note a try; the next is at `due_at`, None: there is none. False where the row is another by now."""
        sql = "UPDATE webhooks SET attempts = attempts + 1, due_at = ? WHERE job = ? AND attempts = ? AND due_at = ?"
        changed: int = await self._store.write((sql, [due_at, row.job, row.attempts, row.due_at]))
        return changed > 0

    def remove(self, job: str) -> Awaitable[None]:
        """Forget the row of a job."""
        return self._store.write(("DELETE FROM webhooks WHERE job = ?", [job]))
