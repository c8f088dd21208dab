"""How the child runs several calls at a time: coroutines as tasks of one loop, plain functions in a pool.

A thread of its own reads frames, so that a cancel is heard while user code runs. One call at a time: see `serial`.
"""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from worker_runtime import instances
from worker_runtime.batching import Batches, Member
from worker_runtime.channel import Channel
from worker_runtime.execute import Artifacts, Execution, Outcome
from worker_runtime.failures import Failed, describe
from worker_runtime.instances import Instances
from worker_runtime.interrupts import Cancelled, Interrupts, Key, PoolThread
from worker_runtime.outlets import Outlet, Outlets
from worker_runtime.shared import SharedMemory
from worker_runtime.streaming import Sink
from worker_runtime.wire import messages
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.jobs import Call, Instance, Payload
from worker_runtime.wire.ranges import Range
from worker_runtime.wire.specs import ArtifactManifest

logger = logging.getLogger("worker_runtime")


class _Inbox:
    """Reads frames in a thread of its own. What must not wait is done there; the rest goes to `deliver`."""

    def __init__(self, channel: Channel, artifacts: Artifacts, interrupts: Interrupts, outlets: Outlets) -> None:
        self._channel, self._artifacts, self._interrupts = channel, artifacts, interrupts
        self._outlets = outlets

    def start(self, deliver: Callable[[Header, Body], None]) -> None:
        threading.Thread(target=self._read, args=(deliver,), name="flash-reader", daemon=True).start()

    def _read(self, deliver: Callable[[Header, Body], None]) -> None:
        while True:
            header, body = self._channel.receive()
            match header["type"]:
                case messages.ARTIFACT:
                    manifest = ArtifactManifest.from_json(header["manifest"])
                    self._artifacts.add(header["id"], manifest, bytes(body) or None)
                case messages.FORGET:
                    self._artifacts.forget(header["id"])
                case messages.CANCEL:
                    if self._interrupts.cancel(key_of(header)):
                        self._channel.cancelled(key_of(header))
                case messages.CREDIT:
                    self._outlets.credit(key_of(header), header)
                case messages.RUN:
                    self._interrupts.add(key_of(header))
                    deliver(header, body)
                case _:
                    deliver(header, body)
            del header, body


