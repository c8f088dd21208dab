"""One call for each input, several at a time: `f.map(xs)` and `f.starmap(pairs)`.

    inputs ── pulled when there is room ──▶ running calls ──▶ done ── in order ──▶ ready ──▶ the reader

At most `concurrency` calls run. Results that wait for their reader count like running calls, so that a slow reader
holds back the inputs; only while the reader itself waits, for an early result that is late, others go on meanwhile.
"""

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from runpod_flash.calls import Request, Ticket
from runpod_flash.errors import CallError
from runpod_flash.generators import for_value
from runpod_flash.inputs import END, Open, Raised, Source, Together, opener
from runpod_flash.spec import EndpointSpec
from runpod_flash.wording import refusal

if TYPE_CHECKING:
    from runpod_flash.session import Session

R = TypeVar("R")

LEAST_CONCURRENCY = 64
"""Calls under way at least, where the user names no number: hides the way there and back of quick ones."""

_FOR_EACH_SLOT = 4  # calls that wait, run or are done for each that the workers can run at a time

Make = Callable[[Any], Request]
"""Makes the request of an input. Raises CallError."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a `map` does: how many calls at a time, in which order results come, and what a failing call does."""

    concurrency: int
    ordered: bool = True
    return_exceptions: bool = False


@dataclass(frozen=True, slots=True)
class _Result:
    """What the reader gets."""

    value: Any


@dataclass(slots=True)
class _Call:
    task: "asyncio.Task[Any]"
    tickets: list[Ticket] = field(default_factory=list)
    cancelled: bool = False

    def cancel(self) -> None:
        """Cancel it, once: a second time would cut off what tells the platform."""
        if not self.cancelled:
            self.cancelled = True
            self.task.cancel()


