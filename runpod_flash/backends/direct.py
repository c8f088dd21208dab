"""Calls that go straight to a worker which the control plane has lent to this client.

    lone calls, one after the other ─▶ ask ─▶ a worker comes: every further one ── run ──▶ worker ── done ──▶ the caller
                                                 longer than `SOON_S`, or the worker is lost: begun ──▶ control plane
                                                 the worker says bye: what it has not begun goes the usual way

Belongs to a conversation. At most one call is with the worker, and then no other is under way. Large values lie in
ranges of this program's (`borrowed`), which the worker reads and writes.
"""

import asyncio
import os
import socket
import weakref
from collections.abc import Callable
from hmac import compare_digest
from typing import Final, Protocol

from runpod_flash.backends.borrowed import Memory, Ranges
from runpod_flash.backends.channel import Channel
from runpod_flash.backends.streak import Streak
from runpod_flash.backends.waiting import Kind, Waiting
from worker_runtime.wire import direct, frames
from worker_runtime.wire.calls import Buffer
from worker_runtime.wire.frames import Header
from worker_runtime.wire.jobs import Payload

SOON_S: Final = 0.005
"""A call of which nothing was heard for so long is told to the control plane."""

_COMES_S: Final = 0.02  # a worker that was asked for and has not come by then comes no more


class Calls(Protocol):
    """Whose calls they are: a conversation."""

    def answered(self, waiting: Waiting, value: Buffer) -> None:
        """A call has given this."""

    def usual(self, waiting: Waiting) -> None:
        """A call was not begun, and goes the usual way."""

    def tell_begun(self, waiting: Waiting) -> None:
        """A call may have begun: tell the control plane."""

    def ask(self, kind: Kind, fields: dict[str, str]) -> None:
        """Ask the control plane for a worker for calls of this kind."""


