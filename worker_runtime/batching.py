"""Dynamic batching: calls of different callers become one call of a function that takes lists and gives one.

    join ──▶ forming ── full, or max_wait_ms after its first call ──▶ due ── a turn is free ──▶ running ──▶ outcomes

It is due, too, when the worker has as many calls as it takes, so that no other can come.
A batch that is due and waits for its turn takes more calls until it is full. Who leaves is answered at once, and the
function goes on for the others; it is stopped when all have left.
"""

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

from worker_runtime.execute import Execution, Group, Outcome
from worker_runtime.failures import Failed
from worker_runtime.interrupts import Cancelled, Interrupts, Key, PoolThread
from worker_runtime.wire.batch import Batch
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind

_KEY: Final[Key] = ("batch", 0)  # each batch has interrupts of its own

Ended = Sequence[Outcome]
"""The outcomes of a batch, in the order of its calls."""

Inputs = Sequence[tuple[Execution, tuple[Any, ...]]]
"""The calls of a batch with their arguments."""


@dataclass(eq=False, slots=True)
class Member:
    """A call that waits for its batch. `begin` is called when that starts; False: the call shall not run any more."""

    execution: Execution
    begin: Callable[[], bool]
    outcome: "asyncio.Future[Outcome | None]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def give(self, outcome: Outcome | None) -> None:
        """Answer it, unless it has left."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Batches:
    """Forms and runs batches, on one event loop; plain functions run in threads of `pool`."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._forming: dict[Group, _Running] = {}
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._present: dict[str, int] = {}
        self._batches: dict[Member, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, limits: Batch, at_once: int, member: Member) -> Outcome | None:
        """Run a call in a batch with others of its group. None: it did not begin.

        Of the batches of an artifact, `at_once` run at a time. Cancelling this leaves the batch.
        """
        artifact = member.execution.group[0]
        self._present[artifact] = self._present.get(artifact, 0) + 1
        try:
            self._join(limits, at_once, member)
            if self._present[artifact] >= at_once * limits.max_size:
                self._go(artifact)  # no other can come before one of those that are here has ended
            return await member.outcome
        except asyncio.CancelledError:
            self.leave(member)
            raise
        finally:
            self._batches.pop(member, None)
            self._present[artifact] -= 1

    def leave(self, member: Member) -> None:
        """The call is not wanted any more: it ends as cancelled, at once."""
        batch = self._batches.get(member)
        if batch is not None:
            batch.leave(member)

    def _join(self, limits: Batch, at_once: int, member: Member) -> None:
        group = member.execution.group
        batch = self._forming.get(group)
        if batch is None:
            batch = self._forming[group] = _Running()
            turns = self._turns.setdefault(group[0], asyncio.Semaphore(at_once))
            task = asyncio.get_running_loop().create_task(self._serve(group, limits, turns, batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        batch.members.append(member)
        self._batches[member] = batch
        if len(batch.members) >= limits.max_size:
            del self._forming[group]
            batch.due.set()

    def _go(self, artifact: str) -> None:
        for group, batch in self._forming.items():
            if group[0] == artifact:
                batch.due.set()

    async def _serve(self, group: Group, limits: Batch, turns: asyncio.Semaphore, batch: "_Running") -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.max_wait_ms / 1000):
                await batch.due.wait()
        async with turns:
            if self._forming.get(group) is batch:
                del self._forming[group]
            await batch.run(self._pool)


class _Running:
    """One batch."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.due = asyncio.Event()
        self._started = False
        self._interrupts = Interrupts()

    def leave(self, member: Member) -> None:
        member.give(member.execution.failed(Cancelled()))
        if not self._started:
            self.members.remove(member)
        elif all(each.outcome.done() for each in self.members):
            self._interrupts.cancel(_KEY)

    async def run(self, pool: Executor) -> None:
        """Run it, and answer each of its calls."""
        self._started = True
        self._interrupts.add(_KEY)
        self._interrupts.begin(_KEY)
        try:
            await self._run(pool)
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever
            for member in self.members:
                member.give(member.execution.failed(error))
        finally:
            self._interrupts.end(_KEY)

    async def _run(self, pool: Executor) -> None:
        for member in [member for member in self.members if not member.begin()]:
            self.members.remove(member)
            member.give(None)
        inputs = [(member, arguments) for member in self.members if (arguments := _arguments(member)) is not None]
        if inputs:
            ended = await self._ended(pool, [(member.execution, arguments) for member, arguments in inputs])
            for (member, _), outcome in zip(inputs, ended, strict=True):
                member.give(outcome)

    async def _ended(self, pool: Executor, inputs: Inputs) -> Ended:
        loop = asyncio.get_running_loop()
        call = _Call(inputs)
        try:
            if call.load():
                return await self._as_task(call.run_async())
            context = contextvars.copy_context()
            ended = await loop.run_in_executor(pool, context.run, self._in_thread, call)
            return await self._as_task(ended) if isinstance(ended, Coroutine) else ended
        except (Failed, Cancelled) as error:
            return call.failed(error)

    async def _as_task(self, work: Coroutine[Any, Any, Ended]) -> Ended:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        try:
            self._interrupts.arm(_KEY, stop)
            return await task
        except asyncio.CancelledError:
            raise Cancelled from None
        finally:
            task.cancel()
            self._interrupts.disarm(_KEY)

    def _in_thread(self, call: "_Call") -> Ended | Coroutine[Any, Any, Ended]:
        thread = PoolThread()
        try:
            self._interrupts.arm(_KEY, thread.stop)
            try:
                return call.run()
            finally:  # an interrupt that arrives here is caught below
                self._interrupts.disarm(_KEY)
                thread.clear()
        except KeyboardInterrupt as error:
            self._interrupts.disarm(_KEY)
            return call.failed(error)


class _Call:
    """The one call that a batch is: lists in, a list out."""

    def __init__(self, inputs: Inputs) -> None:
        self._calls = [execution for execution, _ in inputs]
        self._first = self._calls[0]
        self._columns = [list(column) for column in zip(*(arguments for _, arguments in inputs), strict=True)]

    def load(self) -> bool:
        """See `Execution.load`."""
        return self._first.load()

    def run(self) -> Ended | Coroutine[Any, Any, Ended]:
        """Call it in this thread. A plain function that gives a coroutine: the rest, to be awaited."""
        try:
            value = self._first.function()(*self._columns)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, sys.exit included
            return self.failed(error)
        return self._awaited(value) if inspect.iscoroutine(value) else self._spread(value)

    async def run_async(self) -> Ended:
        """Call it on the running loop."""
        try:
            function = await self._first.function_async()
        except BaseException as error:  # noqa: BLE001 - the constructor of the user's class runs there
            return self.failed(error)
        return await self._awaited(function(*self._columns))

    async def _awaited(self, rest: Any) -> Ended:
        try:
            value = await rest
        except BaseException as error:  # noqa: BLE001 - user code may raise anything, sys.exit included
            return self.failed(error)
        return self._spread(value)

    def failed(self, error: BaseException) -> Ended:
        """All of them fail with this."""
        return [call.failed(error) for call in self._calls]

    def _spread(self, value: Any) -> Ended:
        if not isinstance(value, list | tuple):
            return self._refused(f"gave {type(value).__name__}; it must give a list with one result for each call")
        if len(value) != len(self._calls):
            return self._refused(
                f"gave {len(value)} results for {len(self._calls)} calls; it must give a list with one result for each"
            )
        return [
            call.failed(result) if isinstance(result, BaseException) else call.encode(result)
            for call, result in zip(self._calls, value, strict=True)
        ]

    def _refused(self, what: str) -> Ended:
        message = f"the batched function '{self._first.name}' {what}"
        return [Outcome(error=ErrorInfo(ErrorKind.USER, "BatchError", message))] * len(self._calls)


def _arguments(member: Member) -> tuple[Any, ...] | None:
    """The values of a call; None where they cannot be read, and the call is answered."""
    try:
        args, _ = member.execution.arguments()  # the caller has put those by name at their places
    except Failed as failed:
        member.give(Outcome(error=failed.info))
        return None
    return args
