"""Workers that are lent: a client gives one its calls directly, one at a time, and the control plane hears of them.

    a client asks ─▶ lent ── recorded: calls that were answered become jobs that have ended
                       │  └─ begun: a call that takes long becomes a job that runs, as any other
                       ▼
      somebody else needs the worker, or it shall end ─▶ ending ── loan_over ─▶ the pool's own again

While it is lent the dispatcher gives it nothing. See decision 26.
"""

import asyncio
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from runpod_flash.control_plane import lifecycle
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.crashes import Crashes
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Job, Loan, Pool, Worker, WorkerState
from runpod_flash.control_plane.intake import Intake
from runpod_flash.control_plane.principals import OWNER
from runpod_flash.control_plane.records import Batch, EndpointRecord, JobRecord, Policy
from runpod_flash.control_plane.shared_values import Memory
from runpod_flash.control_plane.store import Store, StoreError, StoreFull
from worker_runtime.wire import direct, messages
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import require
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.jobs import Call, ErrorInfo, ErrorKind, JobStatus, Payload
from worker_runtime.wire.ranges import Range

logger = logging.getLogger(__name__)

KEPT: Final = 1024
"""Loans that are over and are remembered, for clients that have not heard of it."""


LATE_S: Final = 5.0
"""Seconds in which a worker says that its loan is over, or what it runs."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for: a worker for calls like this one, the last of which was `job`, and how to reach it.

    `memory`: what its shared memory is called; "": it has none.
    """

    endpoint: EndpointRecord
    call: Call
    client: str
    job: str
    address: str
    token: str = field(repr=False)
    answer: str = field(repr=False)
    memory: str = ""