class Flow:
    """The calls of one `map`, on one event loop. From other threads only `take` and `end` may be used.

    Attributes:
        end: why nothing more will become ready, once that is so: the exception to raise, or None where all is done.
        settled: whether nothing runs any more.
    """

    def __init__(self, source: Source, make: Make, session: "Session", plan: Plan) -> None:
        self._source, self._make, self._session, self._plan = source, make, session, plan
        self.end: tuple[BaseException | None] | None = None
        self.settled = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._running: dict[int, _Call] = {}
        self._done: dict[int, _Result] = {}  # behind one that still runs
        self._ready: deque[_Result] = deque()
        self._next = 0  # the number of the result that becomes ready next, in order
        self._limit: tuple[int, BaseException | None] | None = None  # what comes there ends it
        self._reader_waits = False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    @property
    def tickets(self) -> list[Ticket]:
        """The jobs that run."""
        return [ticket for call in list(self._running.values()) for ticket in call.tickets]

    def take(self) -> _Result | None:
        """The next result, None where none is ready. From any thread."""
        try:
            result = self._ready.popleft()
        except IndexError:
            return None
        if self.loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nothing runs any more
                self.loop.call_soon_threadsafe(self._room.set)
        return result

    async def wait(self) -> None:
        """Wait until something is ready or all has ended. Cancelling this cancels what runs."""
        if self._feeder is None and self.end is None:
            self.loop = asyncio.get_running_loop()
            self._feeder = self.loop.create_task(self._feed())
        self._reader_waits = True
        self._room.set()
        try:
            while not self._ready and self.end is None:
                self._news.clear()
                await self._news.wait()
            if self.end is not None and not self._ready:
                await self.close()  # what was cancelled is gone before the reader goes on
        except asyncio.CancelledError:
            await self.close()
            raise
        finally:
            self._reader_waits = False

    def stop(self) -> None:
        """Cancel what runs, without waiting for that."""
        self._finish(None)
        self._ready.clear()

    async def close(self) -> None:
        """Cancel what runs and wait until the platform knows, for as long as a cancelled call waits for it."""
        self.stop()
        tasks = [call.task for call in self._running.values()]
        tasks += [self._feeder] if self._feeder is not None else []
        if tasks:
            await asyncio.wait(tasks)
        self.settled = True

    # --- inputs become calls

    async def _feed(self) -> None:
        number = 0
        while True:
            while not self._has_room():
                self._room.clear()
                await self._room.wait()
            item = await self._source.next()
            if item is END or isinstance(item, Raised):
                break
            self._start(number, item)
            number += 1
        if isinstance(item, Raised):
            self._finish(item.error)
        else:
            self._stop_at(number, None)

    def _has_room(self) -> bool:
        running, most = len(self._running), self._plan.concurrency
        waiting = len(self._ready) + len(self._done)
        return running < most and (
            running + waiting < most or (self._reader_waits and not self._ready and waiting < most)
        )

    def _start(self, number: int, item: Any) -> None:
        tickets: list[Ticket] = []
        task = asyncio.get_running_loop().create_task(self._call(item, tickets))
        self._running[number] = _Call(task, tickets)
        task.add_done_callback(lambda done: self._ended(number, done))

    async def _call(self, item: Any, tickets: list[Ticket]) -> Any:
        return await self._session.call(self._make(item), tickets)

    # --- calls become results

    def _ended(self, number: int, task: "asyncio.Task[Any]") -> None:
        del self._running[number]
        self._room.set()
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.end is not None or (self._limit is not None and number > self._limit[0]):
            return
        if error is None:
            self._succeeded(number, _Result(task.result()))
        elif self._plan.return_exceptions and isinstance(error, Exception):
            self._succeeded(number, _Result(error))
        else:
            self._failed(number, error)

    def _succeeded(self, number: int, result: _Result) -> None:
        if not self._plan.ordered:
            self._ready.append(result)
        else:
            self._done[number] = result
        self._advance()

    def _failed(self, number: int, error: BaseException) -> None:
        """What comes after it is of no use any more; what comes before still counts."""
        if not self._plan.ordered:
            self._finish(error)
            return
        for later in [each for each in self._running if each > number]:
            self._running[later].cancel()
        self._stop_at(number, error)

    def _stop_at(self, number: int, error: BaseException | None) -> None:
        if self._limit is None or number < self._limit[0]:
            self._limit = number, error
        self._stop_feeding()
        self._advance()

    def _advance(self) -> None:
        while self._next in self._done:
            self._ready.append(self._done.pop(self._next))
            self._next += 1
        if self._limit is not None:
            number, error = self._limit
            if self._next == number if self._plan.ordered else not self._running:
                self._finish(error)
        self._news.set()

    def _finish(self, error: BaseException | None) -> None:
        """Nothing becomes ready after this; what still runs is cancelled."""
        if self.end is not None:
            return
        self.end = (error,)
        for call in self._running.values():
            call.cancel()
        self._stop_feeding()
        self._done.clear()
        self._news.set()

    def _stop_feeding(self) -> None:
        self._source.stop()
        if self._feeder is not None and self._feeder is not asyncio.current_task():
            self._feeder.cancel()


