"""How accepted jobs come to their pool: one commit has all of them, and their first starts where workers are free."""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from runpod_flash.control_plane import lifecycle
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.environments import Environments, InstallFailed
from runpod_flash.control_plane.fleet import Job, Pool
from runpod_flash.control_plane.groups import Saved
from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.control_plane.store import Store, StoreError
from runpod_flash.errors import EndpointNotFound
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind
from worker_runtime.wire.specs import EnvironmentRequest

Jobs = Sequence[tuple[JobRecord, Call | None]]
"""Jobs of one endpoint and one artifact."""


SURE_S: Final = 0.05
"""For so long the pool that was found for a call counts for those that follow, in seconds."""

_WAYS_KEPT: Final = 1000


class _Way(NamedTuple):
    """Which pool serves an artifact of an endpoint as it is, and until when that needs no other look."""

    endpoint: EndpointRecord
    pool: Pool
    until: float


class Queueing:
    """Brings jobs to their pool.

    Attributes:
        refusal: why no worker can ever serve an endpoint, None where one can.
        vet: gives the environment that the endpoint's owner may have; raises InstallFailed where it is none.
        on_end: called with each job that ends here, before any worker has seen it.
        on_look: called with the id of an endpoint when `pool_now` has looked for the pool of its jobs.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        dispatcher: Dispatcher,
        environments: Environments,
        announcer: Announcer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: monotonic seconds."""
        self._store = store
        self._clock = clock
        self._ways: dict[tuple[str, str | None], _Way] = {}
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._environments = environments
        self._announcer = announcer
        self.refusal: Callable[[EndpointRecord], ErrorInfo | None] = lambda endpoint: None
        self.vet: Callable[[EndpointRecord, EnvironmentRequest], EnvironmentRequest] = lambda endpoint, request: request
        self.on_end: Callable[[str], None] = lambda job_id: None
        self.on_look: Callable[[str], None] = lambda endpoint_id: None

    async def bring(self, jobs: Jobs, *, known: bool = False) -> None:
        """Bring jobs to their pool; before that they are written, unless the store knows them as they are.

        Raises:
            StoreError, StoreFull, EndpointNotFound: it is as if they had never come.
        """
        try:
            await self._bring(jobs, known=known)
        except BaseException:
            for record, _ in jobs:
                self._dispatcher.memory.unneeded(record.id)
            raise

    def pool_now(self, endpoint: EndpointRecord, artifact: str | None) -> Pool | None:
        """The pool that serves an artifact, or the endpoint's command, where nothing must be waited for to know it.

        What was found counts for `SURE_S`: calls that follow each other are not looked at one by one. None: the
        caller's interpreter has to be asked first, or the jobs are to be refused; `bring` does either. Raises
        ContentNotFound.
        """
        now = self._clock()
        way = self._ways.get((endpoint.id, artifact))
        if way is not None and way.endpoint is endpoint and now < way.until and not way.pool.gone:
            self._dispatcher.pools.use(way.pool, endpoint, artifact)
            return way.pool
        pool = self._find_now(endpoint, artifact)
        if pool is not None:
            if len(self._ways) >= _WAYS_KEPT:
                self._ways.clear()
            self._ways[endpoint.id, artifact] = _Way(endpoint, pool, now + SURE_S)
            self.on_look(endpoint.id)
        return pool

    def _find_now(self, endpoint: EndpointRecord, artifact: str | None) -> Pool | None:
        if self.refusal(endpoint) is not None:
            return None
        if artifact is None:
            return self._dispatcher.pools.of_command(endpoint)
        try:
            wanted = self.vet(endpoint, self._dispatcher.pools.manifest(artifact).environment)
            key = self._environments.key_at_once(wanted)
        except InstallFailed:
            return None
        return None if key is None else self._shipped(endpoint, artifact, key, wanted)

    def accept(self, jobs: Jobs, pool: Pool) -> tuple[Sequence[Job], Saved]:
        """Write jobs and queue them at once: their first starts may be in the same commit, and are sent after it.

        Where that write is refused, it is as if they had never come.
        """
        accepted = list[Job]()

        def heard(error: StoreError | None) -> None:
            while error is not None and accepted:
                self._dispatcher.withdraw(accepted.pop())

        written = [self._store.save_job(record) for record, _ in jobs][-1]  # one commit has all of them
        written.then(heard)  # before the dispatcher hears it: what is not accepted is not started
        for record, call in jobs:
            logs = self._store.logs(record.id) if record.attempts else ()
            accepted.append(self._dispatcher.accept(record, call, pool, logs))
        return list(accepted), written

    async def _bring(self, jobs: Jobs, *, known: bool) -> None:
        record, call = jobs[0]
        endpoint = self._catalog.get(record.endpoint)
        refusal = self.refusal(endpoint)
        wanted: EnvironmentRequest | None = None
        environment_key = ""
        try:
            if call is not None:
                wanted = self.vet(endpoint, self._dispatcher.pools.manifest(call.artifact).environment)
                environment_key = await self._environments.key(wanted)
        except InstallFailed as error:
            refusal = refusal or ErrorInfo(ErrorKind.INSTALL, "InstallError", str(error))
        if refusal is not None:
            await self._refuse(jobs, refusal)
            return
        pool = await self._pool(jobs, environment_key, wanted)
        if known:
            for record, call in jobs:
                self._dispatcher.accept(record, call, pool, self._store.logs(record.id) if record.attempts else ())
        else:
            await self.accept(jobs, pool)[1]

    async def _refuse(self, jobs: Jobs, refusal: ErrorInfo) -> None:
        """End jobs before they have begun."""
        now = time.time()
        await self.end(
            [lifecycle.refuse(record, refusal, now, plain=lifecycle.is_plain(call)) for record, call in jobs]
        )

    async def end(self, records: Sequence[JobRecord]) -> None:
        """Write and tell the ends of jobs that come to no pool. Raises StoreError, StoreFull."""
        await self._saved(records)
        for record in records:
            self._dispatcher.memory.ended(record)
            self._announcer.refused(record, record.client)
            self.on_end(record.id)

    async def _saved(self, records: Sequence[JobRecord]) -> None:
        """Write jobs in one group. Raises StoreError, StoreFull."""
        for each in [self._store.save_job(record) for record in records]:
            await each

    async def _pool(self, jobs: Jobs, environment_key: str, wanted: EnvironmentRequest | None) -> Pool:
        record, call = jobs[0]
        try:
            endpoint = self._catalog.get(record.endpoint)  # it may have been deleted or changed meanwhile
        except EndpointNotFound as error:
            gone, now = ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", str(error)), time.time()
            await self._saved([lifecycle.refuse(each, gone, now, plain=lifecycle.is_plain(its)) for each, its in jobs])
            raise
        if call is None:
            return self._dispatcher.pools.of_command(endpoint)
        return self._shipped(endpoint, call.artifact, environment_key, wanted)

    def _shipped(
        self, endpoint: EndpointRecord, artifact: str, environment_key: str, wanted: EnvironmentRequest | None
    ) -> Pool:
        pool = self._dispatcher.pools.shipped(endpoint, artifact, environment_key, wanted)
        if pool.environment is None:
            pool.environment = self._environments.ready(environment_key)
        return pool
