"""What user code writes: bytes of the child's standard output and error become lines, in order, as they happen.

It reads the pipes themselves, so that C code and subprocesses are seen too.
"""

import array
import asyncio
import codecs
import fcntl
import os
import termios
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from worker_runtime.read_marks import ReadMarks

MAX_LINE = 16 * 1024
"""Characters; a longer line is cut into pieces."""

TAIL_LINES = 40
"""How many lines of standard error are kept for the report of a death."""

_CHUNK = 64 * 1024
_BATCH_S = 0.02
_PARTIAL_S = 0.2

Emit = Callable[[str | None, str, list[str]], None]
"""Takes (job or None, stream, lines)."""


class Lines:
    """Cuts a stream of UTF-8 bytes into lines. Bytes that are no UTF-8 become replacement characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest: list[str] = []
        self._length = 0
        self._cut = False  # the line's beginning was given before; its bare end is no line of its own

    @property
    def partial(self) -> bool:
        """Whether there is a line without its end."""
        return self._length > 0

    def feed(self, data: bytes) -> list[str]:
        """Take bytes, give the lines that are complete now."""
        *ended, rest = self._decoder.decode(data).split("\n")
        lines = list[str]()
        for text in ended:
            self._append(text)
            if self._length or not self._cut:
                lines += self._take()
            self._cut = False
        self._append(rest)
        if self._length >= MAX_LINE:
            text = "".join(self._rest)
            keep = len(text) - len(text) % MAX_LINE
            self._rest, self._length, self._cut = [text[keep:]], len(text) - keep, True
            lines += _pieces(text[:keep])
        return lines

    def flush(self) -> list[str]:
        """Give the line without an end as it is."""
        if not self._length:
            return []
        self._cut = True
        return self._take()

    def _append(self, text: str) -> None:
        self._rest.append(text)
        self._length += len(text)

    def _take(self) -> list[str]:
        text = "".join(self._rest)
        self._rest, self._length = [], 0
        return _pieces(_overwritten(text))


def _overwritten(text: str) -> str:
    """A carriage return starts the line anew, as in a terminal: of a progress bar the last state stays."""
    return text.rstrip("\r").rpartition("\r")[2]


def _pieces(text: str) -> list[str]:
    return [text[start : start + MAX_LINE] for start in range(0, len(text), MAX_LINE)] or [""]


@dataclass(slots=True)
class _Stream:
    name: str
    descriptor: int
    lines: Lines = field(default_factory=Lines)
    open: bool = True
    reading: bool = False


class Capture:
    """Reads both pipes on the running event loop and emits lines in small batches.

    `owner` tells which job a line that is read now belongs to. When `backlog()` grows beyond `limit` bytes, reading
    pauses until `drain()` returns, which must not raise; user code that writes then waits, as for a slow terminal.
    `before` is called before lines are read because there are some.

    Attributes:
        marks: are counted before each read, where there are any.
    """

    def __init__(
        self,
        pipes: dict[str, int],
        emit: Emit,
        owner: Callable[[], str | None],
        backlog: Callable[[], int],
        drain: Callable[[], Awaitable[None]],
        before: Callable[[], None] = lambda: None,
        limit: int = 4 * 1024 * 1024,
    ) -> None:
        self._streams = [_Stream(name, descriptor) for name, descriptor in pipes.items()]
        self._emit, self._owner, self._backlog, self._drain, self._limit = emit, owner, backlog, drain, limit
        self._before = before
        self.marks: ReadMarks | None = None
        self._batch: list[tuple[str | None, str, list[str]]] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._partial_timer: asyncio.TimerHandle | None = None
        self._pause: asyncio.Task[None] | None = None
        self._sent_at = 0.0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        for stream in self._streams:
            os.set_blocking(stream.descriptor, False)
        self._resume()

    @property
    def tail(self) -> list[str]:
        """The last lines of standard error."""
        return list(self._tail)

    def catch_up(self) -> None:
        """Emit all that was written until now, lines without an end included."""
        waiting = array.array("i", [0])
        for stream in self._streams:
            left = 0
            if stream.open:
                fcntl.ioctl(stream.descriptor, termios.FIONREAD, waiting)
                left = waiting[0]
            while left > 0 and (count := self._read(stream, min(left, _CHUNK))):
                left -= count
        self.settle()

    def hand_on(self) -> None:
        """Emit the whole lines that were read."""
        if self._batch:
            self._send()

    def settle(self) -> None:
        """Emit what was read, lines without an end included."""
        if self._batch or any(stream.lines.partial for stream in self._streams):
            self._flush_partial()
            self._send()

    def finish(self) -> None:
        """Emit what is left and close the pipes; call it when nothing can write any more."""
        self.catch_up()
        for handle in (self._timer, self._partial_timer, self._pause):
            if handle is not None:
                handle.cancel()
        for stream in self._streams:
            self._close(stream)

    def _resume(self) -> None:
        for stream in self._streams:
            if stream.open and not stream.reading:
                stream.reading = True
                self._loop.add_reader(stream.descriptor, self._readable, stream)

    def _readable(self, stream: _Stream) -> None:
        self._before()
        self._read(stream, _CHUNK)
        if any(each.lines.partial for each in self._streams) and self._partial_timer is None:
            self._partial_timer = self._loop.call_later(_PARTIAL_S, self._partial_late)
        if self._batch and self._timer is None:
            wait = self._sent_at + _BATCH_S - self._loop.time()
            if wait > 0:
                self._timer = self._loop.call_later(wait, self._send)
            else:
                self._send()
        if self._backlog() > self._limit and (self._pause is None or self._pause.done()):
            self._pause = self._loop.create_task(self._wait_for_room())

    def _read(self, stream: _Stream, count: int) -> int:
        if self.marks is not None:
            self.marks.count()
        try:
            data = os.read(stream.descriptor, count)
        except BlockingIOError:
            return 0
        if not data:
            self._add(stream, stream.lines.flush())
            self._close(stream)
            return 0
        self._add(stream, stream.lines.feed(data))
        return len(data)

    def _add(self, stream: _Stream, lines: list[str]) -> None:
        if not lines:
            return
        if stream.name == "stderr":
            self._tail.extend(lines)
        owner = self._owner()
        if self._batch and self._batch[-1][:2] == (owner, stream.name):
            self._batch[-1][2].extend(lines)
        else:
            self._batch.append((owner, stream.name, lines))

    def _partial_late(self) -> None:
        self._partial_timer = None
        self._flush_partial()
        self._send()

    def _flush_partial(self) -> None:
        for stream in self._streams:
            self._add(stream, stream.lines.flush())

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sent_at = self._loop.time()
        batch, self._batch = self._batch, []
        for owner, name, lines in batch:
            self._emit(owner, name, lines)

    async def _wait_for_room(self) -> None:
        for stream in self._streams:
            self._stop_reading(stream)
        await self._drain()
        self._resume()

    def _stop_reading(self, stream: _Stream) -> None:
        if stream.reading:
            self._loop.remove_reader(stream.descriptor)
            stream.reading = False

    def _close(self, stream: _Stream) -> None:
        self._stop_reading(stream)
        if stream.open:
            stream.open = False
            os.close(stream.descriptor)
