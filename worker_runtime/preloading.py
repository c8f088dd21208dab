"""What a fork server has imported before it forks, and whether it may fork after that.

Only importing is done here: after one operation of torch, or one call of CUDA, what is forked would hang in the next.
So whatever an import leaves behind that a fork does not carry over, or carries over as shared, is a reason not to fork:
threads, open files, handlers of signals, processes, CUDA, functions of the standard library that were replaced.
"""

import contextlib
import ctypes
import importlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from worker_runtime import packages_seen
from worker_runtime.wire.fields import optional, require, strings

LONGEST = 65536
"""Bytes of a message between a fork server and its control plane."""

_CUDA = "libcuda.so.1"
_CUDA_NOT_INITIALIZED = 3
_THREADS, _DESCRIPTORS, _MAPS = Path("/proc/self/task"), Path("/proc/self/fd"), Path("/proc/self/maps")


@dataclass(frozen=True, slots=True)
class Packages:
    """What a fork server shall have: the overlay on its path, and modules by name.

    `cores`: on how many cores these are imported, since libraries count them then; 0: all.
    """

    overlay: str | None = None
    preload: tuple[str, ...] = ()
    cores: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Packages":
        """Read what `to_json` wrote. Raises WireError, ValueError."""
        data = require({"data": json.loads(text)}, "data", dict)
        return cls(optional(data, "overlay", str), strings(data, "preload"), require(data, "cores", int, default=0))


@dataclass(frozen=True, slots=True)
class Preloaded:
    """What importing has done.

    Attributes:
        unfit: why no process may be forked from this one; empty: it may.
        failed: the modules that could not be imported, each with the error.
        said: what was written to standard output and error meanwhile.
        env: the variables that it has set.
    """

    unfit: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)
    said: tuple[bytes, bytes] = (b"", b"")
    env: Mapping[str, str] = field(default_factory=dict)


def preload(packages: Packages) -> Preloaded:
    """Import modules. What they raise is told, not raised."""
    if not packages.preload:
        return Preloaded()
    before, failed = _Marks.now(), dict[str, str]()
    env = dict(os.environ)  # noqa: TID251 - to see what changes
    with _captured() as said, _on_cores(packages.cores):
        for name in packages.preload:
            try:
                importlib.import_module(name)
            except BaseException as error:  # noqa: BLE001 - a package may raise anything, sys.exit included
                failed[name] = f"{type(error).__name__}: {error}"
        _flush()
        _fork_once()
    changed = {name: value for name, value in os.environ.items() if env.get(name) != value}  # noqa: TID251 - as above
    texts = said()
    return Preloaded(before.what_is_left(), failed, texts, changed)


@dataclass(frozen=True, slots=True)
class _Marks:
    """What must be the same after importing as before."""

    descriptors: frozenset[str]
    handlers: tuple[Any, ...]
    functions: tuple[Any, ...]

    @classmethod
    def now(cls) -> "_Marks":
        handlers = tuple(signal.getsignal(number) for number in sorted(signal.valid_signals()))
        functions = (
            os.fork, os.read, os.write, select.select, getattr(select, "epoll", None), signal.signal, socket.socket,
            subprocess.Popen, threading.Thread, threading.Lock, time.sleep, io.TextIOWrapper,
        )  # fmt: skip
        return cls(_descriptors(), handlers, functions)

    def what_is_left(self) -> str:
        """Why a process that is forked now would not be as one that had imported the same; empty: it would."""
        now = _Marks.now()
        if (threads := len(list(_THREADS.iterdir()))) > 1:
            return f"importing starts threads ({threads - 1} of them), which a fork does not have"
        if _cuda_has_begun():
            return "importing initializes CUDA, which does not work after a fork"
        if opened := sorted(now.descriptors - self.descriptors):
            return f"importing opens {', '.join(opened[:3])}, which forks would share"
        if now.handlers != self.handlers:
            return "importing sets handlers of signals"
        if now.functions != self.functions:
            return "importing replaces functions of the standard library"
        return "importing starts processes" if _has_children() else ""


@dataclass(slots=True)
class Files:
    """The files that modules were imported from, and the folders of packages, as they were."""

    marks: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def now(cls) -> "Files":
        origins = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        packages = [path for path in sys.path if os.path.basename(path) in packages_seen.FOLDERS]
        paths = [path for path in (*origins, *packages) if isinstance(path, str) and os.path.isabs(path)]
        return cls({path: _mark(path) for path in paths})

    def changed(self) -> str:
        """The first that is not as it was; empty: all are. What is imported now would then differ."""
        return next((path for path, mark in self.marks.items() if _mark(path) != mark), "")


def drop_shadowed(code: str, own: Collection[str]) -> None:
    """Forget modules of whose names the user's folder `code` has others: those are the ones to be imported.

    `own` are the modules that a child has before it looks at that folder, however it was started.
    """
    names = set(_modules_in(code))
    for name in list(sys.modules):
        if name.partition(".")[0] in names and name not in own:
            del sys.modules[name]


def _modules_in(folder: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            # A folder without __init__ comes after a package of that name further behind on the path.
            if not entry.is_dir() or os.path.exists(os.path.join(entry.path, "__init__.py")):
                yield entry.name.partition(".")[0]


@contextlib.contextmanager
def _on_cores(number: int) -> Iterator[None]:
    """Run on so many cores."""
    before = os.sched_getaffinity(0)
    if number:
        os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _captured() -> "Iterator[Callable[[], tuple[bytes, bytes]]]":
    """Keep what is written to standard output and error, by C code too."""
    files = [os.fdopen(os.memfd_create("said"), "w+b") for _ in range(2)]
    before = [os.dup(number) for number in (1, 2)]
    for number, file in enumerate(files, 1):
        os.dup2(file.fileno(), number)

    def read() -> tuple[bytes, bytes]:
        texts = []
        for file in files:
            with file:
                file.seek(0)
                texts.append(file.read())
        return texts[0], texts[1]

    try:
        yield read
    finally:
        for number, old in enumerate(before, 1):
            os.dup2(old, number)
            os.close(old)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)  # else each fork would write what C code has printed


def _fork_once() -> None:
    """Let libraries do what they do before a fork: OpenBLAS ends its threads then, and starts them when needed."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _descriptors() -> frozenset[str]:
    found = set()
    for entry in _DESCRIPTORS.iterdir():
        with contextlib.suppress(OSError):  # that of looking itself
            found.add(f"{entry.name} ({os.readlink(entry)})")
    return frozenset(each for each in found if "/proc/" not in each)


def _cuda_has_begun() -> bool:
    if "libcuda.so" not in _MAPS.read_text(errors="replace"):
        return False
    return ctypes.CDLL(_CUDA).cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != _CUDA_NOT_INITIALIZED  # type: ignore[no-any-return]


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _mark(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
