"""The items of a generator that runs on a worker, as they come, for async and for blocking code."""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from runpod_flash import outcome
from runpod_flash.calls import Request, Ticket
from runpod_flash.errors import CallError, FlashError

if TYPE_CHECKING:
    from runpod_flash.session import Session

X = TypeVar("X")

CANCEL_S = 2.0
"""How long who stops reading waits for the platform to take the cancellation, in seconds."""

_END: Any = object()


class Stream(Generic[X]):
    """What `g.stream(…)` and `job.stream()` give. Goes once, for one reader; nothing is sent before the first item.

        async for item in g.stream(x): ...        for item in g.stream(x): ...        # blocking code

    An exception of the generator is raised after the items before it. Who stops early (`break`, an exception, a
    cancelled task, Ctrl-C) stops the generator on its worker, which runs its `finally` blocks; `async with g.stream(x)
    as items:` and `aclose` do it at once, where a name still holds the stream. To stop reading `job.stream()` leaves
    the job alone.
    """

    def __init__(
        self,
        submit: Callable[[], Awaitable[Ticket]],
        session: "Session",
        name: str,
        *,
        owns: bool,
        on_end: Callable[[Mapping[str, Any]], None] = lambda job: None,
    ) -> None:
        """`owns`: the job is this reader's own, and ends with it. `on_end` gets the job when it has ended."""
        self._on_end = on_end
        self._submit, self._session, self._name, self._owns = submit, session, name, owns
        self._items: AsyncGenerator[Any, None] | None = None
        self._ticket: Ticket | None = None
        self._blocking: bool | None = None
        self._ended = self._asking = False
        self._drop: weakref.finalize[..., Any] | None = None

    def __aiter__(self) -> "Stream[X]":
        return self

    async def __anext__(self) -> X:
        self._read_by(blocking=False)
        item = await self._next()
        if item is _END:
            raise StopAsyncIteration
        return cast(X, item)

    def __iter__(self) -> "Stream[X]":
        return self

    def __next__(self) -> X:
        self._read_by(blocking=True)
        try:
            item = _END if self._ended else self._session.run(self._next())
        except KeyboardInterrupt:
            self.close()
            raise
        if item is _END:
            raise StopIteration
        return cast(X, item)

    def close(self) -> None:
        """End reading, and the job where it is this reader's own. For blocking code."""
        if self._blocking is not False:
            self._session.run(self.aclose())

    async def aclose(self) -> None:
        """End reading, and the job where it is this reader's own; the platform is told before this returns."""
        ticket, owns = self._ticket, not self._ended and self._owns
        self._end()
        if self._items is not None and not self._asking:
            await self._items.aclose()
        if ticket is not None and owns:
            await self._cancel(ticket)

    def __enter__(self) -> "Stream[X]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "Stream[X]":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _read_by(self, *, blocking: bool) -> None:
        if self._blocking is None:
            self._blocking = blocking
        if self._blocking is not blocking:
            one, other = ("for", "async for") if self._blocking else ("async for", "for")
            raise CallError(f"{self._name} is read with `{one}` already; go on with that, not with `{other}`")

    async def _next(self) -> Any:
        if self._ended:
            return _END
        try:
            ticket, items = await self._begun()
            item = await self._ask(items)
        except BaseException:  # cancelled, or what was read could not be: nobody reads on
            if not self._ended:
                await self.aclose()
            raise
        if item is _END:
            self._end()
            await self._conclude(ticket)
        return item

    async def _conclude(self, ticket: Ticket) -> None:
        """The last item was read: raise the failure of the job, if it failed."""
        job = await self._session.wait(ticket)
        self._on_end(job)
        if not outcome.succeeded(job):
            await self._session.value(ticket, job)

    async def _ask(self, items: AsyncGenerator[Any, None]) -> Any:
        self._asking = True
        try:
            return await anext(items, _END)
        finally:
            self._asking = False

    async def _begun(self) -> tuple[Ticket, AsyncGenerator[Any, None]]:
        if self._ticket is None or self._items is None:
            self._ticket = ticket = await self._submit()
            self._items = _items(ticket, self._session)
            if self._owns:
                job = ticket.endpoint_id, ticket.job_id
                self._drop = weakref.finalize(self, self._session.objects.cancel_later, job)
                self._drop.atexit = False  # the session does it, for all at once
        return self._ticket, self._items

    async def _cancel(self, ticket: Ticket) -> None:
        with contextlib.suppress(FlashError, TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await self._session.objects.cancel((ticket.endpoint_id, ticket.job_id))

    def _end(self) -> None:
        self._ended = True
        if self._drop is not None:
            self._drop.detach()

    def __repr__(self) -> str:
        return f"<{self._name}>"


async def _items(ticket: Ticket, session: "Session") -> AsyncGenerator[Any, None]:
    """What a job yields, as it comes, until it has ended, well or not."""
    backend, endpoint_id = await session.located(ticket)
    facts, names = outcome.Facts(ticket.job_id, ticket.name), session.names
    async with contextlib.aclosing(backend.chunks(endpoint_id, ticket.job_id)) as chunks:
        async for chunk in chunks:
            yield await outcome.item_of(chunk, facts, backend.fetch, names)


def of_call(request: Request, session: "Session") -> Stream[Any]:
    """The items of a call that is still to be made."""
    return Stream(lambda: session.submit(request), session, f"stream of {request.shown}", owns=True)


def of_job(ticket: Ticket, session: "Session", on_end: Callable[[Mapping[str, Any]], None]) -> Stream[Any]:
    """The items of a job that was submitted before; `on_end` gets it when it has ended."""

    async def known() -> Ticket:
        return ticket

    return Stream(known, session, f"stream of job {ticket.job_id}", owns=False, on_end=on_end)
