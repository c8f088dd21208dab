"""A call under way, what it has in common with others, and the frames that submit it."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from runpod_flash.calls import Ticket
from runpod_flash.output import Output
from worker_runtime.wire import frames
from worker_runtime.wire.calls import Buffer, Pattern
from worker_runtime.wire.frames import Header
from worker_runtime.wire.jobs import Payload, value_output


class Notes(Protocol):
    """Where it is noted what is submitted."""

    def leaving(self, keys: Sequence[str]) -> None:
        """Calls with these keys are about to be submitted."""

    def accepted(self, jobs: Iterable[tuple[str, str]]) -> None:
        """The platform has these calls: key and id of each."""


class Submits(Protocol):
    """Where calls go: a conversation."""

    def submit(
        self,
        kind: "Kind",
        arguments: Payload,
        tickets: list[Ticket] | None = None,
        *,
        key: str = "",
        again: bool = False,
        submits_only: bool = False,
    ) -> "Waiting":
        """Submit a call with all others of this turn of the loop."""
        ...

    async def give_up(self, waiting: "Waiting") -> None:
        """Cancel a call, and wait until it has ended."""


class Kind:
    """What calls of one function have in common here.

    Attributes:
        pattern: what they have in common on their way.
        name: the endpoint's name.
        endpoint_id: its id.
        notes: where they are noted.
        conversation: where they go.
        waiting: how many are under way.
    """

    __slots__ = ("_shown", "conversation", "endpoint_id", "name", "notes", "pattern", "waiting")

    def __init__(self, pattern: Pattern, name: str, notes: Notes | None, conversation: Submits) -> None:
        self.pattern: Pattern = pattern
        self.name: str = name
        self.endpoint_id: str = pattern.endpoint
        self.notes: Notes | None = notes
        self.conversation: Submits = conversation
        self.waiting: int = 0
        self._shown: contextlib.ExitStack | None = None

    def show(self, output: Output) -> None:
        """Some of them have waited for a moment: progress is shown until none is under way."""
        if self.waiting and self._shown is None:
            self._shown = contextlib.ExitStack()
            self._shown.enter_context(output.waiting(self.name))
            output.submitted(self.name)

    def one_less(self) -> bool:
        """One of them has ended. Whether none is under way any more."""
        self.waiting -= 1
        if self.waiting:
            return False
        if self._shown is not None:
            shown, self._shown = self._shown, None
            shown.close()
        return True


class InRoom:
    """A value in a range of this program's, which is used again when nothing refers to the value any more.

    It is taken out once: the loop keeps the future of a call for longer than its caller keeps the value.
    """

    __slots__ = ("_value",)

    def __init__(self, value: memoryview) -> None:
        self._value: memoryview | None = value

    def taken(self) -> memoryview:
        """The value, which from now on only its user keeps."""
        value, self._value = self._value, None
        assert value is not None
        return value


class Waiting(asyncio.Future[Any]):
    """A call under way.

    Its result is the value as bytes, or as a payload that says where they are, or in a room; the job as JSON where that
    gave none; or None: accepted.

    Attributes:
        key: under which it is submitted.
        kind: what it has in common with others.
        arguments: the encoded arguments; None once they were accepted.
        job_id: None until it is accepted.
        tickets: get its ticket when it is.
        facts: of its end: key, id, size, worker, retries (`wire.calls`).
        submits_only: whether being accepted is all that is wanted.
        given_up: resolved when it has ended, where it was cancelled.
        loan: of the lent worker that it was given to, "" where it goes the usual way.
        number: of the call in that loan.
        is_told: the control plane was told of it, where it went there.
        source: gives its arguments anew, where it went there and the control plane may be another one now.
    """

    __slots__ = (
        "arguments", "facts", "given_up", "is_told", "job_id", "key", "kind", "loan", "number", "source",
        "submits_only", "tickets",
    )  # fmt: skip

    def __init__(
        self, kind: Kind, key: str, arguments: Payload, tickets: list[Ticket] | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop=loop)
        self.kind: Kind = kind
        self.key: str = key
        self.tickets: list[Ticket] | None = tickets
        self.arguments: Payload | None = arguments
        self.job_id: str | None = None
        self.facts: Sequence[Any] = ()
        self.submits_only: bool = False
        self.loan: str = ""
        self.number: int = 0
        self.is_told: bool = False
        self.source: Callable[[], Payload] | None = None
        self.given_up: asyncio.Future[None] | None = None

    @property
    def ticket(self) -> Ticket:
        """The job, once it is accepted."""
        assert self.job_id is not None
        call = self.kind.pattern.call
        return Ticket(self.job_id, self.kind.endpoint_id, self.kind.name, call.stream)


def job_of(entry: Sequence[Any], value: Buffer | Payload) -> dict[str, Any]:
    """The job object of an end that frames tell."""
    _, job_id, _, worker, retries, delay, execution = entry
    job = {"id": job_id, "status": "COMPLETED", "delayTime": delay, "executionTime": execution}
    job["output"] = value_output(value if isinstance(value, Payload) else Payload.inlined(bytes(value)))
    if retries:
        job["retries"] = retries
    return {**job, "workerId": worker} if worker is not None else job


def frames_of(kind: Kind, some: Sequence[Waiting], *, fresh: bool) -> list[Buffer]:
    """The frames that submit these calls."""
    sent = [(each.key, each.arguments) for each in some if each.arguments is not None]
    return kind.pattern.frames(sent, fresh=fresh, later=not any(each.submits_only for each in some))


def begun_frame(waiting: Waiting) -> list[Buffer]:
    """The frame that tells of a call which a lent worker was given."""
    assert waiting.arguments is not None
    if waiting.source is not None:
        waiting.arguments = waiting.source()
    return waiting.kind.pattern.begun(waiting.key, waiting.arguments, waiting.loan, waiting.number)


def header_frame(header: Header) -> list[Buffer]:
    """A frame without a body."""
    return frames.encode(header)
