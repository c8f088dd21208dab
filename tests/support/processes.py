"""Find and end the processes that belong to a state folder: the control plane, its workers and what they started."""

import contextlib
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from tests.support.waiting import wait_until


def processes_of(folder: Path) -> list[psutil.Process]:
    """The live processes, and all below them, with `folder` in their command line, working directory or environment."""
    text, found = str(folder), {}
    for process in psutil.process_iter():
        if process.pid != psutil.Process().pid and text in _description(process):
            found[process.pid] = process
            found.update({child.pid: child for child in _children(process)})
    return [process for process in found.values() if lives(process)]


def children_with(word: str) -> list[psutil.Process]:
    """The live processes below this one that have `word` in their command line."""
    return [each for each in _children(psutil.Process()) if word in _description(each) and lives(each)]


def below(plane: psutil.Process) -> list[psutil.Process]:
    """The processes below a control plane that hold workers or run programs for it, not the fork servers themselves."""
    found = []
    for child in plane.children():
        forks = any("forkserver" in word for word in _words(child))
        found += _direct(child) if forks else [child]
    return [process for process in found if lives(process)]


def no_process_left(folder: Path, deadline_s: float = 20.0) -> None:
    """Fail with the command lines of what still lives after `deadline_s` seconds."""
    try:
        wait_until(lambda: not processes_of(folder), deadline_s)
    except AssertionError:
        left = [f"{process.pid}: {_description(process)[:200]}" for process in processes_of(folder)]
        if left:
            raise AssertionError("these processes are left over:\n" + "\n".join(left)) from None


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals = signal.SIGKILL) -> None:
    """Signal each that has not ended; some end with the one that has started them."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def end_processes(folder: Path) -> None:
    """Kill what `processes_of` finds, until nothing is found."""

    def none_left() -> bool:
        found = processes_of(folder)
        signal_all(found)
        return not found

    wait_until(none_left, 20.0, f"ending the processes of {folder}")


def _description(process: psutil.Process) -> str:
    parts: list[str] = []
    for read in (lambda: " ".join(process.cmdline()), process.cwd, lambda: "\0".join(process.environ().values())):
        try:
            parts.append(read())
        except (psutil.Error, OSError):  # it ended, or belongs to somebody else
            continue
    return "\0".join(parts)


def _direct(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def lives(process: psutil.Process) -> bool:
    """Whether it has not ended."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