class Loans:
    """All of them.

    Attributes:
        worker_of: finds a worker that lives by its id.
        on_use: called with the id of each endpoint whose worker was called.
    """

    def __init__(self, dispatcher: Dispatcher, intake: Intake, store: Store, catalog: Catalog) -> None:
        self._dispatcher, self._intake, self._store, self._catalog = dispatcher, intake, store, catalog
        self._known: OrderedDict[str, Loan] = OrderedDict()
        self._out: dict[Loan, asyncio.Future[None]] = {}
        self._held = False
        self.worker_of: Callable[[str], Worker | None] = lambda worker_id: None
        self.on_use: Callable[[str], None] = lambda endpoint: None

    # ---- from lend to its end

    def lend(self, wanted: Wanted) -> bool:
        """Lend the worker that ran the client's last call, where that can be; whether it is done."""
        last = self._store.job(wanted.job)
        worker = None if last is None or last.worker is None else self.worker_of(last.worker)
        if worker is None or self._held or not may_lend(wanted, worker):
            return False
        call, client = wanted.call, wanted.client
        template = self._intake.record(wanted.endpoint, "", call, Policy(), client)
        shares = self._dispatcher.memory.borrowed(worker.id, wanted.memory)
        memory = wanted.memory if shares else ""
        loan = worker.loan = Loan(secrets.token_hex(8), worker, call, template, memory)
        worker.pool.lent[worker] = None
        self._known[loan.id] = loan
        self._out[loan] = asyncio.get_running_loop().create_future()
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        self._dispatcher.free(worker)
        assert worker.link is not None
        told = {"type": messages.LEND, "loan": loan.id, "worker": worker.id, "memory": shares}
        told["call"] = direct.head_of(call)
        worker.link.send({**told, "address": wanted.address, "token": wanted.token, "answer": wanted.answer})
        return True

    def wanted(self, pool: Pool) -> None:
        """Somebody waits for a worker of this pool."""
        for worker in list(pool.lent):
            self.end(worker)

    def end(self, worker: Worker, late: Callable[[Worker], None] | None = None) -> None:
        """Ask for a worker's loan to end, if it is lent. What has begun goes on.

        `late` is called where it is not over after `LATE_S`, and runs nothing that is known.
        """
        loan = worker.loan
        if loan is not None and late is not None:
            asyncio.get_running_loop().call_later(LATE_S, self._late, loan, late)
        if loan is not None and not loan.is_ending and worker.link is not None:
            loan.is_ending = True
            worker.link.send({"type": messages.END_LOAN, "loan": loan.id})

    def _late(self, loan: Loan, late: Callable[[Worker], None]) -> None:
        if loan in self._out and not loan.worker.running:
            late(loan.worker)

    def left(self, client: str) -> None:
        """A client has gone: what it has given a worker is to be known now."""
        for loan in [loan for loan in self._out if loan.template.client == client]:
            loan.is_left = True
            self.end(loan.worker)

    def hold(self) -> None:
        """Lend nothing any more, and end all."""
        self._held = True
        for loan in list(self._out):
            self.end(loan.worker)

    @property
    def out(self) -> "list[asyncio.Future[None]]":
        """What resolves when each of those that are lent is the pool's own again."""
        return list(self._out.values())

    def lost(self, worker: Worker, message: str) -> None:
        """A worker has gone; what it was lent for is over."""
        loan = worker.loan
        if loan is not None:
            loan.lost = message
            self._over(loan)

    def _over(self, loan: Loan) -> None:
        worker = loan.worker
        worker.loan = None
        worker.pool.lent.pop(worker, None)
        over = self._out.pop(loan, None)
        if loan.memory:
            self._dispatcher.memory.returned_from(loan.memory)
        if over is not None:
            over.set_result(None)

    # ---- what workers say

    def heard(self, worker: Worker, header: Header, body: Body) -> None:
        """Take a frame about a loan; one that is over is heard no more. Raises WireError, KeyError and others."""
        loan = worker.loan
        if loan is None or header["loan"] != loan.id:
            return
        if self._catalog.owner(loan.template.endpoint) is None and header["type"] != messages.LOAN_OVER:
            return
        match header["type"]:
            case messages.RECORDED:
                self._recorded(loan, header["calls"], body)
            case messages.BEGUN:
                place = header.get("range")
                arguments = Payload.inlined(bytes(body)) if place is None else Payload.in_range(Range.parse(place))
                self._has_begun(loan, header["number"], header["key"], arguments)
            case _:
                if loan.is_left or header.get("gone"):
                    self._unread(loan, header.get("unread"))
                self._is_over(loan, header["last"])

    def _recorded(self, loan: Loan, calls: list[list[Any]], body: Body) -> None:
        worker, saved, values = loan.worker, None, _Values(self._dispatcher.memory, bytes(body))
        for number, key, taken, given, begun_at, took_us in calls:
            os.sched_yield()  # the call that is under way may need this processor
            arguments, value = values.next(taken), values.next(given)
            worker.pool.pace.took(took_us / 1e6)
            job_id = direct.job_of(key)
            # one that was cancelled may have ended already, and holds the worker until this is heard
            if job_id in worker.running or self._dispatcher.unfinished(job_id) is not None:
                self._answered(worker, job_id, value.inline if isinstance(given, int) else Range.parse(given))
                continue
            if self._store.recent(job_id) is not None:
                continue
            ended = loan.template.changed(
                id=job_id, input=loan.call.with_arguments(arguments), idempotency_key=key,
                created_at=begun_at, started_at=begun_at, finished_at=begun_at + took_us / 1e6, attempts=1,
                status=JobStatus.COMPLETED, output=value, worker=worker.id,
            )  # fmt: skip
            if value.range is not None:
                loan.result = number, Range.parse(given), Range.parse(value.range)
            saved = self._store.save_job(ended, is_first=True)
        if saved is not None:  # of one turn, so that one commit writes all
            saved.then(partial(self._written, worker))
        worker.idle_since = time.monotonic()
        worker.pool.crashes = Crashes()
        self.on_use(loan.template.endpoint)
        try:
            self._intake.admit()
        except StoreFull:  # nothing new is accepted any more, so that the next call hears why
            self.end(worker)

    def _answered(self, worker: Worker, job_id: str, value: bytes | Range | None) -> None:
        """A call was answered that is known already."""
        if isinstance(value, Range):
            self._dispatcher.memory.filled(worker.id, value)
        self._dispatcher.finished(worker, job_id, 1, None, value or b"")

    def _unread(self, loan: Loan, number: int | None) -> None:
        """The client may have ended before it has read the result of its last call."""
        if loan.result is not None and loan.result[0] == number:
            self._dispatcher.memory.inherit(loan.memory, *loan.result[1:])

    def _written(self, worker: Worker, error: StoreError | None) -> None:
        if error is not None:  # its caller has the result; the next call hears what is wrong
            logger.error("calls that worker %s has answered cannot be written: %s", worker.id, error)
            self.end(worker)

    def _has_begun(self, loan: Loan, number: int, key: str, arguments: Payload) -> None:
        job_id = direct.job_of(key)
        if self._dispatcher.unfinished(job_id) is None and self._store.recent(job_id) is None:
            job = self._run(loan, number, key, loan.call.with_arguments(arguments))
            self._dispatcher.recorder.start(job, job.record, lambda written: None)

    def _is_over(self, loan: Loan, last: int) -> None:
        loan.last, worker = last, loan.worker
        self._over(loan)
        never = [(job.record.id, 1) for number, job in loan.jobs.items() if number > last]
        self._dispatcher.free(worker)
        self._dispatcher.given_back(worker, never)

    # ---- what clients say

    async def begun(self, asked: Batch, endpoint: EndpointRecord, loan_id: str, number: int) -> JobRecord:
        """A client has given a call to a lent worker, and has heard nothing since: the job that it is, on disk.

        Raises as `Intake.submit_many` does.
        """
        ((key, arguments),) = asked.jobs
        job_id = direct.job_of(key)
        known = await self._intake.repeated(endpoint.id, key, asked.client)
        if known is not None:
            return known
        loan, call = self._known.get(loan_id), asked.call.with_arguments(arguments)
        if loan is not None and loan.worker.loan is loan:
            job = self._run(loan, number, key, call)
            self._tell(loan, number, job)
            return await self._started(job)
        if loan is not None and loan.last is not None and number > loan.last:
            (found,) = await self._intake.submit_many(endpoint.id, asked)
        else:
            lost = None if loan is None else ErrorInfo(ErrorKind.WORKER_LOST, "WorkerLost", loan.lost)
            found = await self._intake.go_on(endpoint, job_id, asked, lost)
        if isinstance(found, Exception):
            raise found
        return found

    def _run(self, loan: Loan, number: int, key: str, call: Call) -> Job:
        """The job that a lent worker runs already. Raises ContentNotFound."""
        now, worker, memory = time.time(), loan.worker, self._dispatcher.memory
        memory.keep(call, direct.job_of(key))
        record = loan.template.changed(id=direct.job_of(key), input=call, idempotency_key=key, created_at=now)
        job = self._dispatcher.take_running(lifecycle.start(record, worker.id, now), call, worker)
        for name in call.values:
            memory.lend(worker.id, name)
        loan.jobs = {number: job, **{n: each for n, each in loan.jobs.items() if each.record.id in worker.running}}
        return job

    @staticmethod
    def _tell(loan: Loan, number: int, job: Job) -> None:
        link = loan.worker.link
        if link is not None:
            link.send({"type": messages.BEGUN, "loan": loan.id, "number": number, "job": job.record.id, "attempt": 1})

    async def _started(self, job: Job) -> JobRecord:
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._dispatcher.recorder.start(
            job, job.record, lambda good: None if written.done() else written.set_result(good)
        )
        if not await written:  # it runs all the same; its end is written when there is room
            return await asyncio.shield(job.done)
        return job.record


