"""What clients say in frames (`wire.calls`), on a socket or over HTTP: calls come in, answers go into an outbox."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from runpod_flash.control_plane.api.access import Access, streams_of
from runpod_flash.control_plane.api.job_body import policy_of
from runpod_flash.control_plane.api.jobs import check_queue
from runpod_flash.control_plane.events import final_event
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.loans import Loans, wanted_of
from runpod_flash.control_plane.outbox import Frames
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import OWNER, Need, Principal
from runpod_flash.control_plane.problems import Problem, response_for
from runpod_flash.control_plane.rates import Rates, is_rated
from runpod_flash.control_plane.records import Batch, JobRecord, Policy
from runpod_flash.control_plane.views import job_object
from runpod_flash.errors import EndpointNotFound
from worker_runtime.wire import calls
from worker_runtime.wire.calls import Buffer, Submit, SubmitReader
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import require
from worker_runtime.wire.frames import Header

BODY_LIMIT: Final = 64 * 1024**2
"""The largest body of a frame, in bytes."""

_USUAL: Final = Policy()


class Conversations:
    """What all conversations share: the platform, and who may do what there.

    `check_webhook` refuses the URLs that no job may call. `loans`: who lends workers, if anybody does.
    """

    def __init__(
        self,
        platform: Platform,
        access: Access,
        limits: Limits,
        rates: Rates,
        check_webhook: Callable[[str], None] = lambda url: None,
        loans: Loans | None = None,
    ) -> None:
        self.loans = loans
        self.platform, self.access, self.limits, self.rates = platform, access, limits, rates
        self.check_webhook = check_webhook

    def begin(self, principal: Principal, client: str, answers: Frames, wake: Callable[[], None]) -> "Conversation":
        """A conversation of this principal's client. `wake` is called whenever `answers` has got one."""
        return Conversation(self, principal, client, answers, wake)


class Conversation:
    """One client's conversation. Each frame is taken at once; what it causes may take a while.

    Attributes:
        stream: the event stream that hears of its calls.
    """

    def __init__(
        self, shared: Conversations, principal: Principal, client: str, answers: Frames, wake: Callable[[], None]
    ) -> None:
        self._shared, self._principal, self._answers, self._wake = shared, principal, answers, wake
        self.stream = client if principal.user == OWNER else streams_of(principal.user) + client
        self._sees = shared.access.seen_by(principal)
        self._reader = SubmitReader()
        self._under_way: set[asyncio.Task[None]] = set()

    def take(self, header: Header, body: Buffer) -> None:
        """Do what a frame asks for; those of a type that is not known are left alone.

        Raises:
            WireError, VersionMismatch: it is none of this protocol.
        """
        kind = header.get("type")
        if kind == calls.SUBMIT:
            self._spawn(self._submit(self._reader.read(header, body)))
        elif kind == calls.BEGUN:
            self._spawn(self._begun(self._reader.read(header, body), *lent_by(header)))
        elif kind == calls.ASK:
            self._ask(header, self._reader.read(header, body))
        elif kind == calls.WATCH:
            self._watch(calls.ids_of(header))
        elif kind == calls.CANCEL:
            self._cancel(calls.ids_of(header))

    def _spawn(self, answering: Coroutine[Any, Any, None]) -> None:
        work = asyncio.ensure_future(answering)
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Wait until all that came was answered."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _submit(self, asked: Submit) -> None:
        outcomes: Sequence[JobRecord | Exception]
        try:
            outcomes = await self._accepted(asked)
        except Exception as error:  # noqa: BLE001 - a border: the client must hear of it
            outcomes = [error] * len(asked.jobs)
        accepted, refused = list[tuple[str, str]](), dict[int, tuple[Exception, list[str]]]()
        for (key, _), outcome in zip(asked.jobs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                refused.setdefault(id(outcome), (outcome, []))[1].append(key)
            else:
                accepted.append((key, outcome.id))
        if accepted:
            self._answers.accepted(accepted, later=asked.later)
        for why, keys in refused.values():
            response = response_for(why)
            self._answers.refused(keys, bytes(response.body), response.headers.get("Retry-After"))
        self._wake()

    async def _begun(self, asked: Submit, loan: str, number: int) -> None:
        ((key, _),) = asked.jobs
        try:
            shared = self._shared
            endpoint = shared.access.endpoint_of(self._principal, Need.RUN, asked.endpoint)
            if shared.loans is None:
                raise Problem(400, "this control plane lends no workers")
            record = await shared.loans.begun(self._batch(asked, _USUAL), endpoint, loan, number)
            self._answers.accepted([(key, record.id)])
        except Exception as error:  # noqa: BLE001 - a border: the client must hear of it
            response = response_for(error)
            self._answers.refused([key], bytes(response.body), response.headers.get("Retry-After"))
        self._wake()

    def _ask(self, header: Header, asked: Submit) -> None:
        """Lend a worker to the owner's client, where that can be."""
        shared, who, is_lent = self._shared, self._principal, False
        if shared.loans is not None and who.is_admin and not is_rated(shared.limits, who) and not asked.options:
            with contextlib.suppress(EndpointNotFound, Problem):
                endpoint = shared.access.endpoint_of(who, Need.RUN, asked.endpoint)
                is_lent = shared.loans.lend(wanted_of(header, endpoint, asked.call, self.stream))
        if not is_lent:
            self._answers.not_lent()
            self._wake()

    def _batch(self, asked: Submit, policy: Policy) -> Batch:
        return Batch(asked.call, asked.jobs, policy, self.stream, asked.fresh)

    async def _accepted(self, asked: Submit) -> Sequence[JobRecord | Exception]:
        shared = self._shared
        endpoint = shared.access.endpoint_of(self._principal, Need.RUN, asked.endpoint)
        policy = _USUAL
        if asked.options:
            policy = policy_of(asked.options, sync=False, own=not endpoint.runs_command)
            if policy.webhook is not None:
                shared.check_webhook(policy.webhook)
        check_queue(shared.platform, shared.limits, self._principal, endpoint)
        running = len(shared.platform.workers(endpoint.id)) if shared.limits.per_worker else 0
        batch = self._batch(asked, policy)
        with shared.rates.enter(self._principal, endpoint.id, "run", running, requests=len(asked.jobs)):
            return await shared.platform.submit_many(endpoint.id, batch)

    def _watch(self, job_ids: Sequence[str]) -> None:
        self._shared.access.check(self._principal, Need.RUN)
        watched = self._shared.platform.watch(self.stream, job_ids, self._sees)
        for record in watched.final:
            self._answers.ended(record, functools.partial(final_event, record, job_object))
        self._answers.unknown(watched.unknown)
        self._wake()

    def _cancel(self, job_ids: Sequence[str]) -> None:
        self._shared.access.check(self._principal, Need.RUN)
        self._answers.unknown(self._shared.platform.call_off(job_ids, self._sees))
        self._wake()


def lent_by(header: Header) -> tuple[str, int]:
    """The loan of a call that was given to a worker, and its number there. Raises WireError."""
    jobs, number = require(header, "jobs", list), require(header, "number", int)
    if len(jobs) != 1:
        raise WireError(f"a frame of type {calls.BEGUN!r} has {len(jobs)} jobs; it must have one")
    return require(header, "loan", str), number
