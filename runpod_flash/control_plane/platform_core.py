"""The platform as the HTTP faces see it: endpoints' jobs, workers and overviews, over dispatcher, store and fleet."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.chunks import Chunks, Numbered
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.endpoint_logs import Follower
from runpod_flash.control_plane.environments import Environments
from runpod_flash.control_plane.fleet import Fleet, Job
from runpod_flash.control_plane.history import History
from runpod_flash.control_plane.intake import Intake
from runpod_flash.control_plane.overview import Overview
from runpod_flash.control_plane.platform import Accepting, JobPage, JobQuery, Sees, Watched, everything
from runpod_flash.control_plane.prompt_intake import Begun, PromptIntake
from runpod_flash.control_plane.records import Batch, EndpointLine, JobRecord, LogLine, Submission
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.control_plane.terms import Terms
from runpod_flash.control_plane.waiting import Waiting
from runpod_flash.errors import JobNotFound
from worker_runtime.wire.jobs import JobStatus


class PlatformCore:
    """Implements what `api` needs of the platform.

    Attributes:
        intake: how jobs come in. `prompt`: those for which nothing has to be waited.
        look: what there is at a glance.
        history: jobs and lines of before.
        chunks: what generators have yielded.
        will_read: called with a job before items of its stream are handed out.
        on_use: called with the id of each endpoint to which a job comes.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        fleet: Fleet,
        dispatcher: Dispatcher,
        environments: Environments,
        announcer: Announcer,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._announcer = announcer
        self.history = History(store, catalog, dispatcher, announcer.logs)
        self.intake = Intake(store, catalog, dispatcher, environments, announcer, terms)
        self.prompt = PromptIntake(self.intake, catalog, dispatcher)
        self.look = Overview(store, catalog, fleet, dispatcher)
        self.chunks = Chunks(store)
        self.intake.on_again = self.chunks.clear
        self.will_read: Callable[[Job], Awaitable[None]] = _nothing
        self.on_use: Callable[[str], None] = lambda endpoint: None
        self.intake.queueing.on_look = lambda endpoint_id: self.on_use(endpoint_id)
        self._waiting = Waiting()

    async def submit(self, endpoint_id: str, asked: Submission) -> JobRecord:
        """See `Intake.submit`."""
        self.on_use(endpoint_id)
        return await self.intake.submit(endpoint_id, asked)

    def begin(self, endpoint_id: str, asked: Submission) -> Begun | None:
        """See `PromptIntake.begin`."""
        return self.prompt.begin(endpoint_id, asked)

    def when_ended(self, begun: Begun, timeout_s: float, heard: Callable[[StoreError | None], None]) -> None:
        """Call `heard` once the job has ended, after so many seconds or when the control plane stops.

        It has been accepted by then; else `heard` gets why not.
        """
        job, written = begun.job, begun.written
        waiter = self._waiting.wait(0 if self._waiting.over else timeout_s, lambda: written.then(heard))
        job.on_told = waiter.wake
        written.then(lambda error: None if error is None else waiter.wake())

    async def submit_many(self, endpoint_id: str, asked: Batch) -> list[JobRecord | Exception]:
        """See `Intake.submit_many`."""
        self.on_use(endpoint_id)
        return await self.intake.submit_many(endpoint_id, asked)

    def submit_now(self, endpoint_id: str, asked: Batch) -> Accepting | None:
        """See `Intake.submit_now`."""
        return self.intake.submit_now(endpoint_id, asked)

    def call_off(self, job_ids: Sequence[str], sees: Sees = everything) -> list[str]:
        """Cancel jobs; what has ended stays as it is. Gives the ids of those that are unknown."""
        unknown: list[str] = []
        for job_id in job_ids:
            record, job = self._known(job_id), self._dispatcher.unfinished(job_id)
            if record is None or not sees(record.endpoint):
                unknown.append(job_id)
            elif job is not None and not job.record.status.final:
                self._dispatcher.cancel(job)
        return unknown

    async def replay(self) -> int:
        """See `Intake.replay`."""
        return await self.intake.replay()

    @property
    def stopping(self) -> bool:
        """Whether it ends, so that nothing is waited for any more."""
        return self._waiting.over

    def release_waiting(self) -> None:
        """Let `wait` return what there is: the control plane ends."""
        self._waiting.end()
        self.chunks.wake_all()
        self._announcer.logs.close()

    def _known(self, job_id: str) -> JobRecord | None:
        """The job as it stands; None where it is unknown, or its time to be kept is over."""
        job = self._dispatcher.unfinished(job_id)
        record = job.record if job is not None else self._store.job(job_id)
        if record is None or (record.finished_at is not None and record.finished_at + record.keep_s < time.time()):
            return None
        return record

    def job(self, endpoint_id: str, job_id: str) -> JobRecord:
        """The job as it stands. Raises EndpointNotFound, JobNotFound."""
        self._catalog.get(endpoint_id)
        record = self._known(job_id)
        if record is None or record.endpoint != endpoint_id:
            raise JobNotFound(f"endpoint {endpoint_id} has no job {job_id}; results are kept for a limited time")
        return record

    async def wait(self, job_id: str, timeout_s: float) -> JobRecord:
        """Wait until the job is final, at most `timeout_s` seconds, and return it as it then stands.

        Returns earlier when the control plane stops. Raises JobNotFound.
        """
        job = self._dispatcher.unfinished(job_id)
        if job is not None:
            await self._waiting.until(job.done, timeout_s)
            return job.record
        record = self._known(job_id)
        if record is None:
            raise JobNotFound(f"there is no job {job_id}")
        return record

    async def cancel(self, endpoint_id: str, job_id: str) -> JobRecord:
        """Cancel a job; one that is final stays as it is. Raises EndpointNotFound, JobNotFound."""
        self.job(endpoint_id, job_id)
        job = self._dispatcher.unfinished(job_id)
        if job is not None and not job.record.status.final:
            self._dispatcher.cancel(job)
            return await asyncio.shield(job.done)
        return self.job(endpoint_id, job_id)

    async def retry(self, endpoint_id: str, job_id: str) -> JobRecord:
        """Queue a job that has failed or timed out once more. Raises EndpointNotFound, JobNotFound, Problem."""
        return await self.intake.again(self.job(endpoint_id, job_id))

    async def purge(self, endpoint_id: str) -> int:
        """Cancel the endpoint's jobs that wait for a worker; returns how many. Raises EndpointNotFound."""
        self._catalog.get(endpoint_id)
        waiting = [job for job in self._dispatcher.jobs_of(endpoint_id) if job.record.status is JobStatus.IN_QUEUE]
        waiting = [job for job in waiting if not job.decided]
        for job in waiting:
            self._dispatcher.cancel(job)
        if waiting:
            await asyncio.wait([job.done for job in waiting])
        return len(waiting)

    async def stream(self, endpoint_id: str, job_id: str, hold_s: float) -> tuple[JobRecord, list[Any], bool]:
        """The job, what it has yielded since the last time, and whether there is more already.

        Waits at most `hold_s` seconds for something to happen where nothing has. Raises EndpointNotFound, JobNotFound.
        """
        end = time.monotonic() + hold_s
        while True:
            record = self.job(endpoint_id, job_id)
            if self.chunks.has(job_id):
                await self._will_read(job_id)
            chunks, more = await self.chunks.drain(job_id)
            left = end - time.monotonic()
            if chunks or record.status.final or left <= 0 or self._waiting.over:
                return record, chunks, more
            await self.chunks.wait(job_id, left)

    async def items(
        self, job_id: str, after: int, hold_s: float, sees: Sees = everything
    ) -> tuple[JobRecord, list[Numbered], bool]:
        """The job, the numbered pieces of its stream after the one of this number, and whether there are more.

        Those up to that number are gone: they have arrived. Waits as `stream` does. Raises JobNotFound.
        """
        end = time.monotonic() + hold_s
        asked = False
        while True:
            record = self._known(job_id)
            if record is None or not sees(record.endpoint):
                raise JobNotFound(f"there is no job {job_id}; results are kept for a limited time")
            if after and not asked:
                asked = True
                await self.chunks.arrived(job_id, after)
                continue  # from here to the waiting nothing may happen unseen
            pieces, more = self.chunks.after(job_id, after)
            if pieces:
                await self._will_read(job_id)
            left = end - time.monotonic()
            if pieces or record.status.final or left <= 0 or self._waiting.over:
                return record, pieces, more
            await self.chunks.wait(job_id, left)

    async def _will_read(self, job_id: str) -> None:
        job = self._dispatcher.unfinished(job_id)
        if job is not None:
            await self.will_read(job)

    def requests(self, endpoint_id: str, limit: int) -> list[JobRecord]:
        """The endpoint's last jobs, the newest first. Raises EndpointNotFound."""
        self._catalog.get(endpoint_id)
        stored = self._store.recent_jobs(endpoint_id, limit)
        unfinished = ((record, self._dispatcher.unfinished(record.id)) for record in stored)
        return [record if job is None else job.record for record, job in unfinished]

    def watch(self, client: str, job_ids: Sequence[str], sees: Sees = everything) -> Watched:
        """Let an event stream hear of the ends of these jobs; those that are final already are returned."""
        final, waiting, unknown = list[JobRecord](), list[str](), list[str]()
        for job_id in job_ids:
            record, job = self._known(job_id), self._dispatcher.unfinished(job_id)
            if record is None or not sees(record.endpoint):
                unknown.append(job_id)
            elif job is None:
                final.append(record)
            else:
                self._dispatcher.adopt(job, client)
                waiting.append(job_id)
        return Watched(final, waiting, unknown)

    def submitted(self, keys: Sequence[str], sees: Sees = everything) -> Mapping[str, JobRecord]:
        """The jobs that were made with these idempotency keys, by key."""
        return self._store.jobs_by_keys(keys, sees)

    def facts(self, job_id: str, sees: Sees = everything) -> Mapping[str, Any]:
        """All that is known of a job: as published, its endpoint, its attempts, why it waits. Raises JobNotFound."""
        record = self._known(job_id)
        if record is None or not sees(record.endpoint):
            raise JobNotFound(f"there is no job {job_id}; results are kept for a limited time")
        return self.look.facts(record)

    def queued(self, endpoint_id: str) -> int:
        """How many of the endpoint's jobs wait."""
        return self.look.queued(endpoint_id)

    def health(self, endpoint_id: str) -> Mapping[str, Mapping[str, int]]:
        """Counts of jobs and workers. Raises EndpointNotFound."""
        return self.look.health(endpoint_id)

    def workers(self, endpoint_id: str) -> list[dict[str, Any]]:
        """The endpoint's workers. Raises EndpointNotFound."""
        return self.look.workers(endpoint_id)

    def overview(self, sees: Sees = everything) -> dict[str, Any]:
        """Everything at a glance, for `flash status`."""
        return self.look.overview(sees)

    async def drop_instance(self, instance: str, sees: Sees = everything) -> None:
        """Close an object of a remote class."""
        self._dispatcher.drop_instance(instance, sees)

    async def delete_endpoint_jobs(self, endpoint_id: str) -> None:
        """Cancel every unfinished job of an endpoint."""
        for job in self._dispatcher.jobs_of(endpoint_id):
            self._dispatcher.cancel(job)

    def logs(self, job_id: str, sees: Sees = everything) -> list[LogLine]:
        """See `History.of_job`."""
        return self.history.of_job(job_id, sees)

    def lines(self, endpoint_id: str) -> list[EndpointLine]:
        """See `History.of_endpoint`."""
        return self.history.of_endpoint(endpoint_id)

    def follow(self, endpoint_id: str, job_id: str | None = None) -> Follower:
        """See `EndpointLogs.follow`."""
        return self._announcer.logs.follow(endpoint_id, job_id)

    def list_jobs(self, query: JobQuery, sees: Sees = everything) -> JobPage:
        """See `History.jobs`."""
        return self.history.jobs(query, sees)

    @property
    def idle(self) -> bool:
        """Whether no job is unfinished."""
        return self._dispatcher.active == 0


async def _nothing(job: Job) -> None:
    """Nobody wants to know."""