class Concurrent:
    """Several calls at a time: coroutines as tasks of one loop on the main thread, plain functions in a pool."""

    def __init__(self, channel: Channel, artifacts: Artifacts, concurrency: int) -> None:
        self._channel, self._artifacts, self._instances = channel, artifacts, Instances()
        self._interrupts, self._outlets = Interrupts(), Outlets(channel, alone=False)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="flash-call")
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._slots = asyncio.Semaphore(concurrency)
        self._batches = Batches(self._pool)
        self._tasks: set[asyncio.Task[None]] = set()
        self._drained = False

    def run(self) -> None:
        """Run on the main thread until drained."""
        reader = _Inbox(self._channel, self._artifacts, self._interrupts, self._outlets)
        reader.start(self._deliver)
        while not self._drained:
            try:
                self._loop.run_forever()
            except BaseException:
                logger.exception("a task of the user's own stopped the event loop; it goes on")
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _deliver(self, header: Header, body: Body) -> None:
        self._loop.call_soon_threadsafe(self._accept, header, body)

    def _accept(self, header: Header, body: Body) -> None:
        match header["type"]:
            case messages.RUN:
                work = self._job(header, body)
            case messages.DROP:
                work = self._close(self._instances.remove(header["instance"]))
            case _:
                work = self._drain()
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _job(self, header: Header, body: Body) -> None:
        key = key_of(header)
        async with self._slots:
            outcome = await self._batched(key, header, body)
            if outcome is None and self._begin(key):
                with self._outlets.of(key, header) as outlet:
                    outcome = await self._outcome(key, header, body, outlet)
            if outcome is None:
                return
            if self._interrupts.end(key) and outcome.error is not None:
                self._channel.cancelled(key)
            else:
                self._channel.done(key, outcome.value, outcome.error)

    def _begin(self, key: Key) -> bool:
        if not self._interrupts.begin(key):
            return False
        self._channel.send({"type": messages.STARTED, "job": key[0], "attempt": key[1]})
        return True

    async def _batched(self, key: Key, header: Header, body: Body) -> Outcome | None:
        """Run it in a batch. None: it was cancelled before that began, or is none for a batch."""
        call = header["call"]
        how = self._artifacts.batch(call["artifact"])
        if how is None or call.get("check"):
            return None
        try:
            execution = execution_of(header, body, self._artifacts, self._instances, self._channel.memory)
        except Failed as failed:
            return Outcome(error=failed.info) if self._begin(key) else None

        def begin() -> bool:
            if not self._begin(key):
                return False
            with contextlib.suppress(Cancelled):
                self._interrupts.arm(key, leave)
                return True
            self._batches.leave(member)
            return False

        def leave() -> None:
            self._loop.call_soon_threadsafe(self._batches.leave, member)

        member = Member(execution, begin)
        return await self._batches.run(*how, member)

    async def _outcome(self, key: Key, header: Header, body: Body, outlet: Outlet) -> Outcome:
        try:
            execution = execution_of(header, body, self._artifacts, self._instances, self._channel.memory, outlet)
            if execution.load():
                return await self._as_task(key, execution.run_async())
            work = functools.partial(contextvars.copy_context().run, execution.run)
            outcome = await self._loop.run_in_executor(self._pool, self._in_thread, key, outlet, work)
            return await self._as_task(key, outcome) if inspect.iscoroutine(outcome) else outcome
        except Failed as failed:
            return Outcome(error=failed.info)
        except Cancelled as error:
            return Outcome(error=describe(error))

    async def _as_task(self, key: Key, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        task = self._loop.create_task(work)
        try:
            self._interrupts.arm(key, canceller(self._loop, task))
            return await task
        except (asyncio.CancelledError, Cancelled) as error:  # before its first step
            task.cancel()
            return Outcome(error=describe(error))
        finally:
            self._interrupts.disarm(key)

    def _in_thread(self, key: Key, outlet: Outlet, work: Callable[[], Any]) -> Any:
        thread = PoolThread()

        def stop() -> None:
            thread.stop()
            outlet.credit.wake()

        def disarm() -> None:
            self._interrupts.disarm(key)
            thread.clear()

        try:
            outlet.guard(disarm, lambda: self._interrupts.arm(key, stop))
            self._interrupts.arm(key, stop)
            try:
                return work()
            finally:  # an interrupt that arrives here is caught below
                disarm()
        except KeyboardInterrupt as error:
            self._interrupts.disarm(key)
            return Outcome(error=describe(error))

    async def _drain(self) -> None:
        others = self._tasks - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        await self._close(self._instances.remove_all())
        self._pool.shutdown(wait=False)
        self._drained = True
        self._loop.stop()

    async def _close(self, objects: list[Any]) -> None:
        for each in objects:
            try:
                result = instances.close(each)
                if inspect.isawaitable(result):
                    await result
            except BaseException:
                logger.exception("closing an instance of '%s' failed", type(each).__qualname__)


def canceller(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> Callable[[], None]:
    """What cancels a task of a loop, from any thread."""

    def cancel() -> None:
        loop.call_soon_threadsafe(task.cancel)

    return cancel


def key_of(header: Header) -> Key:
    """The call that a frame is about."""
    return header["job"], header["attempt"]


def execution_of(
    header: Header,
    body: Body,
    artifacts: Artifacts,
    kept: Instances,
    memory: SharedMemory,
    sink: Sink | None = None,
) -> Execution:
    """The call of a run frame."""
    return Execution(_call(header, body, memory), memory, artifacts, kept, sink)


def _call(header: Header, body: Body, memory: SharedMemory) -> Call:
    """The call of a run frame, whose body has its payloads one after the other, but for those that lie in memory.

    The control plane has looked at it, so that this does not do it once more.
    """
    head, sizes = header["call"], header["sizes"]
    if len(sizes) == 1 and not isinstance(sizes[0], str):
        arguments, more = _payload(body), list[Payload]()
    else:
        arguments, *more = _cut(header, body, memory)
    return Call(
        head["artifact"],
        arguments,
        head.get("method"),
        Instance(head["instance"], more[0]) if more else None,
        stream=head.get("stream", False),
        plain=head.get("plain", False),
        check=head.get("check", False),
        inline=head.get("inline", False),
    )


def _cut(header: Header, body: Body, memory: SharedMemory) -> list[Payload]:
    view, start, payloads = memoryview(body), 0, list[Payload]()
    memory.begin(key_of(header), (size for size in header["sizes"] if isinstance(size, str)))
    for size in header["sizes"]:
        if isinstance(size, str):
            payloads.append(Payload.in_range(Range.parse(size)))
            continue
        payloads.append(_payload(view[start : start + size]))
        start += size
    return payloads


def _payload(data: Body | memoryview) -> Payload:
    return Payload(cast(bytes, data), size=len(data))  # read as bytes, and nobody changes it
