"""The handle of a submitted job: ask for its state, wait, fetch its result, cancel it."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from runpod_flash import outcome
from runpod_flash.calls import Ticket
from runpod_flash.errors import FlashError, WaitTimedOut

if TYPE_CHECKING:
    from runpod_flash.session import Session

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")
J = TypeVar("J", bound="EndpointJob[Any]")


class Dual(Generic[P, V]):
    """A method for both worlds: calling it where an event loop runs in this thread gives a coroutine, elsewhere blocks.

    `method.blocking(…)` and `method.aio(…)` say which one is meant.
    """

    def __init__(self, make: Callable[P, Coroutine[Any, Any, V]], run: Callable[[Coroutine[Any, Any, V]], V]) -> None:
        self._make, self._run = make, run

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The value, or where an event loop runs in this thread, a coroutine that gives it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.blocking(*args, **kwargs)
        return self.aio(*args, **kwargs)

    def blocking(self, *args: P.args, **kwargs: P.kwargs) -> V:
        """Block until the value is there."""
        return self._run(self._make(*args, **kwargs))

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, V]:
        """A coroutine that gives the value."""
        return self._make(*args, **kwargs)


class dual(Generic[J, P, V]):
    """Makes an async method of `EndpointJob` a `Dual`."""

    def __init__(self, method: Callable[Concatenate[J, P], Coroutine[Any, Any, V]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, job: None, owner: Any) -> "dual[J, P, V]": ...
    @overload
    def __get__(self, job: J, owner: Any) -> Dual[P, V]: ...
    def __get__(self, job: J | None, owner: Any) -> "dual[J, P, V] | Dual[P, V]":
        if job is None:
            return self
        return Dual(functools.partial(self._method, job), job._session.run)


class EndpointJob(Generic[R]):
    """A submitted job. It lives on the platform: it goes on when this handle is gone.

    `status`, `cause`, `wait`, `result`, `cancel` and `logs` block, but where an event loop runs in this thread they
    give a coroutine to be awaited; `job.result.blocking()` and `job.result.aio()` are unambiguous. The properties tell
    what was last seen.
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
        """
        await self._ended(timeout, decode=False)
        self._value = await self._session.value(self._ticket, self._seen)
        return cast(R, self._value)

    @dual
    async def cancel(self) -> "EndpointJob[R]":
        """Cancel the job; one that has ended stays as it is."""
        await self._session.cancel(self._ticket)
        await self._see(await self._session.status(self._ticket))
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
        if decode and outcome.succeeded(job) and self._value is None:
            self._value = await self._session.value(self._ticket, job)

    def __repr__(self) -> str:
        return f"EndpointJob(id={self.id!r}, status={self._seen.get('status')!r})"


def recovery(name: str, session: "Session") -> Dual[[], list[EndpointJob[Any]]]:
    """Gives the handles of the jobs that were submitted to the endpoint of this name: see `Session.submitted`."""

    async def recover() -> list[EndpointJob[Any]]:
        return [EndpointJob(ticket, session) for ticket in await session.submitted(name)]

    return Dual(recover, session.run)
