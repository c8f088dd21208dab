"""How jobs come in: accepted, written, brought to their pool; replayed after a restart; tried once more."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from runpod_flash.control_plane import lifecycle, own_code
from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.carried import carries
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.environments import Environments
from runpod_flash.control_plane.groups import Saved, Written
from runpod_flash.control_plane.platform import Accepting
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.queueing import Queueing
from runpod_flash.control_plane.records import Batch, EndpointRecord, JobRecord, Policy, Submission
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.terms import Terms
from runpod_flash.control_plane.under_way import Outcomes, UnderWay, outcome_of
from runpod_flash.errors import (
    ConfigError,
    ContentNotFound,
    EndpointNotFound,
    FlashError,
    NotPortable,
    PayloadTooLarge,
)
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.ids import ordered_uuid
from worker_runtime.wire.jobs import INLINE_LIMIT, Call, ErrorInfo, ErrorKind, Payload

_FIRSTS_KEPT: Final = 100


class Intake:
    """Accepts jobs.

    Attributes:
        queueing: how accepted jobs come to their pool.
        takes_pickles: whether pickles of an endpoint's owner are loaded.
        admit: raises StoreFull where nothing new can be accepted; else says what is short on the disk, if anything.
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
        self._announcer = announcer
        self._terms = terms
        self.queueing = Queueing(store, catalog, dispatcher, environments, announcer)
        self.takes_pickles: Callable[[EndpointRecord], bool] = lambda endpoint: True
        self.admit: Callable[[], str] = str
        self.on_again: Callable[[str], None] = lambda job_id: None
        self.unload: Callable[[Mapping[str, Any] | Call], Awaitable[Call]] = _as_sent
        self.seal: Callable[[Mapping[str, Any]], str] = _no_seal
        self._under_way = UnderWay()
        self._firsts: dict[tuple[str, str | None], tuple[EndpointRecord, Policy, JobRecord]] = {}

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
        found = self._known(endpoint_id, asked.key, asked.client)
        if found is None:
            found = self._under_way.begin(endpoint_id, asked.key, self._accept_alone(endpoint, asked))
        outcome = await outcome_of(found, asked.key)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def submit_many(self, endpoint_id: str, asked: Batch) -> list[JobRecord | Exception]:
        """Accept calls that came together: for each its job, which is on disk, or why it alone was refused.

        It is waited for to its end, whoever has left meanwhile. Raises what `submit` does, where none was accepted.
        """
        endpoint = self._catalog.get(endpoint_id)
        known: dict[str, JobRecord | asyncio.Future[Outcomes]] = {}
        for key, _ in asked.jobs if not asked.fresh else ():
            found = self._known(endpoint_id, key, asked.client)
            if found is not None:
                known[key] = found
        jobs = [job for job in asked.jobs if job[0] not in known] if known else asked.jobs
        new: Outcomes = {}
        if jobs:
            accepting = self._accept_many(endpoint, asked, jobs)
            new = await self._under_way.together(endpoint_id, [key for key, _ in jobs], accepting)
        return [await outcome_of(known[key], key) if key in known else new[key] for key, _ in asked.jobs]

    def submit_now(self, endpoint_id: str, asked: Batch) -> Accepting | None:
        """The same where nothing has to be waited for but the commit, as for most calls; None: use `submit_many`.

        Raises what `submit` does, where none is accepted.
        """
        endpoint = self._catalog.get(endpoint_id)
        if not asked.fresh or endpoint.artifact is not None or endpoint.runs_command or carries(asked.call):
            return None
        short = self._open(endpoint)
        self._check(endpoint, asked.call)
        pool = self.queueing.pool_now(endpoint, asked.call.artifact)
        if pool is None:
            return None
        outcomes, accepted = self._records(endpoint, asked.call, asked, asked.jobs)
        if not accepted:
            return Accepting(outcomes, Written.at_once())
        _, written = self.queueing.accept(accepted, pool)
        self._tell_short(short, accepted[0][0])
        return Accepting(outcomes, written)

    def is_new(self, endpoint_id: str, key: str) -> bool:
        """Whether no job has been submitted with this key, and none is being accepted."""
        return self._under_way.get(endpoint_id, key) is None and self._store.job_by_key(endpoint_id, key) is None

    def _known(self, endpoint_id: str, key: str, client: str | None) -> "JobRecord | asyncio.Future[Outcomes] | None":
        """The job that was submitted with this key, or what will have it; None: it comes for the first time."""
        pending = self._under_way.get(endpoint_id, key)
        if pending is not None:
            return pending
        known = self._store.job_by_key(endpoint_id, key)
        if known is None:
            return None
        if not self._store.is_written(known):
            return asyncio.ensure_future(self._once_written(self._store.next_commit, known, key, client))
        return self._again(known, client)

    async def _once_written(self, written: Saved, job_id: str, key: str, client: str | None) -> Outcomes:
        await written
        return {key: self._again(job_id, client)}

    async def repeated(self, endpoint_id: str, key: str, client: str | None) -> JobRecord | None:
        """The job that was submitted with this key, its end told once more; None: it comes for the first time.

        Raises what refuses it, where it comes just now.
        """
        known = self._known(endpoint_id, key, client)
        found = None if known is None else await outcome_of(known, key)
        if isinstance(found, Exception):
            raise found
        return found

    async def go_on(
        self, endpoint: EndpointRecord, job_id: str, asked: Batch, lost: ErrorInfo | None
    ) -> JobRecord | Exception:
        """Accept a call whose first attempt was cut off with its worker; `lost` says how, None: with a control plane.

        It goes on as its retries allow. Raises as `submit` does.
        """
        ((key, _),) = asked.jobs
        outcomes = await self._under_way.together(endpoint.id, [key], self._go_on(endpoint, job_id, asked, lost))
        return outcomes[key]

    async def _go_on(self, endpoint: EndpointRecord, job_id: str, asked: Batch, lost: ErrorInfo | None) -> Outcomes:
        ((key, arguments),) = asked.jobs
        self._open(endpoint)
        call = asked.call.with_arguments(arguments)
        record, now = self.record(endpoint, job_id, call, asked.policy, asked.client, key), time.time()
        cut_off, memory = lifecycle.cut_off_at_start(record, call, lost, now), self._dispatcher.memory
        if cut_off.status.final:
            with contextlib.suppress(ContentNotFound):  # of a control plane that has gone
                memory.keep(call, job_id)
            try:
                await self.queueing.end([cut_off])
            finally:
                memory.ended(cut_off)
        else:
            await self._admitted(endpoint, asked.call)
            memory.keep(call, job_id)
            await self.queueing.bring([(cut_off, call)])
        return {key: cut_off}

    async def _accept_alone(self, endpoint: EndpointRecord, asked: Submission) -> Outcomes:
        assert asked.key is not None
        return {asked.key: await self._accept(endpoint, asked)}

    async def _accept_many(
        self, endpoint: EndpointRecord, asked: Batch, jobs: Sequence[tuple[str, Payload]]
    ) -> Outcomes:
        short = self._open(endpoint)
        if endpoint.runs_command:
            raise Problem(
                422,
                f"endpoint {endpoint.name!r} runs a command, which takes plain input and no calls; post it to /run",
                code=ConfigError.__name__,
            )
        template = asked.call
        if endpoint.artifact is None:
            template = await self._admitted(endpoint, template)
        outcomes, accepted = self._records(endpoint, template, asked, jobs)
        if accepted:
            await self.queueing.bring(accepted)
            self._tell_short(short, accepted[0][0])
        return outcomes

    def _records(
        self, endpoint: EndpointRecord, template: Call, asked: Batch, jobs: Sequence[tuple[str, Payload]]
    ) -> tuple[dict[str, JobRecord | Exception], list[tuple[JobRecord, Call]]]:
        """What becomes of the jobs of a batch, by their keys; and those that can be accepted, with their calls."""
        outcomes: dict[str, JobRecord | Exception] = {}
        accepted: list[tuple[JobRecord, Call]] = []
        first, now = self._first(endpoint, template, asked), time.time()
        for key, arguments in jobs:
            if key in outcomes:  # twice in one frame: once is enough
                continue
            try:
                call = self._call_of(endpoint, template.with_arguments(arguments))
                record = first.changed(id=f"{ordered_uuid()}-u1", input=call, created_at=now, idempotency_key=key)
                if call.arguments.range is not None:
                    self._dispatcher.memory.keep(call, record.id)
            except (FlashError, WireError, Problem) as error:
                outcomes[key] = error
                continue
            outcomes[key] = record
            accepted.append((record, call))
        return outcomes, accepted

    def _first(self, endpoint: EndpointRecord, template: Call, asked: Batch) -> JobRecord:
        """What the jobs of a batch have in common; most batches have it in common with the one before."""
        known = self._firsts.get((endpoint.id, asked.client))
        if known is not None and known[0] is endpoint and known[1] is asked.policy:
            return known[2]
        record = self.record(endpoint, "", template, asked.policy, asked.client)
        if len(self._firsts) >= _FIRSTS_KEPT:
            self._firsts.clear()
        self._firsts[endpoint.id, asked.client] = (endpoint, asked.policy, record)
        return record

    def _call_of(self, endpoint: EndpointRecord, call: Call) -> Call:
        """A call of a batch, where it is one that is taken. Raises PayloadTooLarge, and as `_call_input` does."""
        if call.arguments.size > INLINE_LIMIT and call.arguments.inline is not None:
            raise PayloadTooLarge(
                f"the arguments have {call.arguments.size} bytes; above {INLINE_LIMIT} they are put under "
                "/flash/v1/values first"
            )
        if call.arguments.name is not None:
            self._dispatcher.pools.check_content(call)
        if endpoint.artifact is None:
            return call
        found = self.call_input(endpoint, call)
        assert isinstance(found, Call)
        return found

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
        short = self._open(endpoint)
        call = None if endpoint.runs_command else await self._admitted(endpoint, asked.input)
        job_input = asked.input if call is None else call
        if call is not None:
            self._dispatcher.memory.keep(call, asked.job_id)
        record = self.record(endpoint, asked.job_id, job_input, asked.policy, asked.client, asked.key)
        await self.queueing.bring([(record, call)])
        self._tell_short(short, record)
        return record

    def _open(self, endpoint: EndpointRecord) -> str:
        """What is short on the disk, if anything. Raises StoreFull, Problem: nothing can be accepted there."""
        short = self.admit()
        if endpoint.is_load_balanced:
            raise Problem(400, "not allowed for LB API: this endpoint answers HTTP requests and takes no jobs")
        return short

    async def _admitted(self, endpoint: EndpointRecord, job_input: Mapping[str, Any] | Call) -> Call:
        """The call that an input asks for; what it carried is stored. Raises as `submit` does."""
        call = await self.unload(self.call_input(endpoint, job_input))
        self._check(endpoint, call)
        return call

    def _check(self, endpoint: EndpointRecord, call: Call) -> None:
        """Raise ContentNotFound, NotPortable where a call cannot be taken."""
        self._dispatcher.pools.check_content(call)
        if self._dispatcher.pools.manifest(call.artifact).entry is None and not self.takes_pickles(endpoint):
            raise NotPortable("the code is a pickle, and this server loads none of yours; set FLASH_ENCODING=neutral")

    def record(
        self,
        endpoint: EndpointRecord,
        job_id: str,
        job_input: Mapping[str, Any] | Call,
        policy: Policy,
        client: str | None,
        key: str | None = None,
    ) -> JobRecord:
        """The record of a job that has just come."""
        return JobRecord(
            job_id,
            endpoint.id,
            job_input,
            time.time(),
            idempotency_key=key,
            client=client,
            timeout_ms=int(endpoint.body.get("timeout") or 0) if policy.timeout_ms is None else policy.timeout_ms,
            low_priority=policy.low_priority,
            webhook=policy.webhook,
            sealed=None if policy.s3_config is None else self.seal(policy.s3_config),
            **self._terms.limits(policy, own=client is not None),
        )

    def _tell_short(self, short: str, record: JobRecord) -> None:
        """Tell the job's client what is short on the disk, if anything."""
        job = self._dispatcher.unfinished(record.id) if short else None
        if record.client is not None and job is not None:
            self._announcer.notice_to(record.client, job.pool, "disk", short)

    def call_input(self, endpoint: EndpointRecord, given: Mapping[str, Any] | Call) -> Mapping[str, Any] | Call:
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
        await self.queueing.bring([(reopened, call)], known=True)
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
            await self.queueing.bring([(recovered, call)], known=recovered is record)
        except (WireError, ContentNotFound, EndpointNotFound) as error:
            lost = ErrorInfo(ErrorKind.PLATFORM, type(error).__name__, f"the job cannot go on after a restart: {error}")
            await self._store.save_job(
                lifecycle.refuse(record, lost, time.time(), plain=call is not None and call.plain)
            )


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