class Direct:
    """See the module.

    Attributes:
        kind: what calls the worker takes that is there; None where none is.
    """

    def __init__(self, calls: Calls, memory: Memory | None = None) -> None:
        """`memory`: what is shared with the platform."""
        self._calls, self._loop, self._memory = calls, asyncio.get_running_loop(), memory
        self.kind: Kind | None = None
        self._streak = Streak()
        self._candidate: Waiting | None = None  # the lone call that goes the usual way
        self._asked: _Asked | None = None
        self._line: Channel | None = None
        self._loan = self._worker = ""
        self._number = 0
        self._waiting: Waiting | None = None  # the call that the worker has
        self._next: Waiting | None = None  # the call that waits for one that was asked for
        self._ranges: Ranges | None = None  # those that the worker may use; None: it shares no memory
        self._sent_at = 0.0
        self._looking: asyncio.TimerHandle | None = None

    # ---- calls go out

    def takes(self, waiting: Waiting, *, alone: bool) -> bool:
        """Whether a call that is to be submitted shall be `run` here. `alone`: no other is under way."""
        if not alone or waiting.submits_only:
            self._streak.broken()
            self._stop_waiting()
            return False
        kind = self.kind if self._asked is None else self._asked.kind
        if waiting.kind is kind and self._fits(waiting.arguments):
            return True
        if waiting.kind.pattern.goes_directly:
            self._candidate = waiting
            self._streak.begins(waiting.kind, self._loop.time())
        return False

    def give_up(self, waiting: Waiting) -> None:
        """A call is to be cancelled: the control plane must know of it."""
        if waiting is self._next:
            self._stop_waiting()
        elif waiting.loan:
            self.tell(waiting)

    def settled(self, waiting: Waiting, *, good: bool) -> None:
        """A call is not under way any more."""
        if waiting is self._waiting:
            self._waiting = None
        elif waiting is self._next:
            self._next = None
        elif waiting is self._candidate:
            self._candidate = None
            if not good:
                self._streak.broken()
            elif self._streak.ended(self._loop.time()) and self._asked is None and self.kind is None:
                self._ask(waiting)

    def wrote(self) -> None:
        """Workers have printed something: such calls are not for this."""
        self._streak.broken()

    def tell(self, waiting: Waiting) -> None:
        """Let the control plane know of a call that the worker was given, if it does not."""
        if not waiting.is_told:
            waiting.is_told = True
            self._calls.tell_begun(waiting)

    def run(self, waiting: Waiting) -> None:
        """Give a call to the worker; to one that was asked for a moment ago, when it has come."""
        if self._line is None:
            self._next = waiting
            return
        arguments = waiting.arguments
        assert arguments is not None
        self._number += 1
        waiting.loan, waiting.number = self._loan, self._number
        self._waiting = waiting
        self._sent_at = self._loop.time()
        if self._looking is None:
            self._looking = self._loop.call_later(SOON_S, self._look)
        more = "" if self._ranges is None else self._ranges.of_call(self._number, arguments)
        head = f'{{"type":"{direct.RUN}","number":{self._number},"key":"{waiting.key}"{more}}}'
        self._line.write(frames.whole(head.encode(), arguments.inline or b""))

    def _fits(self, arguments: Payload | None) -> bool:
        """Whether a call with these arguments can go to the worker that is there, or comes."""
        if arguments is None:
            return False
        if arguments.inline is not None:
            return arguments.size <= direct.LIMIT
        may = self._ranges is not None or (self._asked is not None and self._memory is not None)
        return arguments.range is not None and may

    def _look(self) -> None:
        """Tell of the call that the worker has, where it takes long."""
        self._looking = None
        waiting = self._waiting
        if waiting is None:
            self._tell_read()
        if waiting is None or waiting.is_told:
            return
        left = self._sent_at + SOON_S - self._loop.time()
        if left > 0:
            self._looking = self._loop.call_later(left, self._look)
        else:
            self.tell(waiting)

    # ---- a worker comes and goes

    def hear(self) -> None:
        """Hear now what the worker has said: the control plane may hear of the same from it."""
        if self._line is not None:
            self._line.pump()

    def close(self) -> None:
        """There is no way to the control plane any more; all calls are brought to the next one."""
        self._next = None
        self.refused()
        self.hear()
        self._tell_read()
        self._end()

    def _ask(self, last: Waiting) -> None:
        try:
            asked = self._asked = _Asked(last.kind, self._came, "" if self._memory is None else self._memory.name)
        except OSError:  # no such sockets here
            self._streak.failed()
            return
        asked.timer = self._loop.call_later(_COMES_S, self.refused)
        self._calls.ask(last.kind, {"job": str(last.job_id), **asked.fields})

    def refused(self) -> None:
        """No worker comes."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self._streak.failed()
            asked.close()
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        """The call that waits for a worker goes the usual way."""
        waiting, self._next = self._next, None
        if waiting is not None:
            self._calls.usual(waiting)

    def _came(self, sock: socket.socket) -> None:
        """Somebody is there; who it is, it has to say first."""
        asked = self._asked
        if asked is None:
            sock.close()
            return
        line = Channel(sock, lambda header, body: self._take(line, header, body))
        line.lost.add_done_callback(lambda _: self._lost(line))
        asked.lines.append(line)

    def _take(self, line: Channel, header: Header, body: Buffer) -> None:
        kind = header["type"]
        if line is not self._line:
            self._greet(line, header)
        elif kind == direct.DONE:
            self._done(header, body)
        elif kind == direct.NEED:
            if self._ranges is not None:
                line.tell(self._ranges.room_for(header["number"], header["size"]))
        elif kind == direct.BYE:
            self._free_ranges()
            waiting = self._end()
            if waiting is not None and not waiting.is_told and waiting.number > header["last"]:
                waiting.loan = ""
                self._calls.usual(waiting)

    def _done(self, header: Header, body: Buffer) -> None:
        waiting, ranges = self._waiting, self._ranges
        if waiting is None or header["number"] != self._number:
            if ranges is not None:
                ranges.late(header["number"])
            return
        value = body if ranges is None else ranges.value(waiting, header, body)
        waiting.facts = (waiting.key, direct.job_of(waiting.key), len(value), self._worker, 0, 0, 0)
        self._calls.answered(waiting, value)

    def _tell_read(self) -> None:
        number = 0 if self._ranges is None else self._ranges.unsaid
        if number and self._line is not None and self._ranges is not None:
            self._ranges.unsaid = 0
            self._line.tell({"type": direct.READ, "number": number})

    def _free_ranges(self) -> None:
        """The worker does nothing any more for this program."""
        if self._ranges is not None:
            self._ranges.free()

    def _greet(self, line: Channel, header: Header) -> None:
        """Raises ValueError where it is not the worker that was asked for."""
        asked = self._asked
        token = str(header.get("token"))
        if asked is None or header["type"] != direct.HELLO or not compare_digest(token, asked.fields["token"]):
            raise ValueError("this is not the worker that was asked for")
        self._asked = None
        asked.lines.remove(line)
        asked.close()
        self._line, self.kind, self._loan, self._worker = line, asked.kind, header["loan"], header["worker"]
        self._number = 0
        if self._memory is not None and header.get("memory"):
            self._ranges = Ranges(self._memory)
        line.tell({"type": direct.WELCOME, "answer": asked.fields["answer"]})
        if self._next is not None and not self._fits(self._next.arguments):
            self._stop_waiting()
        waiting, self._next = self._next, None
        if waiting is not None:
            self.run(waiting)

    def _lost(self, line: Channel) -> None:
        if line is self._line:
            self._free_ranges()
            waiting = self._end()
            if waiting is not None:
                self.tell(waiting)

    def _end(self) -> Waiting | None:
        """The loan is over. Gives the call that the worker has."""
        line, self._line, self.kind = self._line, None, None
        ranges, self._ranges = self._ranges, None
        if line is not None:
            line.close()
            self._streak.served(self._number)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None and ranges is not None:
            waiting.source = ranges.source  # for a control plane that may be another one
        return waiting


class _Asked:
    """A worker was asked for: where it finds this client, and by what they know each other."""

    def __init__(self, kind: Kind, came: Callable[[socket.socket], None], memory: str) -> None:
        """`memory`: what the shared memory of this program is called. Raises OSError."""
        self.kind, self.lines, self._came = kind, list[Channel](), came
        self.timer: asyncio.TimerHandle | None = None
        address, token, answer = (os.urandom(16).hex() for _ in range(3))
        self.fields = {"address": f"flash-{address}", "token": token, "answer": answer, "memory": memory}
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_UNIX)
        self._let_go = weakref.finalize(self, self._socket.close)
        try:
            self._socket.setblocking(False)
            self._socket.bind("\0" + self.fields["address"])
            self._socket.listen(4)
            self._loop.add_reader(self._socket, self._accept)
        except OSError:
            self._let_go()
            raise

    def close(self) -> None:
        """Nobody else comes."""
        if self.timer is not None:
            self.timer.cancel()
        for line in self.lines:
            line.close()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
        self._let_go()

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except OSError:
            return
        sock.setblocking(False)
        self._came(sock)
