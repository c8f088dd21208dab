"""What clients say in frames (`wire.calls`), on a socket or over HTTP: calls come in, answers go into an outbox."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final

from runpod_flash.control_plane.api.access import Access, streams_of
from runpod_flash.control_plane.api.borrowing import Borrowing, lent_by
from runpod_flash.control_plane.api.job_body import policy_of
from runpod_flash.control_plane.api.jobs import check_queue
from runpod_flash.control_plane.events import final_event
from runpod_flash.control_plane.groups import Saved
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.loans import Loans
from runpod_flash.control_plane.outbox import Frames
from runpod_flash.control_plane.platform import Platform
from runpod_flash.control_plane.principals import OWNER, Need, Principal
from runpod_flash.control_plane.problems import response_for
from runpod_flash.control_plane.rates import Rates, is_rated
from runpod_flash.control_plane.records import Batch, EndpointRecord, JobRecord, Policy
from runpod_flash.control_plane.views import job_object
from runpod_flash.errors import FlashError
from worker_runtime.wire import calls
from worker_runtime.wire.calls import Buffer, Submit, SubmitReader
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
        self.platform, self.access, self.limits, self.rates = platform, access, limits, rates
        self.check_webhook, self.loans = check_webhook, loans

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
        self._borrowing = Borrowing(shared.loans, shared.access, shared.limits, principal, self.stream)
        self._under_way: set[asyncio.Task[None]] = set()
        self._written: Saved | None = None  # what was asked for last

    def take(self, header: Header, body: Buffer) -> None:
        """Do what a frame asks for; those of a type that is not known are left alone.

        Raises:
            WireError, VersionMismatch: it is none of this protocol.
        """
        kind = header.get("type")
        if kind == calls.SUBMIT:
            self._submit(self._reader.read(header, body))
        elif kind == calls.WATCH:
            self._watch(calls.ids_of(header))
        elif kind == calls.CANCEL:
            self._cancel(calls.ids_of(header))
        elif kind == calls.BEGUN:
            self._spawn(self._begun(self._reader.read(header, body), *lent_by(header)))
        elif kind == calls.ASK and not self._borrowing.ask(header, self._reader.read(header, body)):
            self._answers.not_lent()
            self._wake()

    def left(self) -> None:
        """The client's socket is closed."""
        self._borrowing.left()

    async def settled(self) -> None:
        """Wait until all that came was answered."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        if self._written is not None:
            with contextlib.suppress(FlashError):  # the answer says why it was refused
                await self._written

    def _submit(self, asked: Submit) -> None:
        try:
            endpoint, batch = self._batch(asked)
            accepting = None
            if not is_rated(self._shared.limits, self._principal):
                accepting = self._shared.platform.submit_now(endpoint.id, batch)
        except Exception as error:  # noqa: BLE001 - a border: the client must hear of it
            self._answer(asked, [error] * len(asked.jobs))
            return
        if accepting is None:
            self._spawn(self._submit_slowly(asked, endpoint, batch))
        else:
            self._written = accepting.written
            self._written.then(functools.partial(self._written_down, asked, accepting.outcomes))

    def _spawn(self, answering: Coroutine[None, None, None]) -> None:
        work = asyncio.ensure_future(answering)
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)

    async def _begun(self, asked: Submit, loan: str, number: int) -> None:
        outcome: JobRecord | Exception
        try:
            outcome = await self._borrowing.begun(asked, loan, number)
        except Exception as error:  # noqa: BLE001 - a border: the client must hear of it
            outcome = error
        self._answer(asked, [outcome])

    def _written_down(
        self, asked: Submit, outcomes: Mapping[str, JobRecord | Exception], error: Exception | None
    ) -> None:
        self._answer(asked, [outcomes[key] if error is None else error for key, _ in asked.jobs])

    async def _submit_slowly(self, asked: Submit, endpoint: EndpointRecord, batch: Batch) -> None:
        """Where more has to be waited for than the commit."""
        outcomes: Sequence[JobRecord | Exception]
        try:
            outcomes = await self._accepted(asked, endpoint, batch)
        except Exception as error:  # noqa: BLE001 - a border: the client must hear of it
            outcomes = [error] * len(asked.jobs)
        self._answer(asked, outcomes)

    def _answer(self, asked: Submit, outcomes: Sequence[JobRecord | Exception]) -> None:
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

    def _batch(self, asked: Submit) -> tuple[EndpointRecord, Batch]:
        shared = self._shared
        endpoint = shared.access.endpoint_of(self._principal, Need.RUN, asked.endpoint)
        policy = _USUAL
        if asked.options:
            policy = policy_of(asked.options, sync=False, own=not endpoint.runs_command)
            if policy.webhook is not None:
                shared.check_webhook(policy.webhook)
        return endpoint, Batch(asked.call, asked.jobs, policy, self.stream, asked.fresh)

    async def _accepted(self, asked: Submit, endpoint: EndpointRecord, batch: Batch) -> Sequence[JobRecord | Exception]:
        shared = self._shared
        check_queue(shared.platform, shared.limits, self._principal, endpoint)
        running = len(shared.platform.workers(endpoint.id)) if shared.limits.per_worker else 0
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
