"""A client's calls in frames (`wire.calls`), over whatever way there is: many in one frame, and so their results.

    submit ─▶ leaving ── end of the turn, or enough ──▶ noted ▶ frames ▶ the way ──▶ accepted ──▶ ended ─▶ the caller
                                                        lost: the way comes again, and what was submitted is
                                                        submitted once more under its keys, what was accepted watched

Belongs to one event loop. A call is one future, which knows what it needs to be sent once more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from runpod_flash.backends.borrowed import Memory
from runpod_flash.backends.direct import Direct
from runpod_flash.backends.events import FinalJobs, Json
from runpod_flash.backends.patience import Busy, Patience, is_busy, retry_after
from runpod_flash.backends.waiting import InRoom, Kind, Notes, Waiting, begun_frame, job_of
from runpod_flash.calls import Ticket
from runpod_flash.errors import BackendUnavailable, FlashError, JobNotFound
from runpod_flash.output import Output
from worker_runtime.wire import calls, direct
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.frames import Header
from worker_runtime.wire.ids import ordered_hex
from worker_runtime.wire.jobs import Payload

_LOOK_S: Final = 0.1  # a call that takes less shows no progress anyway
_FIRST_AT_ONCE, _MOST_AT_ONCE = 8, 256  # calls of one turn that leave before it is over: workers begin meanwhile
_ASK_AGAIN_S: Final = 30.0  # calls whose end should have been told are watched once more


Ready = Callable[[], Awaitable[None]]


class Way(Protocol):
    """How frames get to the platform."""

    def submit(self, kind: "Kind", some: "Sequence[Waiting]", *, fresh: bool) -> None:
        """Send calls of one kind. `fresh`: they were never sent before."""

    def write(self, pieces: list[Buffer]) -> None:
        """Send frames that are made already."""

    def tell(self, header: Header) -> None:
        """Send something else."""

    @property
    def lends(self) -> bool:
        """Whether workers can be asked for."""


class Conversation:
    """See the module. `ready` makes the way where there is none, and raises a FlashError where there can be none.

    `on_event` gets what the platform tells of stages, output and notices, `others` jobs that are only submitted here.

    Attributes:
        unsent: called with arguments in shared memory that the platform did not accept.
        taken: called with results in shared memory that were read before the platform told of them.
    """

    def __init__(
        self,
        ready: Ready,
        refusal: Callable[[Json], FlashError],
        on_event: Callable[[Json], None],
        others: FinalJobs,
        output: Output,
        platform: Callable[[], str] = lambda: "the platform",
        *,
        directly: bool = False,
        memory: Memory | None = None,
    ) -> None:
        """`refusal`: the error that a problem document means. `platform`: what messages call it.

        `directly`: calls may go straight to workers, where the platform lends some. `memory`: what is shared with it.
        """
        self._directly, self._memory = directly, memory
        self._direct: Direct | None = None
        self._platform = platform
        self._ready, self._refusal, self._on_event, self._others, self._output = (
            ready,
            refusal,
            on_event,
            others,
            output,
        )
        self.unsent: Callable[[Payload], None] = lambda payload: None
        self.taken: Callable[[Payload], None] = lambda payload: None
        self._read: dict[str, Buffer] = {}  # results, by key, of which the platform will tell: it needs them until then
        self._loop = asyncio.get_running_loop()
        self._way: Way | None = None
        self._ways = 0  # how many there were
        self._calls: dict[str, Waiting] = {}  # under way, by key
        self._kinds: set[Kind] = set()  # of those
        self._leaving: list[Waiting] = []
        self._turns, self._enough = False, _FIRST_AT_ONCE
        self._cancelled: list[str] = []  # ids, to be told in this turn
        self._recovery: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._next_watch = 0.0
        self._patience: dict[str, Patience] = {}  # of calls that a busy platform has refused, by key
        self._closed = False

    # --- calls go out

    def submit(
        self,
        kind: Kind,
        arguments: Payload,
        tickets: list[Ticket] | None = None,
        *,
        key: str = "",
        again: bool = False,
        submits_only: bool = False,
    ) -> Waiting:
        """Submit a call with others of this turn of the loop. `again`: its key was sent before.

        Cancelling the future leaves the job alone: see `give_up`. `submits_only`: see `Waiting`.
        """
        waiting = Waiting(kind, key or ordered_hex(), arguments, tickets, self._loop)
        waiting.submits_only = submits_only
        alone = not self._calls
        self._calls[waiting.key] = waiting
        if not kind.waiting:
            self._kinds.add(kind)
        kind.waiting += 1
        if self._looking is None:
            self._look_later()
        if self._direct is not None and self._direct.takes(waiting, alone=alone and not again):
            if kind.notes is not None:
                kind.notes.leaving([waiting.key])
            self._direct.run(waiting)
            return waiting
        if again:
            if kind.notes is not None:
                kind.notes.leaving([waiting.key])
            self._send([waiting], fresh=False)
            return waiting
        if alone and self._way is not None and not self._leaving:
            self._send([waiting], fresh=True)
            return waiting
        if not self._turns:
            self._turns = True
            self._loop.call_soon(self._turn_over)
        self._leaving.append(waiting)
        if len(self._leaving) >= self._enough:
            self._enough = min(4 * self._enough, _MOST_AT_ONCE)
            self._flush()
        return waiting

    async def give_up(self, waiting: Waiting) -> None:
        """Cancel a call that nobody waits for any more, and wait until it has ended; the caller limits that."""
        if waiting.key not in self._calls:
            return
        if waiting.given_up is None:
            waiting.given_up = self._loop.create_future()
            if waiting.job_id is not None:
                self._cancel(waiting.job_id)
            elif self._direct is not None:
                self._direct.give_up(waiting)
        await asyncio.shield(waiting.given_up)

    async def quiet(self) -> None:
        """Wait until no call is being cancelled."""
        while ending := [each.given_up for each in self._calls.values() if each.given_up is not None]:
            await asyncio.wait(ending)

    def _turn_over(self) -> None:
        self._turns, self._enough = False, _FIRST_AT_ONCE
        self._flush()

    def _flush(self) -> None:
        leaving, self._leaving = self._leaving, []
        leaving = [each for each in leaving if not self._dropped(each)]
        if leaving:
            self._send(leaving, fresh=True)

    def _dropped(self, waiting: Waiting) -> bool:
        """A call that was cancelled before it left is not sent."""
        if waiting.cancelled():
            self._settle(waiting)
            return True
        return False

    # --- those that a lent worker has

    @property
    def has_worker(self) -> bool:
        """Whether a worker is lent to this client now."""
        return self._direct is not None and self._direct.kind is not None

    def answered(self, waiting: Waiting, value: Buffer) -> None:
        if waiting.is_told and len(value) > direct.LARGE:
            self._read[waiting.key] = value
        self._settle(waiting, InRoom(value) if isinstance(value, memoryview) else value)

    def usual(self, waiting: Waiting) -> None:
        self._send([waiting], fresh=True, noted=True)

    def tell_begun(self, waiting: Waiting) -> None:
        if self._way is not None:
            self._way.write(begun_frame(waiting))

    def ask(self, kind: Kind, fields: dict[str, str]) -> None:
        if self._way is not None:
            self._way.write(kind.pattern.ask(fields))

    def _send(self, some: Sequence[Waiting], *, fresh: bool, noted: bool = False) -> None:
        """`fresh`: the platform was not told of them before. `noted`: nor has that to be noted any more."""
        if not fresh:
            for waiting in [each for each in some if each.loan]:
                waiting.is_told = True
                self.tell_begun(waiting)
            some = [each for each in some if not each.loan]
        for kind, group in _by_kind(some):
            if fresh and not noted and kind.notes is not None:
                kind.notes.leaving([each.key for each in group])
            if self._way is not None:
                self._way.submit(kind, group, fresh=fresh)
        if self._closed:
            self.fail(
                some, BackendUnavailable("this connection was closed with its event loop; call on the running one")
            )
        elif self._way is None:
            self._recover()

    def _cancel(self, job_id: str) -> None:
        if not self._cancelled:
            self._loop.call_soon(self._tell_cancelled)
        self._cancelled.append(job_id)

    def _tell_cancelled(self) -> None:
        cancelled, self._cancelled = self._cancelled, []
        if self._way is not None and cancelled:
            self._way.tell({"type": calls.CANCEL, "jobs": cancelled})

    # --- the way comes and goes

    def up(self, way: Way) -> None:
        """There is a way now: what was submitted is submitted again, what was accepted is watched."""
        self._way = way
        self._ways += 1
        self._direct = Direct(self, self._memory) if self._directly and way.lends else None
        unknown = [each for each in self._calls.values() if each.job_id is None]
        leaving = set(map(id, self._leaving))
        self._send([each for each in unknown if id(each) not in leaving], fresh=False)
        self._watch_all()
        given_up = [each.job_id for each in self._calls.values() if each.given_up is not None and each.job_id]
        for job_id in given_up:
            self._cancel(job_id)

    def down(self) -> None:
        """The way is lost; it is made again where calls are under way."""
        self._way = None
        self._stop_direct()
        self._read.clear()
        if self._calls and not self._closed:
            self._recover()

    def fail(self, some: Iterable[Waiting], error: FlashError) -> None:
        """Calls cannot be brought to the platform."""
        for waiting in some:
            if self._calls.get(waiting.key) is waiting:
                self._settle(waiting, error)

    def close(self) -> None:
        """Nothing will be heard any more."""
        self._closed, self._way = True, None
        self._stop_direct()
        for timer in (self._recovery, self._looking):
            if timer is not None:
                timer.cancel()
        self.fail(list(self._calls.values()), BackendUnavailable("the connection was closed"))

    def _stop_direct(self) -> None:
        ended, self._direct = self._direct, None
        if ended is not None:
            ended.close()

    def _recover(self) -> None:
        if not self._closed and (self._recovery is None or self._recovery.done()):
            self._recovery = self._loop.create_task(self._come_back(), name="flash-recovery")

    async def _come_back(self) -> None:
        try:
            while self._way is None and self._calls:
                before = self._ways
                await self._ready()  # which calls `up`
                if self._ways == before:  # there is another platform now
                    raise BackendUnavailable(f"{self._platform()} takes no calls in frames any more; call again")
        except FlashError as error:
            self.fail(list(self._calls.values()), error)

    # --- answers come in

    def take(self, header: Header, body: Buffer) -> None:
        """Take a frame of the platform; those of a type that is not known are left alone."""
        kind = header.get("type")
        if kind == calls.ENDED:
            self._ended(header["jobs"], body)
        elif kind == calls.EVENTS:
            if self._direct is not None and any(event.get("event") == "log" for event in header["events"]):
                self._direct.wrote()
            for event in header["events"]:
                self._event(event)
        elif kind == calls.ACCEPTED:
            self._accepted(header["jobs"])
        elif kind == calls.REFUSED:
            self._refused(header["keys"], header["problem"], retry_after(header.get("after"), time.time()))
        elif kind == calls.NOT_LENT:
            if self._direct is not None:
                self._direct.refused()
        elif kind == calls.UNKNOWN:
            self._unknown(header["jobs"])

    def _ended(self, jobs: Sequence[Sequence[Any]], body: Buffer) -> None:
        start, whole = 0, len(body)
        self._learn((each[0], each[1]) for each in jobs)
        for entry in jobs:
            key, size = entry[0], entry[2]
            value: Buffer | Payload
            if type(size) is dict:
                value = Payload.from_json(size)
            else:
                value = body if size == whole else body[start : start + size]
                start += size
            waiting = self._calls.get(key)
            if waiting is not None and waiting.loan and self._direct is not None:
                self._direct.hear()  # the worker has answered before it told the control plane, if it has
                waiting = self._calls.get(key)
            if waiting is not None:
                waiting.facts = entry
                self._settle(waiting, value)
                continue
            if self._read.pop(key, None) is not None and isinstance(value, Payload):
                self.taken(value)
            self._others.arrive(job_of(entry, value))

    def _event(self, event: Json) -> None:
        if event.get("event") != "job":
            self._on_event(event)
            return
        job, key = event["job"], event.get("key")
        waiting = self._calls.get(key) if key is not None else None
        if waiting is None:
            self._read.pop(str(key), None)
            self._others.arrive(job)
            return
        self._learn([(waiting.key, str(job.get("id")))])
        self._settle(waiting, job)

    def _accepted(self, jobs: Sequence[Sequence[str]]) -> None:
        self._learn(jobs)
        for key, job_id in jobs:
            waiting = self._calls.get(key)
            if waiting is not None and waiting.submits_only:
                if self._way is not None:
                    self._others.cover(job_id)
                self._settle(waiting)

    def _learn(self, jobs: Iterable[Sequence[str]]) -> None:
        """The platform has these calls under these ids."""
        noted: dict[Notes, list[tuple[str, str]]] = {}
        for key, job_id in jobs:
            waiting = self._calls.get(key)
            if waiting is None or waiting.job_id is not None:
                continue
            waiting.job_id, waiting.arguments = job_id, None
            if waiting.tickets is not None:
                waiting.tickets.append(waiting.ticket)
            if waiting.kind.notes is not None:
                noted.setdefault(waiting.kind.notes, []).append((key, job_id))
            if waiting.given_up is not None:
                self._cancel(job_id)
        for notes, some in noted.items():
            notes.accepted(some)

    def _refused(self, keys: Sequence[str], problem: Json, after_s: float | None) -> None:
        for key in keys:
            self._read.pop(key, None)
        refused = [self._calls[key] for key in keys if key in self._calls]
        status = int(problem.get("status") or 500)
        if refused and is_busy(status, after_s):
            self._wait(refused, Busy(status, after_s, self._platform(), self._refusal(problem)))
        else:
            for waiting in refused:
                self._settle(waiting, self._refusal(problem))

    def _wait(self, refused: Sequence[Waiting], busy: Busy) -> None:
        """Submit calls again when a busy platform says; what has waited too long fails as it was refused."""
        pause = 0.0
        for waiting in refused:
            try:
                pause = max(pause, self._patience.setdefault(waiting.key, Patience()).pause(busy))
            except FlashError as error:
                self._settle(waiting, error)
        self._on_event({"event": "notice", "key": "busy", "message": str(busy)})
        self._loop.call_later(pause, self._send_again, refused)

    def _send_again(self, some: Sequence[Waiting]) -> None:
        left = [each for each in some if self._calls.get(each.key) is each and not self._dropped(each)]
        if left and not self._closed:
            self._send(left, fresh=False)

    def _unknown(self, job_ids: Sequence[str]) -> None:
        gone = set(job_ids)
        for waiting in [each for each in self._calls.values() if each.job_id in gone]:
            message = f"the platform has no job {waiting.job_id}; jobs are kept for a limited time after their end"
            self._settle(waiting, JobNotFound(message))

    def _settle(self, waiting: Waiting, outcome: Any = None) -> None:
        """A call is not under way any more."""
        del self._calls[waiting.key]
        if self._direct is not None:
            self._direct.settled(waiting, good=not isinstance(outcome, dict | FlashError | None))
        if self._patience:
            self._patience.pop(waiting.key, None)
        if waiting.arguments is not None and waiting.arguments.range is not None and not waiting.loan:
            self.unsent(waiting.arguments)
        if waiting.kind.one_less():
            self._kinds.discard(waiting.kind)
        if waiting.given_up is not None and not waiting.given_up.done():
            waiting.given_up.set_result(None)
        if waiting.done():
            return
        if isinstance(outcome, FlashError):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)

    # --- what takes long

    def _look_later(self) -> None:
        self._looking = self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        """Show what waits; from time to time, ask for the ends of calls that others may have been told."""
        self._looking = None
        if not self._calls:
            return
        for kind in list(self._kinds):
            kind.show(self._output)
        now = self._loop.time()
        if now >= self._next_watch:
            if self._next_watch:
                self._watch_all()
            self._next_watch = now + _ASK_AGAIN_S
        self._look_later()

    def _watch_all(self) -> None:
        watched = [each.job_id for each in self._calls.values() if each.job_id is not None]
        for start in range(0, len(watched), calls.AT_ONCE):
            if self._way is not None:
                self._way.tell({"type": calls.WATCH, "jobs": watched[start : start + calls.AT_ONCE]})


def _by_kind(some: Sequence[Waiting]) -> list[tuple[Kind, Sequence[Waiting]]]:
    """Calls by kind, each kind's in their order."""
    if len(some) == 1:
        return [(some[0].kind, some)]
    groups: dict[Kind, list[Waiting]] = {}
    for each in some:
        groups.setdefault(each.kind, []).append(each)
    return list(groups.items())
