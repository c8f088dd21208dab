"""How far a call is: what user code says with `runpod_flash.progress`, on its way out of the process.

A report finds its call by a context variable, which tasks and `asyncio.to_thread` inherit. A thread that user code
starts by hand inherits none; where one call runs at a time, that is the one it means.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, Token
from queue import SimpleQueue
from types import TracebackType

from worker_runtime.wire.jobs import Progress

PAUSE_S = 0.1
"""Between two reports of a call that leave the process, in seconds. The last one always does."""

Report = Callable[[Progress], None]
"""Takes a report of one call. May be called from any thread."""

_current: ContextVar[Report | None] = ContextVar("report", default=None)
_only: list[Report] = []  # of the call that runs alone in this process


def report(progress: Progress) -> bool:
    """Say how far the call is that this code belongs to. False: it belongs to none."""
    found = _current.get()
    if found is None and len(_only) == 1:
        found = _only[0]
    if found is None:
        return False
    found(progress)
    return True


def reporting(to: Report, *, alone: bool = False) -> "Reporting":
    """The context of code that reports to `to`."""
    return Reporting(to, alone=alone)


class Reporting:
    """Code inside of this context, and what it starts, reports to `to`; `alone`: every thread of the process does."""

    def __init__(self, to: Report, *, alone: bool = False) -> None:
        self._to, self._alone = to, alone
        self._token: Token[Report | None]

    def __enter__(self) -> None:
        self._token = _current.set(self._to)
        if self._alone:
            _only.append(self._to)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._alone:
            _only.remove(self._to)
        _current.reset(self._token)


class Reports:
    """Sends the reports of one call, some ten in a second, in a thread that the first one starts.

    Not in the thread that reports: an interrupt there could leave half a frame behind.
    """

    def __init__(self, send: Report) -> None:
        self._send = send
        self._latest: deque[Progress] = deque(maxlen=1)
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._sending = threading.Lock()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def add(self, progress: Progress) -> None:
        """Take a report. A forked process has nobody to tell, nor has what runs on after the call."""
        if self._ended or os.getpid() != self._pid:
            return
        self._latest.append(progress)
        self._wake.put(None)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flash-progress", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """The call has ended: what was not sent yet leaves now, and nothing later."""
        self._ended = True
        self._send_latest()
        self._wake.put(None)

    def _run(self) -> None:
        while not self._ended:
            self._wake.get()
            self._send_latest()
            time.sleep(PAUSE_S)
        self._wake.put(None)  # for another one, where two threads reported first

    def _send_latest(self) -> None:
        with self._sending, contextlib.suppress(IndexError):
            self._send(self._latest.pop())
