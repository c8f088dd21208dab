"""The system calls that keep what a worker starts in one place: namespaces, orphans, killing.

Where the kernel allows it, user code lives in a PID namespace: when the namespace's first process ends, the kernel
kills all others, those that called setsid included. Elsewhere orphans are adopted (subreaper) and found in /proc.
PR_SET_PDEATHSIG is not used: it fires when the spawning thread ends, and grandchildren do not inherit it.
"""

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from worker_runtime.system import check, libc

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36

_PROC = Path("/proc")


def enter_namespaces() -> None:
    """Give this process's next child a PID namespace of its own, and this process its own mounts. Linux only.

    root does so directly; others get a user namespace too, in which they are who they were.

    Raises:
        OSError: the kernel does not allow it.
    """
    if os.geteuid() == 0:
        _unshare(_CLONE_NEWPID | _CLONE_NEWNS)
        return
    user, group = os.geteuid(), os.getegid()
    _unshare(_CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNS)
    own = _PROC / "self"
    (own / "setgroups").write_text("deny")
    (own / "uid_map").write_text(f"{user} {user} 1")
    (own / "gid_map").write_text(f"{group} {group} 1")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends. Does nothing where the system has no such call."""
    if sys.platform == "linux":
        check(libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def forbid_inspection() -> None:
    """Keep other processes of the same user out of this one's memory: it knows the worker's token."""
    if sys.platform == "linux":
        check(libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def allow_inspection() -> None:
    """Let other processes of the same user look at this one, and it at itself, as at any program."""
    if sys.platform == "linux":
        check(libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")


def kill_namespace() -> None:
    """As first process of a PID namespace: kill and reap all others in it."""
    if os.getpid() != 1:
        raise RuntimeError("only the first process of a PID namespace may kill all others")
    while True:
        with contextlib.suppress(ProcessLookupError):  # nobody else
            os.kill(-1, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def kill_descendants(within_s: float = math.inf) -> None:
    """Kill and reap the descendants of this process until none is left. Needs `adopt_orphans` and /proc.

    Those that have become another user's (sudo) cannot be killed and are left.
    """
    end = time.monotonic() + within_s
    untouchable = set[int]()
    while time.monotonic() < end:
        found = set(descendants(os.getpid())) - untouchable
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            except PermissionError:
                untouchable.add(pid)
        # That nothing is found proves nothing: who has just forked and ended was passed over, and so was the new one.
        if not _reap_all() or (untouchable and not found):
            return
        time.sleep(0.002)  # until the killed ones have become ours


def descendants(ancestor: int) -> list[int]:
    """The living processes below one, itself not, by the parents that /proc tells; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, waiting = list[int](), [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _reap_all() -> bool:
    """Reap every child that has ended; whether one is left that lives."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _parents() -> Iterator[tuple[int, int]]:
    for folder in _PROC.iterdir() if _PROC.is_dir() else ():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError):  # it has just ended
                stat = (folder / "stat").read_text(errors="replace")
                yield int(folder.name), int(stat.rpartition(")")[2].split()[1])


def _unshare(flags: int) -> None:
    check(libc().unshare(flags), "unshare")
