"""Tells receivers that their jobs have ended.

The store notes with the end of a job that somebody wants to be told; this sends it, again where it fails, and notes
each try. A receiver may hear of an end twice (when the control plane dies before it could note the first time), but
it is never forgotten. Nothing here changes a job.
"""

import asyncio
import contextlib
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from runpod_flash import lazy
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.control_plane.webhook_guard import target
from runpod_flash.control_plane.webhook_queue import WebhookQueue
from runpod_flash.control_plane.webhook_table import AT_ONCE, WaitingWebhook, WebhookTable

if TYPE_CHECKING:
    from runpod_flash.control_plane.webhook_sender import WebhookSender

logger = logging.getLogger(__name__)

PLACES = 16
"""How many webhooks are on their way at once."""

PLACES_OF_A_HOST = 4
"""How many of them may go to one host: one that hangs leaves room for the others."""

LOOK_S = 60.0
"""How often the table is read as a whole, whatever was said."""

_STORE_PAUSE_S: Final = 1.0

Render = Callable[[JobRecord, float], dict[str, Any]]
"""Makes the job object of a record and the time."""


class Webhooks:
    """Sends the webhooks of jobs that have ended.

    Attributes:
        as_sent: gives the input of a job as its client sent it; raises OSError where that cannot be read.
    """

    def __init__(self, store: Store, limits: Limits, render: Render, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._table = WebhookTable(store)
        self._limits = limits
        self._render = render
        self._clock = clock
        self._queue = WebhookQueue(PLACES, PLACES_OF_A_HOST)
        self._tasks: set[asyncio.Task[float | None]] = set()
        self._news = asyncio.Event()
        self._ended: set[str] = set()
        self._look_at = time.monotonic()
        self.as_sent: Callable[[JobRecord], Awaitable[Mapping[str, Any]]] = _as_it_is

    def check(self, url: str) -> None:
        """Raise Problem (400) where a job cannot have this webhook. A name is resolved only when it is called."""
        target(url, private=self._limits.webhook_private)

    def wake(self, job_id: str | None = None) -> None:
        """This job has ended, and the store knows it; None: some job has."""
        if job_id is None:
            self._look_at = time.monotonic()
        else:
            self._ended.add(job_id)
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled. What is under way then is sent again by the next control plane."""
        while not self._queue:
            self._news.clear()
            await self._take_in()
            if not self._queue:
                await self._rest()
        # Most control planes never send one, and what sends takes its time to load.
        module = await asyncio.to_thread(lazy.load, "runpod_flash.control_plane.webhook_sender")
        async with module.WebhookSender(self._limits) as sender:
            try:
                while True:
                    self._news.clear()
                    await self._take_in()
                    while (job := self._queue.take(time.monotonic())) is not None:
                        task = asyncio.create_task(self._deliver(sender, job))
                        self._tasks.add(task)
                        task.add_done_callback(functools.partial(self._delivered, job))
                    await self._rest()
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _rest(self) -> None:
        """Wait until something is due or has happened."""
        until = min(self._look_at, self._queue.next_due() or self._look_at)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._news.wait()

    async def _take_in(self) -> None:
        """Queue what the table has and the queue has not."""
        looking = time.monotonic() >= self._look_at
        jobs, self._ended = self._ended, set()
        try:
            new = [job for job in (self._table.waiting() if looking else jobs) if job not in self._queue]
            for start in range(0, len(new), AT_ONCE):
                self._add(self._table.rows(new[start : start + AT_ONCE]))
                await asyncio.sleep(0)  # others have their turn
        except StoreError as error:
            logger.warning("webhooks wait, the database cannot be read: %s", error)
            self._look_at = time.monotonic() + _STORE_PAUSE_S
        else:
            if looking:
                self._look_at = time.monotonic() + LOOK_S

    def _add(self, rows: Iterable[WaitingWebhook]) -> None:
        gap = self._limits.webhook_gap_s
        for row in rows:
            wait = min(max(0.0, row.due_at - self._clock()), gap)  # more than a gap says that the clock was set
            self._queue.add(row.job, _host(row.url), time.monotonic() + wait)

    async def _deliver(self, sender: "WebhookSender", job: str) -> float | None:
        """Send a webhook once; returns after how many seconds to try again, None for never."""
        row, record = self._table.row(job), self._store.job(job)
        if row is None:
            return None
        if record is None or record.webhook is None:
            await self._table.remove(job)
            return None
        fault = await self._send(sender, record)
        again = fault is not None and row.attempts + 1 < self._limits.webhook_tries
        self._say(row, fault, again)
        gap = self._limits.webhook_gap_s
        same = await self._note(row, self._clock() + gap if again else None)
        if not same:
            return 0.0  # the job was retried and has perhaps ended once more
        return gap if again else None

    async def _send(self, sender: "WebhookSender", record: JobRecord) -> str | None:
        """As `WebhookSender.post`."""
        url = record.webhook or ""
        shown = {**self._render(record, self._clock()), "webhook": url}
        with contextlib.suppress(OSError):  # that a large one is gone is no reason to be silent about the end
            shown["input"] = dict(await self.as_sent(record))
        try:
            body = json.dumps(shown).encode()
        except (TypeError, ValueError, RecursionError) as error:
            return f"the job cannot be told as JSON: {type(error).__name__}"
        return await sender.post(url, body, trace=f"{record.id} {record.finished_at}")

    async def _note(self, row: WaitingWebhook, due_at: float | None) -> bool:
        """As `WebhookTable.tried`. Keeps the place until it is written: what cannot be noted would be sent for ever."""
        while True:
            try:
                return await self._table.tried(row, due_at)
            except StoreError:  # the store has logged it
                await asyncio.sleep(_STORE_PAUSE_S)

    def _say(self, row: WaitingWebhook, fault: str | None, again: bool) -> None:
        """The log names the host alone: other parts of a URL can be secret."""
        if fault is None:
            logger.debug("webhook of job %s sent to %s", row.job, _host(row.url))
        else:
            level = logging.INFO if again else logging.WARNING
            tries = f"{row.attempts + 1} of {self._limits.webhook_tries}"
            logger.log(level, "webhook of job %s to %s, try %s: %s", row.job, _host(row.url), tries, fault)

    def _delivered(self, job: str, task: "asyncio.Task[float | None]") -> None:
        self._tasks.discard(task)
        host = self._queue.done(job)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:  # its text could hold the URL
            logger.error("webhook of job %s to %s failed unexpectedly: %s", job, host, type(error).__name__)
        again = self._limits.webhook_gap_s if error is not None else task.result()
        if again is not None:
            self._queue.add(job, host, time.monotonic() + again)
        self._news.set()


async def _as_it_is(record: JobRecord) -> Mapping[str, Any]:
    return record.input_json


def _host(url: str | None) -> str:
    """The host of a URL, "" where there is none."""
    try:
        return (lazy.load("yarl").URL(url or "").raw_host or "").lower()
    except ValueError:
        return ""
