"""The child's end of a loan: calls that a client gives it directly, and what the control plane is told of them.

    client ── run ──▶ child: the call ── done ──▶ client
                        └─ recorded: several together, when it rests or many have come ──▶ control plane

What is not answered so (`done` says which may be) is told to the control plane as any other call: `begun` and its end.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from hmac import compare_digest
from typing import Any, Final

from worker_runtime.channel import Channel
from worker_runtime.wire import direct, frames, messages, trace
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.jobs import Call, Payload

RECORDS: Final = 4
"""Calls that were answered are told to the control plane at the latest when there are so many.

What it does with them takes a processor for as long as each of them took: more at once, and the next call waits for it.
"""

_REST_MS: Final = 2.0  # and when no call has come for so long
_OLD_S: Final = 0.02  # or the first of them ended so long ago
_BYTES: Final = 256 * 1024  # or they have so many bytes
_IDLE_S: Final = 5.0  # after the last call the loan is over
_CONNECT_S: Final = 0.2
_CHUNK: Final = 64 * 1024  # more is mapped and unmapped for each read


class Taken:
    """A call of the client that this process runs.

    Attributes:
        number: as the client counts.
        key: under which it submitted it.
        job: its id.
        body: its encoded arguments.
        begun_at: seconds since the epoch.
    """

    __slots__ = ("begun_at", "body", "is_told", "job", "key", "number")

    def __init__(self, number: int, key: str, body: Body) -> None:
        """Raises WireError."""
        self.number, self.key, self.job, self.body = number, key, direct.job_of(key), body
        self.begun_at = time.time()
        self.is_told = False  # the control plane knows that it has begun


class Lent:
    """A loan, from lend to its end. Of the main thread, but for `tell`."""

    def __init__(self, header: Header, channel: Channel, tickets: socket.socket) -> None:
        """Go to the client. Raises OSError: it cannot be reached."""
        self._channel, self._loan, self._answer = channel, header["loan"], header["answer"]
        self._artifact: str = header["call"]["artifact"]
        self._tickets = tickets.fileno()
        self._splitter = frames.Splitter(direct.LIMIT)
        self._calls: deque[Taken] = deque()
        self._lock = threading.Lock()
        self._running: Taken | None = None
        self._last = 0
        self._is_greeted = self._is_over = False
        self._records: list[list[Any]] = []
        self._bodies: list[Body] = []
        self._since = self._used = time.monotonic()
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_CONNECT_S)
            self._socket.connect("\0" + header["address"])
            self._socket.settimeout(None)
            self._say({"type": direct.HELLO, "loan": self._loan, "token": header["token"], "worker": header["worker"]})
        except OSError:
            self._socket.close()
            raise
        self._poll = select.poll()
        for descriptor in (self._tickets, self._socket.fileno()):
            self._poll.register(descriptor, select.POLLIN)

    def next(self) -> Taken | None:
        """Wait for a call. None: a ticket is there first, or the loan is over."""
        while not self._is_over:
            if self._calls:
                return self._begin(self._calls.popleft())
            ready = self._poll.poll(self._patience_ms())
            if any(descriptor == self._tickets for descriptor, _ in ready):
                return None
            if ready:
                self._read()
            elif self._records:
                self.flush()
            else:
                self.end()
        return None

    def call_of(self, taken: Taken) -> Call:
        """What a call asks for."""
        return Call(self._artifact, Payload(taken.body, size=len(taken.body)))  # type: ignore[arg-type]  # read as bytes

    def answer(self, taken: Taken, value: bytes, took_us: int) -> bool:
        """Tell the client that a call has given this. False: it must be told as any other call."""
        with self._lock:
            if taken.is_told:
                return False
            self._running = None
        with contextlib.suppress(OSError):  # the client has gone; its job has ended all the same
            self._say({"type": direct.DONE, "number": taken.number}, value)
        now = self._used = time.monotonic()
        if not self._records:
            self._since = now
        self._records.append([taken.number, taken.key, len(taken.body), len(value), taken.begun_at, took_us])
        self._bodies += (taken.body, value)
        if len(self._records) >= RECORDS or now - self._since > _OLD_S or sum(map(len, self._bodies)) > _BYTES:
            self.flush()
        return True

    def tell(self, taken: Taken | None = None) -> None:
        """Tell the control plane of a call that it has begun, once; None: of the one that runs. From any thread."""
        with self._lock:
            taken = taken or self._running
            if taken is None or taken.is_told:
                return
            taken.is_told = True
            if threading.current_thread() is threading.main_thread():
                self.flush()  # in their order; another thread may not touch them
            told = {"type": messages.BEGUN, "loan": self._loan, "number": taken.number, "key": taken.key}
            self._channel.send({**told, "job": taken.job, "attempt": 1}, taken.body)

    def told(self) -> None:
        """The end of a call was told as that of any other."""
        self._running, self._used = None, time.monotonic()

    def flush(self) -> None:
        """Tell the control plane what was answered."""
        if self._records:
            records, self._records = self._records, []
            bodies, self._bodies = self._bodies, []
            self._channel.send({"type": messages.RECORDED, "loan": self._loan, "calls": records}, b"".join(bodies))

    def end(self) -> None:
        """Begin no more of its calls, and say so to all. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        self.flush()
        with contextlib.suppress(OSError):
            self._say({"type": direct.BYE, "last": self._last})
        self._socket.close()
        self._channel.send({"type": messages.LOAN_OVER, "loan": self._loan, "last": self._last})

    def _patience_ms(self) -> float:
        if self._records:
            return _REST_MS
        return max(0.0, self._used + _IDLE_S - time.monotonic()) * 1000

    def _begin(self, taken: Taken) -> Taken:
        taken.begun_at = time.time()
        self._last = taken.number
        with self._lock:
            self._running = taken
        return taken

    def _read(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
            for header, body in self._splitter.feed(data):
                self._hear(header, body)
        except (OSError, WireError, KeyError, TypeError):  # it speaks another language, so there is no more to hear
            data = b""
        if not data:
            self.end()

    def _hear(self, header: Header, body: Body) -> None:
        trace.mark(trace.CHILD_GOT)
        if not self._is_greeted:
            self._is_greeted = header["type"] == direct.WELCOME and compare_digest(header["answer"], self._answer)
            if not self._is_greeted:
                raise WireError("who answers is not the client")
        elif header["type"] == direct.RUN:
            self._calls.append(Taken(header["number"], header["key"], body))

    def _say(self, header: Header, body: Body = b"") -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # as in `Channel`
        frames.send_whole(self._socket, frames.encode(header, body))