def may_lend(wanted: Wanted, worker: Worker) -> bool:
    """Whether this worker can take calls like that one from its client alone, and nobody else misses it."""
    pool, endpoint = worker.pool, wanted.endpoint
    is_free = worker.state is WorkerState.READY and worker.idle and worker.loan is None and worker.link is not None
    is_ours = pool.code is not None and pool.key.endpoint == endpoint.id and pool.key.concurrency == 1
    if not (is_free and is_ours) or worker.generation != endpoint.generation or worker.port or pool.has_work:
        return False
    if endpoint.owner != OWNER:
        return False
    bound = endpoint.artifact is not None or endpoint.runs_command or bool(endpoint.body.get("timeout"))
    return not bound and direct.is_plain_call(wanted.call) and wanted.call.artifact in worker.artifacts


def wanted_of(header: Mapping[str, Any], endpoint: EndpointRecord, call: Call, client: str) -> Wanted:
    """Read a client's question. Raises WireError."""
    texts = {name: header.get(name) for name in ("job", "address", "token", "answer")}
    for name, text in texts.items():
        if not isinstance(text, str) or not 1 <= len(text) <= 100 or not text.isascii():
            raise WireError(f"field {name!r} is {text!r:.80}; it must be 1 to 100 ASCII characters")
    memory = require(header, "memory", str, default="")
    return Wanted(endpoint, call, client, **texts, memory=memory)  # type: ignore[arg-type]  # they are texts


class _Values:
    """What was recorded of calls, one after the other."""

    def __init__(self, memory: Memory, data: bytes) -> None:
        self._memory, self._data, self._start = memory, data, 0

    def next(self, place: int | str) -> Payload:
        """So many bytes; or what lay in a range, which is somebody else's by now. Raises WireError."""
        if isinstance(place, str):
            return Payload.in_range(self._memory.unnamed(place))
        start, self._start = self._start, self._start + place
        return Payload.inlined(self._data[start : self._start])
