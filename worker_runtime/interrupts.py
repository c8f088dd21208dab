"""Stopping a running call, and only that one: no interrupt may reach the next call or our own code.

    waiting ── begin ──▶ running ── arm(stop) ──▶ can be stopped ── disarm ──▶ running ── end ──▶ forgotten

The reader thread cancels, the thread that runs the call does the rest; both under one lock. A stop is sent at most once
for each call, and only between `arm` and `disarm`.
"""

import ctypes
import signal
import threading
from _signal import getsignal  # type: ignore[import-not-found]  # `signal` looks for an enum of the handler, slowly
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

Key = tuple[str, int]
"""A call: job and attempt."""


class Cancelled(Exception):
    """The call was cancelled before it could be armed."""


@dataclass(slots=True)
class _Running:
    stop: Callable[[], None] | None = None
    cancelled: bool = False


class Interrupts:
    """Which calls wait and run in this process, and how the running ones are stopped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[Key] = set()
        self._running: dict[Key, _Running] = {}

    def add(self, key: Key) -> None:
        """A call has arrived."""
        with self._lock:
            self._waiting.add(key)

    def cancel(self, key: Key) -> bool:
        """Stop a call if it runs. True: it had not begun, will not begin, and the caller reports it as cancelled."""
        with self._lock:
            if key in self._waiting:
                self._waiting.remove(key)
                return True
            self._stop(key)
            return False

    def begin(self, key: Key) -> bool:
        """Whether a call that waited shall still run."""
        with self._lock:
            if key not in self._waiting:
                return False
            self._waiting.remove(key)
            self._running[key] = _Running()
            return True

    def arm(self, key: Key, stop: Callable[[], None]) -> None:
        """From now on `stop` is called, in another thread, when the call is cancelled. Raises Cancelled."""
        with self._lock:
            running = self._running[key]
            if running.cancelled:
                raise Cancelled
            running.stop = stop

    def disarm(self, key: Key) -> None:
        """From now on `stop` is not called any more."""
        with self._lock:
            self._running[key].stop = None

    def end(self, key: Key) -> bool:
        """The call has ended; whether it was cancelled."""
        with self._lock:
            return self._running.pop(key).cancelled

    def _stop(self, key: Key) -> None:
        running = self._running.get(key)
        if running is not None and not running.cancelled:
            running.cancelled = True
            if running.stop is not None:
                running.stop()


class Ordered(Interrupts):
    """The same where calls have growing numbers and begin in that order, so that none waits here.

    Those of a client to which the process is lent have numbers of their own: -1, -2 and so on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._latest = self._latest_of_client = 0  # that has begun
        self._unwanted: dict[Key, int] = {}  # later ones that shall not

    def lent(self) -> None:
        """The numbers of a client's calls begin anew."""
        with self._lock:
            self._latest_of_client = 0
            self._unwanted = {key: number for key, number in self._unwanted.items() if number > 0}

    def begin_next(self, number: int, key: Key) -> bool:
        """A call begins; whether it shall still run."""
        with self._lock:
            if number < 0:
                self._latest_of_client = number
            else:
                self._latest = number
            if self._unwanted.pop(key, None) is not None:
                return False
            self._running[key] = _Running()
            return True

    def cancel_number(self, number: int, key: Key) -> None:
        """Stop a call that has begun, or is about to; one that has ended is left alone."""
        with self._lock:
            if number > self._latest or number < self._latest_of_client:
                self._unwanted[key] = number  # by its key: an order may be of a loan that is over
            else:
                self._stop(key)


class MainThread:
    """Stops plain code on the main thread: a SIGINT that becomes a KeyboardInterrupt only where one is due."""

    def __init__(self) -> None:
        self._thread = threading.main_thread().ident or 0
        self._armed = False
        self._due = False
        self._handler = self._handle  # one object, to be known again

    def arm(self) -> None:
        """Before user code; also takes the signal back from user code that has put its own handler."""
        self._due = False
        self._armed = True
        if getsignal(signal.SIGINT) is not self._handler:
            signal.signal(signal.SIGINT, self._handler)

    def disarm(self) -> None:
        """After user code. May be called again."""
        self._armed = False

    def stop(self) -> None:
        """Interrupt the main thread; called from another one."""
        self._due = True
        signal.pthread_kill(self._thread, signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._armed and self._due:
            self._due = False
            raise KeyboardInterrupt("the call was cancelled")


class PoolThread:
    """Stops plain code in a thread of a pool, between two of its bytecodes; a blocking system call ends first."""

    def __init__(self) -> None:
        self._thread = ctypes.c_ulong(threading.get_ident())

    def stop(self) -> None:
        """Interrupt the thread that made this object; called from another one."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(KeyboardInterrupt))

    def clear(self) -> None:
        """Take back an interrupt that has not arrived; in the thread itself, after `Interrupts.disarm`."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, None)
