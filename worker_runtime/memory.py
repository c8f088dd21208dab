"""How much memory a worker's processes use, whether that is too much, and whether the kernel has killed for it.

The parent measures from time to time: a cgroup of our own needs rights that most users do not have, and RLIMIT_AS is
for addresses, of which numpy and CUDA reserve far more than they use. Linux only; elsewhere nothing is found, so
nothing is limited. What counts is what the kernel cannot take back by itself, as in a container: pages of files (mapped
data, libraries) do not, nor does what is swapped out.
"""

import contextlib
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from worker_runtime import isolation

MB = 1024 * 1024
SHORT_PAUSE_S, LONG_PAUSE_S = 0.1, 0.5
"""Between two measurements: while more than half of the limit is used, and otherwise."""
KILLED_BY_SYSTEM = (
    "the worker's process was killed by the system because memory ran out on its machine or in its container; "
    "process less at a time, run fewer workers at once, or give it more memory"
)
"""What is said of a child that the kernel's own out-of-memory killer has ended."""

_SHARE = 20  # measuring takes at most one part in so many of the time
_AGAIN_S = 0.05
_AT_ONCE_S = 0.001  # what takes no longer need not be done in a thread, whose start and end would cost more
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_SIZE = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes in use, and the seconds until it shall be measured again. `cheap`: that will probably take no thread."""

    used: int
    pause_s: float
    cheap: bool = False


def measure(root: int, limit: int) -> Measured:
    """What the processes below `root` use, itself not. It may take a while: in a thread.

    Never raises: what cannot be read counts nothing.
    """
    begun = time.monotonic()
    if measured := glance(root, limit):
        return measured
    used = exact(root)
    pause = pause_s(used, limit, time.monotonic() - begun)
    if used > limit:  # between vfork and exec, a process that is being started shows its parent's memory as its own
        time.sleep(_AGAIN_S)
        used = min(used, exact(root))
    return Measured(used, pause)


def glance(root: int, limit: int) -> Measured | None:
    """The same, where the processes use no more than `limit` bytes even if nothing were shared; else None."""
    begun = time.monotonic()
    used = resident(root)
    if used > limit:
        return None
    cost_s = time.monotonic() - begun
    return Measured(used, pause_s(used, limit, cost_s), cheap=cost_s < _AT_ONCE_S)


def pause_s(used: int, limit: int, cost_s: float) -> float:
    """Seconds to wait after a measurement that took `cost_s`."""
    return max(SHORT_PAUSE_S if 2 * used > limit else LONG_PAUSE_S, _SHARE * cost_s)


def resident(root: int) -> int:
    """Bytes of the processes below `root`, as if nothing were shared: never less than `exact`, and cheap."""
    return sum(_statm(pid)[0] for pid in below(root))


def exact(root: int) -> int:
    """Bytes of the processes below `root`; what they share, as forked ones do, counts once."""
    return sum(_proportional(pid) for pid in below(root))


def below(root: int) -> list[int]:
    """The processes that `root` and its descendants have started and that live, without `root`."""
    if not os.path.exists(f"{_PROC}/thread-self/children"):  # the kernel was built without it
        return isolation.descendants(root)
    found, waiting = dict[int, None](), [root]
    while waiting:
        for child in _children(waiting.pop()):
            if child not in found:  # else it was handed on to another parent while this went on
                found[child] = None
                waiting.append(child)
    return list(found)


def too_much(used: int, limit: int) -> str:
    """What is said of a worker that used more bytes than its size allows."""
    return (
        f"the worker's processes used {math.ceil(used / MB / 1024 * 100) / 100:g} GB of memory and its size allows "
        f"{limit / MB / 1024:g} GB (cpu= of the endpoint); choose a larger cpu= size, or process less at a time"
    )


def oom_kills(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """How many processes the kernel has killed because memory ran out; 0 where that cannot be read.

    Counted in this process's own cgroup where possible: on the whole machine, those of other containers count too.
    """
    for path in [*_own_counters(proc, cgroups), proc / "vmstat"]:
        with contextlib.suppress(OSError):
            if match := _OOM_KILL.search(path.read_text()):
                return int(match[1])
    return 0


def _children(pid: int) -> Iterator[int]:
    tasks = f"{_PROC}/{pid}/task"
    with contextlib.suppress(OSError):  # it has just ended
        for thread in os.listdir(tasks):
            with contextlib.suppress(OSError):
                yield from map(int, _read(f"{tasks}/{thread}/children").split())


def _statm(pid: int) -> tuple[int, int]:
    """Bytes of one process that are in memory, and those of them that files or other processes share."""
    try:
        fields = _read(f"{_PROC}/{pid}/statm").split()
    except OSError:
        return 0, 0
    page = os.sysconf("SC_PAGE_SIZE")
    return int(fields[1]) * page, int(fields[2]) * page


def _proportional(pid: int) -> int:
    """Bytes of one process: a page counts by its share where several processes have it."""
    try:
        sizes = {name: int(kilobytes) for name, kilobytes in _SIZE.findall(_rollup(pid))}
        return (sizes["Pss"] - sizes.get("Pss_File", 0)) * 1024
    except (OSError, KeyError):  # it has just ended, became another user's, or the kernel is older than 4.14
        there, shared = _statm(pid)
        return there - shared


def _read(path: str) -> bytes:
    """A file of /proc, by as few calls of the system as there can be: this is done for as long as a worker lives."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = iter(lambda: os.read(descriptor, 4096), b"")
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _rollup(pid: int) -> str:
    return (_PROC / str(pid) / "smaps_rollup").read_text()


def _own_counters(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Where the memory cgroup of this process may count, the nearest first: version 1 where it rules memory, or 2."""
    try:
        lines = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return
    first = [path for _, controllers, path in lines if "memory" in controllers.split(",")]
    second = [path for number, _, path in lines if number == "0"]
    where = (cgroups / "memory", "memory.oom_control", first) if first else (cgroups, "memory.events", second)
    base, name, paths = where
    for path in paths[:1]:
        own = base / path.lstrip("/")
        for folder in [own, *own.parents]:
            if folder.is_relative_to(base):  # a container sees its own cgroup as the topmost folder, under any path
                yield folder / name
