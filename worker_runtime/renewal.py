"""A process that was forked becomes as one whose program was just started. What exec does by itself is done by hand.

    descriptors        all but standard input, output, error and those that are kept are closed
    signals            as an interpreter has them when it starts; what was ignored stays so
    environment        exactly what is given, for C code too, and the locale that follows from it
    rights             those of a program: capabilities as exec gives them, and it may be looked at
    random numbers     seeded anew: `random` (by itself), numpy, torch; keys of multiprocessing
    interpreter        its arguments, its garbage collector
    /proc              what it shows as command line and first environment, as far as there is room

What stays that of the fork server: the addresses of memory, and the secret of string hashes.
"""

import ctypes
import gc
import locale
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from worker_runtime import isolation, privileges

ROOM = "FLASH_ROOM"
"""A variable of fork servers, as long as the environments that their forks shall show in /proc."""

_MOST_DESCRIPTORS = 1 << 30
_ARGUMENTS, _ENVIRONMENT_END = 45, 49  # their fields of /proc/self/stat after the program's name: two addresses each
_UTF8_OF_C = "C.UTF-8"  # what an interpreter takes in place of the locale C


def renew(argv: Sequence[str], env: Mapping[str, str], kept: Sequence[int]) -> None:
    """Become as the program `argv` with the environment `env`; `kept` are open descriptors beside the standard ones.

    Raises:
        OSError: the kernel does not allow it.
    """
    sys.orig_argv = list(argv)
    set_environment(env)
    reset_signals()
    reseed()
    gc.enable()
    privileges.keep_what_a_program_would()
    isolation.allow_inspection()
    show_as(argv, env)
    close_all_but(kept)  # at last: whoever waits for the program sees by this that it has started


def set_environment(env: Mapping[str, str]) -> None:
    """Replace the environment, and take the locale of texts from it, as an interpreter does when it starts."""
    os.environ.clear()  # noqa: TID251 - it is not read
    os.environ.update(env)  # noqa: TID251 - it is not read
    try:
        found = locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:  # it names one that is not here
        found = "C"
    if found in ("C", "POSIX") and not env.get("LC_ALL"):
        os.environ["LC_CTYPE"] = _UTF8_OF_C  # noqa: TID251 - it is not read
        try:
            locale.setlocale(locale.LC_CTYPE, "")
        except locale.Error:
            del os.environ["LC_CTYPE"]  # noqa: TID251 - it is not read


def show_as(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Let /proc show this command line and environment. The kernel reads both from this process's own memory."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = [int(field) for field in file.read().rpartition(")")[2].split()[_ARGUMENTS:_ENVIRONMENT_END]]
    texts = (argv, [f"{name}={value}" for name, value in env.items()])
    for start, end, parts in zip(fields[::2], fields[1::2], texts, strict=True):
        if end > start > 0:
            text = b"".join(os.fsencode(part) + b"\0" for part in parts)[: end - start - 1]
            ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def make_room() -> None:
    """Forget the variable ROOM; for a fork server, as soon as it starts."""
    os.environ.pop(ROOM, None)  # noqa: TID251 - it is not read


def reset_signals() -> None:
    """Give each signal what a started interpreter has for it."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(number, signal.SIG_DFL)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_IGN)
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def reseed() -> None:
    """Two forks of one process must not draw the same numbers. `random` sees to its own."""
    if (numpy := _loaded("numpy.random")) is not None:
        numpy.seed()
    if (torch := _loaded("torch")) is not None:
        torch.default_generator.seed()
    if (processes := _loaded("multiprocessing.process")) is not None:
        processes.current_process().authkey = os.urandom(32)


def close_all_but(kept: Sequence[int]) -> None:
    """Close every descriptor but the standard ones and some others."""
    start = 3
    for number in sorted(kept):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, _MOST_DESCRIPTORS)


def _loaded(name: str) -> Any:
    """A module that has been imported, else None."""
    return sys.modules.get(name)
