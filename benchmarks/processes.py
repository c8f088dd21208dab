"""What the processes of a system use: memory, processor time, and what is left of them at the end."""

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import psutil

MEGABYTE = 1e6
_END_S = 5.0


def belonging(mark: str) -> list[psutil.Process]:
    """All processes that name this folder in their command or environment, and all below them."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and _names(process, mark):
                found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())


def _names(process: psutil.Process, mark: str) -> bool:
    if any(mark in word for word in process.cmdline()):
        return True
    return any(mark in value for value in process.environ().values())


def end_all(mark: str) -> list[str]:
    """End what still runs there; returns what it was."""
    left = belonging(mark)
    shown = [_shown(process) for process in left]
    for act in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with contextlib.suppress(psutil.Error):
                act(process)
        _, left = psutil.wait_procs(left, timeout=_END_S)
    return shown


def _shown(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())[:120] or process.name()
    return f"process {process.pid}"


def memory_mb(processes: Iterable[psutil.Process]) -> float:
    """Memory in megabytes; what several share counts in parts."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / MEGABYTE


def processor_s(processes: Iterable[psutil.Process]) -> float:
    """Seconds of processor time that living processes have used, finer than the ticks of the clock."""
    return sum(_scheduled_s(process) for process in processes)


def _scheduled_s(process: psutil.Process) -> float:
    """Of all threads of a process, the main one and the others."""
    total = 0
    for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(path.read_text().split()[0])
    return total / 1e9


class PrivateMemory:
    """How much memory of its own each process of a system gains while something happens, at most.

    Pages that are shared with others, an arena for example, are not its own.
    """

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._before = {process.pid: _private(process.pid) for process in processes}
        self._most = dict(self._before)

    def look(self) -> None:
        """Take a sample."""
        for pid, most in self._most.items():
            self._most[pid] = max(most, _private(pid))

    def watch(self, done: threading.Event) -> None:
        """Take samples until it is done."""
        while not done.wait(0.002):
            self.look()

    def gained_mb(self) -> dict[int, float]:
        """By the number of the process."""
        return {pid: (most - self._before[pid]) / MEGABYTE for pid, most in self._most.items()}


def _private(pid: int) -> int:
    """Anonymous memory in bytes; 0 of a process that is no more."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0
