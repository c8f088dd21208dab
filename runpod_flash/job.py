"""The handle of a submitted job: ask for its state, wait, fetch its result, cancel it."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from runpod_flash import outcome, streams
from runpod_flash.calls import Ticket
from runpod_flash.duals import Dual, dual
from runpod_flash.errors import CallError, FlashError, WaitTimedOut
from runpod_flash.streams import Stream
from worker_runtime.wire.jobs import Progress

if TYPE_CHECKING:
    from runpod_flash.session import Session

R = TypeVar("R")


class EndpointJob(Generic[R]):
    """A submitted job. It lives on the platform: it goes on when this handle is gone.

    `status`, `cause`, `wait`, `result`, `cancel`, `retry` and `logs` block, but where an event loop runs in this thread
    they give a coroutine to be awaited; `job.result.blocking()` and `job.result.aio()` are unambiguous. `stream()` is
    for both kinds of `for`. The properties tell what was last seen.
    """

    def __init__(self, ticket: Ticket, session: "Session") -> None:
        self._ticket = ticket
        self._session = session
        self._seen: Mapping[str, Any] = {"id": ticket.job_id, "status": "IN_QUEUE"}
        self._value: R | None = None

    @property
    def id(self) -> str:
        """The job's id; `FUNCTION.job(id)` makes another handle from it."""
        return self._ticket.job_id

    @property
    def done(self) -> bool:
        """Whether the job was seen to have ended."""
        return outcome.is_final(self._seen)

    @property
    def output(self) -> R | None:
        """The value, once the job was seen to be completed; else None."""
        return self._value

    @property
    def error(self) -> str | None:
        """Why the job failed, once it was seen to have; else None."""
        error = self._seen.get("error")
        return None if error is None else str(error)

    @property
    def progress(self) -> Progress | None:
        """How far the function said to be, with `runpod_flash.progress`, when the job was last seen running."""
        return outcome.progress_of(self._seen)

    @dual
    async def status(self) -> str:
        """Ask for the state: IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED, CANCELLED or TIMED_OUT."""
        await self._see(await self._session.status(self._ticket))
        return str(self._seen.get("status", "UNKNOWN"))

    @dual
    async def cause(self) -> str | None:
        """Why the job waits, or could never run, in the platform's words; None where it runs or has run.

        Raises:
            BackendError: the platform does not say so.
        """
        cause = (await self._session.facts(self.id)).get("cause")
        return None if cause is None else str(cause["text"])

    @dual
    async def wait(self, timeout: float | None = None) -> "EndpointJob[R]":
        """Wait until the job has ended, well or not, for at most `timeout` seconds.

        Raises:
            WaitTimedOut: it has not; the job lives on.
        """
        await self._ended(timeout)
        return self

    @dual
    async def result(self, timeout: float | None = None) -> R:
        """The value of the job, waited for at most `timeout` seconds; if it failed, its exception is raised.

        Raises:
            WaitTimedOut: it has not ended; the job lives on.
            JobError: see `errors`; or the function's own exception.
            CallError: it is the call of a generator, which has items and no value.
        """
        if self._ticket.stream:
            raise CallError(f"job {self.id} of endpoint '{self._ticket.name}' is a stream; {outcome.READ_IT}")
        await self._ended(timeout, decode=False)
        self._value = await self._session.value(self._ticket, self._seen)
        return cast(R, self._value)

    def stream(self) -> Stream[Any]:
        """What the job yields, as it comes: for `async for`, or `for` in blocking code. See `Stream`.

        Each item is given to one reader. To stop reading leaves the job alone; but a generator that nobody reads waits,
        and in the end its job is given up. After the last item the job was seen to have ended.

        Raises:
            JobNotFound: there is no such job.
            JobError: the job did not end well; the items before came. See `result` for what else is raised.
        """
        return streams.of_job(self._ticket, self._session, self._end_seen)

    def _end_seen(self, job: Mapping[str, Any]) -> None:
        self._seen = job

    @dual
    async def cancel(self) -> "EndpointJob[R]":
        """Cancel the job; one that has ended stays as it is."""
        await self._session.cancel(self._ticket)
        await self._see(await self._session.status(self._ticket))
        return self

    @dual
    async def retry(self) -> "EndpointJob[R]":
        """Queue the job once more, with the same id and input; what was seen of its end is forgotten.

        Raises:
            ConfigError: it has neither failed nor timed out.
            JobNotFound: the platform has it no more.
        """
        self._seen = {"id": self.id, **await self._session.retry(self._ticket)}
        self._value = None
        return self

    @dual
    async def logs(self) -> list[str]:
        """What the job has written so far, line by line, as far as the platform still has it."""
        return await self._session.logs(self._ticket)

    async def _ended(self, timeout: float | None, *, decode: bool = True) -> None:
        if self.done:
            return
        try:
            async with asyncio.timeout(timeout):
                job = await self._session.wait(self._ticket)
        except TimeoutError as error:
            if isinstance(error, FlashError):
                raise
            raise WaitTimedOut(
                f"job {self.id} of endpoint '{self._ticket.name}' has not ended after {timeout} s; it lives on"
            ) from None
        await self._see(job, decode=decode)

    async def _see(self, job: Mapping[str, Any], *, decode: bool = True) -> None:
        self._seen = job
        if decode and outcome.has_value(job) and self._value is None:
            self._value = await self._session.value(self._ticket, job)

    def __repr__(self) -> str:
        return f"EndpointJob(id={self.id!r}, status={self._seen.get('status')!r})"


async def seen(ticket: Ticket, session: "Session", job: Mapping[str, Any]) -> EndpointJob[Any]:
    """The handle of a job that the platform has just described."""
    handle: EndpointJob[Any] = EndpointJob(ticket, session)
    await handle._see(job)
    return handle


def recovery(name: str, session: "Session") -> Dual[[], list[EndpointJob[Any]]]:
    """Gives the handles of the jobs that were submitted to the endpoint of this name: see `Session.submitted`."""

    async def recover() -> list[EndpointJob[Any]]:
        return [EndpointJob(ticket, session) for ticket in await session.submitted(name)]

    return Dual(recover, session.run)
