"""The child's end of a loan: calls that a client gives it directly, and what the control plane is told of them.

    client ── run ──▶ child: the call ── done ──▶ client
                        └─ recorded: several together, when it rests or many have come ──▶ control plane

What is large lies in memory that all share, in ranges of the client's: arguments are read there, a result is written
into the room that the client has sent along, or is asked for.

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
from worker_runtime.wire.pieces import Encoded, Pieces, joined
from worker_runtime.wire.ranges import Range

RECORDS: Final = 4
"""Calls that were answered are told to the control plane at the latest when there are so many, and another begins.

What it does with them takes a processor for as long as each of them took: more at once, and a call waits for it.
"""


_REST_MS: Final = 2.0  # and when no call has come for so long
_OLD_S: Final = 0.02  # or the first of them ended so long ago
_BYTES: Final = 256 * 1024  # or they have so many bytes
_IDLE_S: Final = 5.0  # after the last call the loan is over
_CONNECT_S: Final = 0.2
_ROOM_S: Final = 0.5  # within which the client says where a result goes; it may have to ask for that itself
_CHUNK: Final = 64 * 1024  # more is mapped and unmapped for each read

Room = tuple[Range, bool]
"""Where a result may be written, and whether there may be no memory behind it yet."""


class Taken:
    """A call of the client that this process runs.

    Attributes:
        number: as the client counts.
        key: under which it submitted it.
        job: its id.
        body: its encoded arguments, where they do not lie in a range.
        range: the range.
        room: for a large result, if any.
        begun_at: seconds since the epoch.
    """

    __slots__ = ("begun_at", "body", "is_told", "job", "key", "number", "range", "room")

    def __init__(self, header: Header, body: Body) -> None:
        """Raises WireError, KeyError."""
        self.number, self.key, self.body = header["number"], header["key"], body
        self.job = direct.job_of(self.key)
        self.range = Range.parse(header["range"]) if "range" in header else None
        self.room = _room_of(header)
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
        self._memory = channel.memory
        self._needed = 0  # the number of the call that waits for room
        self._room: Room | None = None  # the answer
        self._is_answered = False
        self._unread = 0  # the number of the last call, if its result lies in a room and may not have been read
        self._is_greeted = self._is_over = self._is_gone = False
        self._records: list[list[Any]] = []
        self._bodies: list[Body] = []
        self._is_due = False  # to be told when the next call begins: its program sleeps then, so a processor is free
        self._since = self._used = time.monotonic()
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_CONNECT_S)
            self._socket.connect("\0" + header["address"])
            self._socket.settimeout(None)
            shares = bool(header.get("memory")) and self._memory.is_shared
            who = {"loan": self._loan, "token": header["token"], "worker": header["worker"]}
            self._say({"type": direct.HELLO, **who, **({"memory": True} if shares else {})})
        except OSError:
            self._socket.close()
            raise
        self._poll, self._line = select.poll(), select.poll()
        self._line.register(self._socket, select.POLLIN)
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
        if taken.range is not None:
            return Call(self._artifact, Payload.in_range(taken.range))
        return Call(self._artifact, Payload(taken.body, size=len(taken.body)))  # type: ignore[arg-type]  # read as bytes

    def answer(self, taken: Taken, value: Encoded, took_us: int) -> bool:
        """Tell the client that a call has given this. False: it must be told as any other call."""
        with self._lock:
            if taken.is_told:
                return False
            self._running = None
        room = None
        if len(value) > direct.LIMIT:
            room = self._written(taken, value)
            if room is None:
                return False
        told = self._held(taken)
        if room is not None:
            told["size"] = room.size
        with contextlib.suppress(OSError):  # the client has gone; its job has ended all the same
            self._say_whole(_done_head(taken.number, told), joined(value))
            if room is not None:
                self._unread = taken.number
        self._record(taken, joined(value), room, took_us)
        return True

    def _written(self, taken: Taken, value: Encoded) -> Range | None:
        """Where a large result lies now; None: it has to go another way."""
        if not isinstance(value, Pieces):
            return None
        room = taken.room
        if room is None or room[0].size < value.size:
            room = self._asked(taken.number, value.size)
        if room is None:
            return None
        target = room[0].beginning(value.size)
        if not self._memory.fill(target, value, fresh=room[1]):
            return None
        value.let_go()  # perhaps arguments lie in it
        return target

    def _asked(self, number: int, size: int) -> Room | None:
        """Ask the client for room, and wait for the answer; what else it says is kept."""
        self._needed, self._room, self._is_answered = number, None, False
        end = time.monotonic() + _ROOM_S
        try:
            self._say({"type": direct.NEED, "number": number, "size": size})
            while not self._is_answered and (left := end - time.monotonic()) > 0:
                if self._line.poll(left * 1000) and not self._receive():
                    break
        except OSError:
            return None
        return self._room if self._room is not None and self._room[0].size >= size else None

    def _held(self, taken: Taken) -> Header:
        """What the client must know of its arguments."""
        names = self._memory.end((taken.job, 1)) if taken.range is not None else []
        known = [self._memory.go_on(name) for name in names]
        return {"held": direct.KNOWN if all(known) else direct.UNKNOWN} if names else {}

    def _record(self, taken: Taken, value: bytes, room: Range | None, took_us: int) -> None:
        now = self._used = time.monotonic()
        if not self._records:
            self._since = now
        given = len(value) if room is None else room.name
        arguments = len(taken.body) if taken.range is None else taken.range.name
        self._records.append([taken.number, taken.key, arguments, given, taken.begun_at, took_us])
        self._bodies += (taken.body, value)
        is_much = len(self._records) >= RECORDS or sum(map(len, self._bodies)) > _BYTES
        self._is_due = is_much or now - self._since > _OLD_S

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
            if taken.range is not None:
                told["range"] = taken.range.name
            self._channel.send({**told, "job": taken.job, "attempt": 1}, taken.body)

    def told(self) -> None:
        """The end of a call was told as that of any other."""
        self._running, self._used = None, time.monotonic()

    def flush(self) -> None:
        """Tell the control plane what was answered."""
        self._is_due = False
        if self._records:
            records, self._records = self._records, []
            bodies, self._bodies = self._bodies, []
            self._channel.send({"type": messages.RECORDED, "loan": self._loan, "calls": records}, b"".join(bodies))

    def end(self) -> None:
        """Begin no more of its calls, and say so to all. May be called twice."""
        if self._is_over:
            return
        self._is_over = True
        if self._unread and self._line.poll(0):
            self._receive()
        self.flush()
        with contextlib.suppress(OSError):
            self._say({"type": direct.BYE, "last": self._last})
        self._socket.close()
        unread = {"unread": self._unread, "gone": self._is_gone} if self._unread else {}
        self._channel.send({"type": messages.LOAN_OVER, "loan": self._loan, "last": self._last, **unread})

    def _patience_ms(self) -> float:
        if self._records:
            return _REST_MS
        return max(0.0, self._used + _IDLE_S - time.monotonic()) * 1000

    def _begin(self, taken: Taken) -> Taken:
        if self._is_due:
            self.flush()
        if taken.range is not None:
            self._memory.begin((taken.job, 1), [taken.range.name])
        taken.begun_at = time.time()
        self._last = taken.number
        with self._lock:
            self._running = taken
        return taken

    def _read(self) -> None:
        if not self._receive():
            self.end()

    def _receive(self) -> bool:
        """Hear what has come. False: there is no more to hear."""
        try:
            data = self._socket.recv(_CHUNK)
            for header, body in self._splitter.feed(data):
                self._hear(header, body)
        except (OSError, WireError, KeyError, TypeError):  # it speaks another language
            data = b""
        self._is_gone = not data
        return not self._is_gone

    def _hear(self, header: Header, body: Body) -> None:
        trace.mark(trace.CHILD_GOT)
        if not self._is_greeted:
            self._is_greeted = header["type"] == direct.WELCOME and compare_digest(header["answer"], self._answer)
            if not self._is_greeted:
                raise WireError("who answers is not the client")
        elif header["type"] == direct.RUN:
            self._unread = 0
            self._calls.append(Taken(header, body))
        elif header["type"] == direct.READ and header["number"] == self._unread:
            self._unread = 0
        elif header["type"] == direct.ROOM and header["number"] == self._needed:
            self._room, self._is_answered = _room_of(header), True

    def _say(self, header: Header) -> None:
        self._say_whole(frames.head_of(header), b"")

    def _say_whole(self, head: bytes, body: Body) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # as in `Channel`
        frames.send_whole(self._socket, frames.whole(head, body))


def _done_head(number: int, more: Header) -> bytes:
    """The header of a call that has ended: the same JSON as of any, made for the many of them."""
    head = f'{{"type":"{direct.DONE}","number":{number}}}'.encode()
    return head if not more else head[:-1] + b"," + frames.head_of(more)[1:]


def _room_of(header: Header) -> Room | None:
    """Raises WireError."""
    return (Range.parse(header["room"]), bool(header.get("fresh"))) if "room" in header else None
