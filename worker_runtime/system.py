"""The C library, for system calls that Python has no function for."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC = 1, 2, 4, 8, 0x20, 0x1000, 0x4000
UNBINDABLE, PRIVATE = 1 << 17, 1 << 18
"""Flags of `mount`."""

_SET_TIMER_SLACK = 29  # of prctl(2)


def libc() -> ctypes.CDLL:
    """The C library of this process; its calls leave errno for `check`."""
    return ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError, naming `what` was tried, where a call of `libc` did not return 0."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError, which names the target."""
    texts = [os.fsencode(text) if text is not None else None for text in (source, target, kind, data)]
    check(libc().mount(*texts[:3], ctypes.c_ulong(flags), texts[3]), f"mount {target}")


@contextlib.contextmanager
def held(folder: str) -> Iterator[str]:
    """A path that leads to a folder as it is now, whatever is mounted over it."""
    there = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{there}"
    finally:
        os.close(there)


def give_way() -> None:
    """Let this process, when it is woken up, wait for the one that runs; it gets as much of a processor as before.

    Linux puts who is woken by a socket onto the processor of who wrote to it. Nothing happens where that is not to be
    changed.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def wake_in_time() -> None:
    """Let this thread, and those that it starts, wake up from a sleep when it is over and not up to 50 µs later.

    Linux gathers wake-ups within that time, to save power. Nothing happens where that is not to be changed.
    """
    with contextlib.suppress(AttributeError):
        libc().prctl(_SET_TIMER_SLACK, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3)
