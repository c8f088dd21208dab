"""How the child runs one call at a time: on the main thread, as user code expects that handles signals.

Plain functions are called directly, coroutines run on one event loop that is kept, so that clients bound to it live on.
The main thread reads its frames itself, so that no call is handed from thread to thread; what must be heard while user
code runs comes by a stream of its own, which a thread reads.
"""

import asyncio
import contextvars
import inspect
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from worker_runtime import instances
from worker_runtime.channel import PARENT_GONE, Channel
from worker_runtime.execute import Artifacts, Execution, Outcome
from worker_runtime.failures import Failed, describe
from worker_runtime.instances import Instances
from worker_runtime.interrupts import Cancelled, Key, MainThread, Ordered
from worker_runtime.lent import Lent, Taken
from worker_runtime.outlets import Outlet, Outlets
from worker_runtime.runners import canceller, execution_of, key_of
from worker_runtime.tickets import Tickets
from worker_runtime.wire import direct, frames, messages, trace
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.jobs import Call
from worker_runtime.wire.pieces import Pieces
from worker_runtime.wire.specs import ArtifactManifest

logger = logging.getLogger("worker_runtime")

_UNWIND_S = 5.0  # for a coroutine to end whose loop was stopped by another task


class _Orders:
    """What the parent wants, in order: each frame when its ticket comes. Those without one were taken back."""

    def __init__(self, channel: Channel, artifacts: Artifacts) -> None:
        self._channel, self._artifacts = channel, artifacts
        self._ahead: deque[tuple[int, Header, Body]] = deque()
        self._received = self._unheard = 0

    def take(self, number: int) -> tuple[Header, Body]:
        """The frame of this number; all before it are over."""
        while True:
            while self._ahead:
                found, header, body = self._ahead.popleft()
                if found == number:
                    return header, body
            self._receive()

    def await_heard(self) -> None:
        """Wait until the parent has read all that the last call has printed: what comes next belongs to another."""
        self._unheard += 1
        while self._unheard:
            self._receive()

    def _receive(self) -> None:
        header, body = self._channel.receive()
        self._received += 1
        match header["type"]:
            case messages.ARTIFACT:
                self._artifacts.add(header["id"], ArtifactManifest.from_json(header["manifest"]), bytes(body) or None)
            case messages.FORGET:
                self._artifacts.forget(header["id"])
            case messages.HEARD:
                self._unheard -= 1
            case _:
                self._ahead.append((self._received, header, body))


