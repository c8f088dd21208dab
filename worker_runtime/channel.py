"""The child's end of the stream to its parent: any thread sends, one thread reads."""

import ctypes
import os
import socket
import sys
import threading
from collections.abc import Callable

from worker_runtime.shared import SharedMemory
from worker_runtime.wire import frames, messages
from worker_runtime.wire.frames import Header
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind
from worker_runtime.wire.pieces import Encoded, Pieces, joined

_PARENT_GONE = 1


class Channel:
    """Frames to and from the parent. Where the parent has gone, this process ends at once.

    Attributes:
        memory: what is shared with the control plane.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.memory = SharedMemory(None)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._c_stdout = _CStdout()

    def keep_to_this_program(self) -> None:
        """Programs that user code starts do not get the stream."""
        self._socket.set_inheritable(False)

    def receive_memory(self) -> None:
        """Take what the parent sends before all else: the socket where memory is shared, if it is."""
        _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        if descriptors:
            self.memory = SharedMemory(socket.socket(fileno=descriptors[0]))

    def receive(self) -> tuple[Header, bytes]:
        """The next frame."""
        try:
            return frames.receive(self._socket)
        except (EOFError, OSError):
            os._exit(_PARENT_GONE)

    def send(self, header: Header, body: bytes = b"") -> None:
        """Write a frame."""
        if os.getpid() != self._pid:
            os._exit(0)  # a fork of user code that came back out of the call: only the original may answer
        try:
            with self._lock:
                frames.send(self._socket, header, body)
        except OSError:
            os._exit(_PARENT_GONE)

    def done(self, key: tuple[str, int], value: Encoded, error: ErrorInfo | None) -> None:
        """Report the outcome of a call; what it printed has left this process before."""
        header: Header = {"type": messages.DONE, "job": key[0], "attempt": key[1]}
        if os.getpid() == self._pid:
            self._flush()
            value = self._left(header, value)
            if held := self.memory.end(key):
                header["held"] = held
        header["error"] = error.to_json() if error is not None else None
        self.send(header, joined(value))

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

    def cancelled(self, key: tuple[str, int]) -> None:
        """Report a call as cancelled."""
        self.done(key, b"", ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "the call was cancelled"))

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):  # user code may have put anything there
            try:
                stream.flush()
            except Exception:  # noqa: BLE001 - a broken stream of the user's is no failure of the call
                continue
        self._c_stdout.flush()


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
