"""The child's end of the streams to its parent: any thread sends, one thread reads each."""

import array
import ctypes
import fcntl
import json
import os
import socket
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable

from worker_runtime.child_link import HAS_MARKS, HAS_MEMORY
from worker_runtime.read_marks import ReadMarks
from worker_runtime.shared import SharedMemory
from worker_runtime.wire import frames, messages, trace
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind
from worker_runtime.wire.pieces import Encoded, Pieces, joined

PARENT_GONE = 1
"""The exit code of a child whose parent has gone."""

_CHUNK = 64 * 1024  # above 128 KB malloc maps pages for each read and unmaps them, which takes longer than the read
_quoted = json.encoder.encode_basestring_ascii


class Channel:
    """Frames to and from the parent. Where the parent has gone, this process ends at once.

    Attributes:
        memory: what is shared with the control plane, once the ends were received.
        after_first: called when the outcome of the first call has been reported.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.memory = SharedMemory(None)
        self.after_first: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._c_stdout = _CStdout()
        self._splitter = frames.Splitter()
        self._frames: deque[tuple[Header, Body]] = deque()  # that were read and not received
        self._output: _Output | None = None
        self._marks: ReadMarks | None = None

    def keep_to_this_program(self) -> None:
        """Programs that user code starts do not get the stream."""
        self._socket.set_inheritable(False)

    def receive_ends(self) -> tuple[socket.socket, socket.socket]:
        """What the parent has sent before all else: the sockets of tickets, and of what is said aside."""
        kinds, descriptors, _, _ = socket.recv_fds(self._socket, 1, 4)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        more = descriptors[2:]
        if kinds[0] & HAS_MARKS:
            self._marks = ReadMarks(more[0])
            os.close(more.pop(0))
        if kinds[0] & HAS_MEMORY:
            self.memory = SharedMemory(socket.socket(fileno=more[0]))
        return socket.socket(fileno=descriptors[0]), socket.socket(fileno=descriptors[1])

    def watch_output(self) -> None:
        """From now on `done` tells whether all that was printed has been read. Raises OSError."""
        self._output = _Output()

    @property
    def reads(self) -> int | None:
        """How often the parent has read something that this process has printed; None where that cannot be seen."""
        return None if self._marks is None or self._output is None else self._marks.number

    def was_silent(self, since: int | None) -> bool:
        """Whether nothing was printed since `reads` was this; what is in buffers leaves this process for that."""
        self._flush()
        output = self._output
        return output is not None and since is not None and output.empty and self.reads == since

    def receive(self) -> tuple[Header, Body]:
        """The next frame."""
        while not self._frames:
            self._frames.extend(self._read())
        return self._frames.popleft()

    def _read(self) -> "list[tuple[Header, Body]]":
        try:
            room = self._splitter.room()
            if room is None:
                data = self._socket.recv(_CHUNK)
                if data:
                    return self._splitter.feed(data)
            else:
                with room:
                    count = self._socket.recv_into(room)
                if count:
                    return self._splitter.filled(count)
        except OSError:
            pass
        os._exit(PARENT_GONE)

    def send(self, header: Header, body: Body = b"") -> None:
        """Write a frame."""
        self._send(frames.head_of(header), body)

    def _send(self, head: bytes, body: Body) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a fork of user code that came back out of the call: only the original may answer
        try:
            with self._lock:
                trace.mark(trace.CHILD_TOLD)
                frames.send_whole(self._socket, frames.whole(head, body))
        except OSError:
            os._exit(PARENT_GONE)

    def done(self, key: tuple[str, int], value: Encoded, error: ErrorInfo | None, took_us: int | None = None) -> bool:
        """Report the outcome of a call; what it printed has left this process before. `took_us`: in microseconds.

        Gives whether all of that has been read, too, where `watch_output` was called; else False.
        """
        more: Header = {} if error is None else {"error": error.to_json()}
        quiet = False
        if os.getpid() == self._pid:
            value = self._left(more, value)
            self._flush()
            quiet = self._output is not None and self._output.empty
            if held := self.memory.end(key):
                more["held"] = held
        head = _done_head(key, took_us, more.pop("range", None), quiet=quiet)
        self._send(head if not more else head[:-1] + b"," + frames.head_of(more)[1:], joined(value))
        self.memory.tidy()
        if self.after_first is not None:
            after, self.after_first = self.after_first, None
            after()
        return quiet

    def _left(self, header: Header, value: Encoded) -> Encoded:
        """The value as it travels: nothing where it could be left in shared memory, which the header says then."""
        if not isinstance(value, Pieces):
            return value
        found = self.memory.place(value)
        if found is not None:
            header["range"] = found.name
        rest = b"" if found is not None else value.joined()
        value.let_go()  # perhaps arguments lie in it
        return rest

    def cancelled(self, key: tuple[str, int]) -> bool:
        """Report a call as cancelled; see `done`."""
        return self.done(key, b"", ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "the call was cancelled"))

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):  # user code may have put anything there
            try:
                stream.flush()
            except Exception:  # noqa: BLE001 - a broken stream of the user's is no failure of the call
                continue
        self._c_stdout.flush()


def _done_head(key: tuple[str, int], took_us: int | None, place: str | None, *, quiet: bool) -> bytes:
    """The header of a call that has ended: the same JSON as of any, made for the many of them."""
    text = f'{{"type":"{messages.DONE}","job":{_quoted(key[0])},"attempt":{key[1]}'
    if took_us is not None:
        text += f',"took":{took_us}'
    if place is not None:
        text += f',"range":"{place}"'
    return (text + (',"quiet":true}' if quiet else "}")).encode()


class _Output:
    """The pipes of standard output and error, whatever user code makes of those."""

    def __init__(self) -> None:
        self._pipes = [os.dup(descriptor) for descriptor in (1, 2)]  # not inherited by programs
        self._unread = array.array("i", [0])

    @property
    def empty(self) -> bool:
        """Whether the parent has read all that was written; False where that cannot be told."""
        try:
            for pipe in self._pipes:
                fcntl.ioctl(pipe, termios.FIONREAD, self._unread)
                if self._unread[0]:
                    return False
        except OSError:  # user code has closed them
            return False
        return True


class _CStdout:
    """The C library's own buffer of standard output, which printf of extensions fills."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._fflush: Callable[[ctypes.c_void_p], int] | None = None
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        try:
            self._stream = ctypes.c_void_p.in_dll(library, name)
            self._fflush = library.fflush
        except (ValueError, AttributeError):  # another C library: its output comes when its buffer is full
            return

    def flush(self) -> None:
        """Write out what is buffered. Only this one stream: fflush(NULL) waits for threads that read others."""
        if self._fflush is not None:
            self._fflush(self._stream)