class Serial:
    """One call at a time, on the main thread."""

    def __init__(self, channel: Channel, artifacts: Artifacts, tickets: socket.socket, aside: socket.socket) -> None:
        """`tickets`, `aside`: see `Channel.receive_ends`."""
        self._channel, self._artifacts, self._instances = channel, artifacts, Instances()
        self._tickets, self._aside, self._orders = Tickets(tickets), aside, _Orders(channel, artifacts)
        self._lent: Lent | None = None
        self._ticket_socket = tickets
        self._interrupts, self._main, self._outlets = Ordered(), MainThread(), Outlets(channel, alone=True)
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)

    def run(self) -> None:
        """Run on the main thread until drained."""
        self._main.arm()
        self._main.disarm()
        self._channel.watch_output()
        threading.Thread(target=self._listen, name="flash-listener", daemon=True).start()
        while self._next():
            pass
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _listen(self) -> None:
        """Hear, in a thread, what must not wait for the call that runs."""
        while True:
            try:
                header, _ = frames.receive(self._aside)
            except (EOFError, OSError):
                os._exit(PARENT_GONE)
            match header["type"]:
                case messages.CANCEL:
                    self._interrupts.cancel_number(header["number"], key_of(header))
                case messages.END_LOAN:
                    lent = self._lent
                    if lent is not None:
                        lent.tell()
                case _:
                    self._outlets.credit(key_of(header), header)

    def _next(self) -> bool:
        if self._lent is not None and (taken := self._lent.next()) is not None:
            self._direct(self._lent, taken)
            return True
        try:
            number = self._tickets.next()
        except (EOFError, OSError):
            os._exit(PARENT_GONE)
        trace.mark(trace.CHILD_GOT)
        header, body = self._orders.take(number)
        match header["type"]:
            case messages.RUN:
                self._job(number, header, body)
            case messages.DROP:
                self._close(self._instances.remove(header["instance"]))
            case messages.LEND:
                self._lend(header)
            case messages.END_LOAN:
                self._end_loan()
            case messages.DRAIN:
                self._end_loan()
                self._close(self._instances.remove_all())
                return False
        return True

    def _job(self, number: int, header: Header, body: Body) -> None:
        key = key_of(header)
        quiet = (
            self._run(key, header, body) if self._interrupts.begin_next(number, key) else self._channel.cancelled(key)
        )
        if not quiet:
            self._orders.await_heard()

    def _lend(self, header: Header) -> None:
        self._end_loan()
        self._interrupts.lent()
        try:
            if self._channel.reads is None:
                raise OSError("this system does not show whether output was read")
            self._lent = Lent(header, self._channel, self._ticket_socket)
        except OSError:
            self._channel.send({"type": messages.LOAN_OVER, "loan": header["loan"], "last": 0})

    def _end_loan(self) -> None:
        lent, self._lent = self._lent, None
        if lent is not None:
            lent.end()

    def _direct(self, lent: Lent, taken: Taken) -> None:
        """Run a call of the client to which this process is lent."""
        key, reads = (taken.job, 1), self._channel.reads
        if not self._interrupts.begin_next(-taken.number, key):
            lent.tell(taken)
            self._told(lent, quiet=self._channel.cancelled(key))
            return
        begun = time.perf_counter_ns()
        with self._outlets.of(key, {}) as outlet:
            outcome = self._called(key, lambda: self._execution(lent.call_of(taken), outlet), outlet)
        cancelled, took_us = self._interrupts.end(key), (time.perf_counter_ns() - begun) // 1000
        value = outcome.value
        may = outcome.error is None and (isinstance(value, Pieces) or len(value) <= direct.LIMIT)
        if may and self._channel.was_silent(reads) and lent.answer(taken, value, took_us):
            self._channel.memory.tidy()
            return
        lent.tell(taken)
        if cancelled and outcome.error is not None:
            quiet = self._channel.cancelled(key)
        else:
            quiet = self._channel.done(key, value, outcome.error, took_us)
        self._told(lent, quiet=quiet)

    def _told(self, lent: Lent, *, quiet: bool) -> None:
        """A call was answered as any other: such are not for a loan."""
        if not quiet:
            self._orders.await_heard()
        lent.told()
        self._end_loan()

    def _run(self, key: Key, header: Header, body: Body) -> bool:
        """Run a call and tell how it ended; whether all that it has printed was read by then."""
        if header["timeout_ms"]:
            self._channel.send({"type": messages.STARTED, "job": key[0], "attempt": key[1]})
        begun = time.perf_counter_ns()
        with self._outlets.of(key, header) as outlet:
            outcome = self._called(key, lambda: self._shipped(header, body, outlet), outlet)
        if self._interrupts.end(key) and outcome.error is not None:
            return self._channel.cancelled(key)
        return self._channel.done(key, outcome.value, outcome.error, (time.perf_counter_ns() - begun) // 1000)

    def _shipped(self, header: Header, body: Body, outlet: Outlet) -> Execution:
        return execution_of(header, body, self._artifacts, self._instances, self._channel.memory, outlet)

    def _execution(self, call: Call, outlet: Outlet) -> Execution:
        return Execution(call, self._channel.memory, self._artifacts, self._instances, outlet)

    def _called(self, key: Key, make: Callable[[], Execution], outlet: Outlet) -> Outcome:
        try:
            execution = make()
            outcome = self._plain(key, outlet, lambda: _begin(execution))
            return self._on_loop(key, outcome) if inspect.iscoroutine(outcome) else outcome
        except Failed as failed:
            return Outcome(error=failed.info)
        except (KeyboardInterrupt, Cancelled) as error:
            self._main.disarm()
            self._interrupts.disarm(key)
            return Outcome(error=describe(error))

    def _plain(self, key: Key, outlet: Outlet, work: Callable[[], Any]) -> Any:
        def arm() -> None:
            self._main.arm()
            self._interrupts.arm(key, self._main.stop)

        def disarm() -> None:
            self._main.disarm()
            self._interrupts.disarm(key)

        outlet.guard(disarm, arm)
        arm()
        try:
            return contextvars.copy_context().run(work)
        finally:  # an interrupt that arrives here is caught by who called
            disarm()

    def _on_loop(self, key: Key, work: Coroutine[Any, Any, Outcome]) -> Outcome:
        task = self._loop.create_task(work)
        try:
            self._interrupts.arm(key, canceller(self._loop, task))
            return self._loop.run_until_complete(task)
        except BaseException as error:  # noqa: BLE001 - cancelled, or a task of the user's own ended the loop (sys.exit)
            if not task.done():
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task], timeout=_UNWIND_S))
            return Outcome(error=describe(error))
        finally:
            self._interrupts.disarm(key)

    def _close(self, objects: list[Any]) -> None:
        for each in objects:
            try:
                result = instances.close(each)
                if inspect.isawaitable(result):
                    self._loop.run_until_complete(result)
            except BaseException:
                logger.exception("closing an instance of '%s' failed", type(each).__qualname__)


def _begin(execution: Execution) -> Outcome | Coroutine[Any, Any, Outcome]:
    return execution.run_async() if execution.load() else execution.run()
