"""How jobs come in: accepted, written, brought to their pool; replayed after a restart; tried once more."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from runpod_flash.control_plane import lifecycle, own_code
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.environments import Environments, InstallFailed
from runpod_flash.control_plane.fleet import Pool
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord, JobRecord, Submission
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.terms import Terms
from runpod_flash.errors import ConfigError, ContentNotFound, EndpointNotFound, NotPortable
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind
from worker_runtime.wire.specs import EnvironmentRequest


class Intake:
    """Accepts jobs.

    Attributes:
        refusal: why no worker can ever serve an endpoint, None where one can.
        vet: gives the environment that the endpoint's owner may have; raises InstallFailed where it is none.
        takes_pickles: whether pickles of an endpoint's owner are loaded.
        admit: raises StoreFull where nothing new can be accepted; else says what is short on the disk, if anything.
        on_end: called with each job that ends here, before any worker has seen it.
        on_again: called with each job of which an attempt was cut off by a restart and another will follow.
        seal: hides what the worker alone may read.
        unload: stores what a call's input carries; gives the call without it.
    """

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        dispatcher: Dispatcher,
        environments: Environments,
        announcer: Announcer,
        terms: Terms,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._environments = environments
        self._announcer = announcer
        self._terms = terms
        self.refusal: Callable[[EndpointRecord], ErrorInfo | None] = lambda endpoint: None
        self.vet: Callable[[EndpointRecord, EnvironmentRequest], EnvironmentRequest] = lambda endpoint, request: request
        self.takes_pickles: Callable[[EndpointRecord], bool] = lambda endpoint: True
        self.admit: Callable[[], str] = str
        self.on_again: Callable[[str], None] = lambda job_id: None
        self.on_end: Callable[[str], None] = lambda job_id: None
        self.unload: Callable[[Mapping[str, Any] | Call], Awaitable[Call]] = _as_sent
        self.seal: Callable[[Mapping[str, Any]], str] = _no_seal
        self._by_key: dict[tuple[str, str], asyncio.Future[JobRecord]] = {}  # submits under way

    async def submit(self, endpoint_id: str, asked: Submission) -> JobRecord:
        """Accept a job; it is on disk when this returns. The same idempotency key gives the same job.

        Raises:
            EndpointNotFound, ContentNotFound: unknown endpoint, artifact or value; nothing was accepted.
            StoreFull: the disk is full, or its bound reached; nothing was accepted.
            NotPortable: the code is a pickle, and its owner's are not loaded.
            WireError, VersionMismatch: the input is no call of this protocol.

        While the control plane stops, jobs are still taken: they run after its next start, which whoever waits causes.
        """
        endpoint = self._catalog.get(endpoint_id)
        if asked.key is None:
            return await self._accept(endpoint, asked)
        same = endpoint_id, asked.key
        pending = self._by_key.get(same)
        if pending is None:
            pending = self._by_key[same] = asyncio.ensure_future(self._accept_once(endpoint, asked, asked.key))
            pending.add_done_callback(lambda _: self._by_key.pop(same, None))
        return await asyncio.shield(pending)

    async def _accept_once(self, endpoint: EndpointRecord, asked: Submission, key: str) -> JobRecord:
        known = self._store.job_by_key(endpoint.id, key)
        if known is not None:
            return self._again(known, asked.client)
        return await self._accept(endpoint, asked)

    def _again(self, job_id: str, client: str | None) -> JobRecord:
        """The job of a repeated submit. The one who repeats it is the one who waits for it."""
        job = self._dispatcher.unfinished(job_id)
        if job is not None and not job.record.status.final and client is not None:
            self._dispatcher.adopt(job, client)
        record = self._store.job(job_id) if job is None else job.record
        assert record is not None
        if record.status.final:
            self._announcer.refused(record, client)
        return record

    async def _accept(self, endpoint: EndpointRecord, asked: Submission) -> JobRecord:
        short = self.admit()
        if endpoint.is_load_balanced:
            raise Problem(400, "not allowed for LB API: this endpoint answers HTTP requests and takes no jobs")
        call, policy = None, asked.policy
        if not endpoint.runs_command:
            call = await self.unload(self._call_input(endpoint, asked.input))
            self._dispatcher.pools.check_content(call)
            if self._dispatcher.pools.manifest(call.artifact).entry is None and not self.takes_pickles(endpoint):
                raise NotPortable(
                    "the code is a pickle, and this server loads none of yours; set FLASH_ENCODING=neutral"
                )
        if call is not None:
            self._dispatcher.memory.keep(call, asked.job_id)
        record = JobRecord(
            asked.job_id,
            endpoint.id,
            asked.input if call is None else call,
            time.time(),
            idempotency_key=asked.key,
            client=asked.client,
            timeout_ms=int(endpoint.body.get("timeout") or 0) if policy.timeout_ms is None else policy.timeout_ms,
            low_priority=policy.low_priority,
            webhook=policy.webhook,
            sealed=None if policy.s3_config is None else self.seal(policy.s3_config),
            **self._terms.limits(policy, own=asked.client is not None),
        )
        await self._queue(record, call)
        job = self._dispatcher.unfinished(record.id)
        if short and asked.client is not None and job is not None:
            self._announcer.notice_to(asked.client, job.pool, "disk", short)
        return record

    def _call_input(self, endpoint: EndpointRecord, given: Mapping[str, Any] | Call) -> Mapping[str, Any] | Call:
        """The input as a call has it. Raises Problem, NotPortable, WireError, ContentNotFound."""
        if endpoint.artifact is None:
            _check_call(endpoint, given)
            return given
        manifest = self._dispatcher.pools.manifest(endpoint.artifact)
        return own_code.call_of(endpoint, manifest, given.to_input() if isinstance(given, Call) else given)

    async def again(self, record: JobRecord) -> JobRecord:
        """Queue a job that has failed once more, as it came.

        Raises:
            Problem: 400, it has not failed.
            StoreFull, ContentNotFound: as for `submit`.
        """
        self.admit()
        try:
            reopened = lifecycle.reopen(record, time.time())
        except lifecycle.IllegalTransition:
            raise Problem(
                400, f"job {record.id} is {record.status}; only FAILED and TIMED_OUT ones can be retried"
            ) from None
        call = self._call(record)
        if call is not None:
            self._dispatcher.pools.check_content(call)
            self._dispatcher.memory.keep(call, record.id)
        await self._store.reopen_job(reopened)
        await self._queue(reopened, call, known=True)
        return reopened

    def _call(self, record: JobRecord) -> Call | None:
        """What a stored job asks for. Raises WireError, EndpointNotFound."""
        if isinstance(record.input, Call):
            return record.input
        is_plain = self._catalog.get(record.endpoint).runs_command
        return None if is_plain else Call.from_input(record.input)  # written by an earlier release

    async def replay(self) -> int:
        """Queue what an earlier run of the control plane left unfinished, and return how many jobs that were."""
        records = self._store.unfinished_jobs()
        for record in records:
            await self._requeue(record)
        return len(records)

    async def _requeue(self, record: JobRecord) -> None:
        call: Call | None = None
        try:
            call = self._call(record)
            recovered = lifecycle.recover(record, call, time.time())
            if recovered.status.final:
                await self._store.save_job(recovered)
                return
            if call is not None:
                self._dispatcher.pools.check_content(call)
            if recovered is not record:
                self.on_again(record.id)
            await self._queue(recovered, call, known=recovered is record)
        except (WireError, ContentNotFound, EndpointNotFound) as error:
            lost = ErrorInfo(ErrorKind.PLATFORM, type(error).__name__, f"the job cannot go on after a restart: {error}")
            await self._store.save_job(
                lifecycle.refuse(record, lost, time.time(), plain=call is not None and call.plain)
            )

    async def _queue(self, record: JobRecord, call: Call | None, *, known: bool = False) -> None:
        """Bring a job to its pool; before that it is written, unless the store knows it as it is."""
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
            failed = lifecycle.refuse(record, refusal, time.time(), plain=lifecycle.is_plain(call))
            await self._store.save_job(failed)
            self._dispatcher.memory.ended(failed)
            self._announcer.refused(failed, record.client)
            self.on_end(record.id)
            return
        if not known:
            await self._store.save_job(record)
        pool = await self._pool(record, call, environment_key, wanted)
        self._dispatcher.accept(record, call, pool, self._store.logs(record.id) if record.attempts else ())

    async def _pool(
        self, record: JobRecord, call: Call | None, environment_key: str, wanted: EnvironmentRequest | None
    ) -> Pool:
        try:
            endpoint = self._catalog.get(record.endpoint)  # it may have been deleted or changed meanwhile
        except EndpointNotFound as error:
            gone = ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", str(error))
            await self._store.save_job(lifecycle.refuse(record, gone, time.time(), plain=lifecycle.is_plain(call)))
            raise
        if call is None:
            return self._dispatcher.pools.of_command(endpoint)
        pool = self._dispatcher.pools.shipped(endpoint, call.artifact, environment_key, wanted)
        if pool.environment is None:
            pool.environment = self._environments.ready(environment_key)
        return pool


def _check_call(endpoint: EndpointRecord, call_input: Mapping[str, Any] | Call) -> None:
    """Raise Problem (422) where the input of a job is nobody's call, but plain."""
    if not isinstance(call_input, Call) and "flash" not in call_input:
        raise Problem(
            422,
            f"endpoint {endpoint.name!r} runs a decorated function or class, so its jobs are calls of that, and it "
            "takes no plain input; call the function, or `flash deploy` it, or make an endpoint of a handler: flash "
            "server add --command …",
            code=ConfigError.__name__,
        )


async def _as_sent(call_input: Mapping[str, Any] | Call) -> Call:
    return call_input if isinstance(call_input, Call) else Call.from_input(call_input)


def _no_seal(data: Mapping[str, Any]) -> str:
    raise Problem(500, "this control plane cannot keep 's3Config' secret")