class Mapped(Generic[R]):
    """The results of `f.map(…)` and `f.starmap(…)`, as they come. Nothing is sent before the first is asked for.

        async for result in f.map(xs): ...       for result in f.map(xs): ...        # blocking code
        results = await f.map(xs)                results = list(f.map(xs))

    Read once, by one reader. Who stops early (`break`, an exception, a cancelled task, Ctrl-C) cancels the calls that
    run, and only those; `async with f.map(xs) as results:` and `close` say when. A call that fails raises at its place,
    and the calls after it are cancelled; so does an input iterable that raises, after the results that are there.
    """

    def __init__(self, source: Open, make: Make, session: "Session", plan: Plan, shown: str) -> None:
        self._open, self._make, self._session, self._plan, self._shown = source, make, session, plan, shown
        self._name = shown.rpartition(".")[0]
        self._flow: Flow | None = None
        self._blocking = False
        self._closed = False
        self._drop: weakref.finalize[..., Any] | None = None

    def __aiter__(self) -> "Mapped[R]":
        return self

    async def __anext__(self) -> R:
        flow = self._begun(blocking=False)
        while flow is not None:
            result, over = self._look(flow)
            if result is not None:
                value: R = result.value
                return value
            if over:
                break
            await flow.wait()
        raise StopAsyncIteration

    def __iter__(self) -> "Mapped[R]":
        return self

    def __next__(self) -> R:
        flow = self._begun(blocking=True)
        while flow is not None:
            result, over = self._look(flow)
            if result is not None:
                value: R = result.value
                return value
            if over:
                break
            self._session.block(flow.wait(), lambda: flow.tickets, self._name)
        raise StopIteration

    def _look(self, flow: Flow) -> "tuple[_Result | None, bool]":
        """The next result, if it is there, and whether no more will come. Raises what ended it."""
        end, result = flow.end, flow.take()  # in this order: before the end is set, all has become ready
        if result is not None or end is None or not flow.settled:
            return result, False
        self._tell(end[0])
        return None, True

    def __await__(self) -> Generator[Any, None, list[R]]:
        return self._all().__await__()

    async def _all(self) -> list[R]:
        async with self:
            return [result async for result in self]

    def close(self) -> None:
        """Cancel the calls that run. Blocking code waits until the platform knows; async code has `aclose`."""
        self._closed = True
        if self._flow is None or self._drop is None:
            return
        if self._blocking:
            self._session.run(self._flow.close())
        self._drop()

    async def aclose(self) -> None:
        """Cancel the calls that run and wait until the platform knows."""
        self._closed = True
        if self._flow is not None and not self._blocking:
            await self._flow.close()

    def __enter__(self) -> "Mapped[R]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> "Mapped[R]":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _begun(self, *, blocking: bool) -> Flow | None:
        """The flow, begun by the first question; None once it was closed, or has told its end."""
        if self._closed:
            return None
        if self._flow is None:
            self._blocking = blocking
            self._flow = Flow(self._open(blocking), self._make, self._session, self._plan)
            self._drop = weakref.finalize(self, _forget, self._flow)
            self._drop.atexit = False  # the end of the loop, or of the bridge, cancels what runs
        if self._blocking is not blocking:
            one, other = ("for", "async for") if self._blocking else ("async for", "for")
            raise CallError(
                f"the results of {self._shown} are read with `{one}` already; go on with that, not `{other}`"
            )
        return self._flow

    def _tell(self, error: BaseException | None) -> None:
        self._closed = True
        if error is not None:
            raise error

    def __repr__(self) -> str:
        return f"<results of {self._shown}>"


class Callee(Protocol):
    """What is called for each input: a remote function or method."""

    __name__: str

    def _request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Request: ...


def map_over(
    callee: Callee, iterables: Sequence[Any], session: "Session", spec: EndpointSpec, **how: Any
) -> Mapped[Any]:
    """What `callee.map(*iterables)` gives: the call gets one item of each, as with the built-in `map`.

    Raises:
        CallError: there is no iterable, or one argument of each does not fit the signature; nothing was sent.
        ConfigError: an option is wrong.
    """
    shown = f"{callee.__name__}.map"
    if not iterables:
        raise CallError(f"{shown}() needs an iterable of inputs; nothing was sent")
    openers = [opener(iterable, shown) for iterable in iterables]
    for_value(callee._request((None,) * len(iterables), {}))

    def together(blocking: bool) -> Source:
        return Together([open_it(blocking) for open_it in openers])

    return Mapped(together, lambda args: for_value(callee._request(args, {})), session, _plan(spec, **how), shown)


def map_over_tuples(callee: Callee, tuples: Any, session: "Session", spec: EndpointSpec, **how: Any) -> Mapped[Any]:
    """What `callee.starmap(tuples)` gives: each item holds the arguments of a call. Raises as `map_over`."""
    shown = f"{callee.__name__}.starmap"

    def make(item: Any) -> Request:
        if not isinstance(item, Iterable) or isinstance(item, str | bytes):
            raise CallError(
                f"{shown}() was given the input {item!r:.80}; each must be a tuple of arguments: ({item!r:.40},)"
            )
        return for_value(callee._request(tuple(item), {}))

    return Mapped(opener(tuples, shown), make, session, _plan(spec, **how), shown)


def _plan(spec: EndpointSpec, *, concurrency: int | None, ordered: bool, return_exceptions: bool) -> Plan:
    if concurrency is None:
        slots = max(spec.workers_max, 1) * spec.concurrency
        return Plan(max(LEAST_CONCURRENCY, _FOR_EACH_SLOT * slots), ordered, return_exceptions)
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise refusal("concurrency", concurrency, "a whole number of 1 or more, or None")
    return Plan(concurrency, ordered, return_exceptions)


def _forget(flow: Flow) -> None:
    """Nobody reads any more."""
    if flow.loop is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nothing runs any more
            flow.loop.call_soon_threadsafe(flow.stop)
