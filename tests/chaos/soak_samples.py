"""What the soak measures: memory, descriptors, threads and processes of all that runs, and the state folder's size."""

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from runpod_flash import journal

MEGABYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Measure:
    """A series: its unit and the growth that is allowed however small it is."""

    unit: str
    least: float


MEASURES = {
    "control plane: memory": Measure("MB", 3),
    "control plane: descriptors": Measure("", 4),
    "control plane: threads": Measure("", 2),
    "state folder": Measure("MB", 5),
    "workers: memory": Measure("MB", 5),
    "workers: descriptors": Measure("", 4),
    "workers: threads": Measure("", 2),
    "workers: processes": Measure("", 1),
    "client: memory": Measure("MB", 3),
    "client: descriptors": Measure("", 4),
    "client: threads": Measure("", 1),
}
"""The series that must stay flat. That of the state folder holds what a minute's collection leaves, as a peak."""

JOURNAL = "journal of the client programs"
JOURNAL_LIMIT = 2 * journal.LIMIT / MEGABYTE
"""It grows by design until it makes room for a new one, and one old one is kept; so it has a bound instead."""


class Sampler:
    """Takes samples of a control plane, all below it, a client and a state folder."""

    def __init__(self, plane: psutil.Process, client: int, home: Path) -> None:
        self.plane, self.client, self.home = plane, psutil.Process(client), home

    def sample(self) -> dict[str, float]:
        """All series at this moment, and the journal."""
        workers = self.plane.children(recursive=True)
        journal_size, state_size = sizes(self.home)
        return {
            **self._one("control plane", self.plane),
            **self._one("client", self.client),
            "workers: memory": _sum(workers, _shared_memory) / MEGABYTE,
            "workers: descriptors": _sum(workers, _descriptors),
            "workers: threads": _sum(workers, psutil.Process.num_threads),
            "workers: processes": len(workers),
            "state folder": state_size / MEGABYTE,
            JOURNAL: journal_size / MEGABYTE,
        }

    @staticmethod
    def _one(name: str, process: psutil.Process) -> dict[str, float]:
        with process.oneshot():
            return {
                f"{name}: memory": process.memory_info().rss / MEGABYTE,
                f"{name}: descriptors": process.num_fds(),
                f"{name}: threads": process.num_threads(),
            }


def sizes(home: Path) -> tuple[int, int]:
    """Bytes of the journal and of all else in the state folder."""
    notes = state = 0
    for folder, _, names in os.walk(home):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                if path.name.startswith(journal.path_of(home).name):
                    notes += path.stat().st_size
                else:
                    state += path.stat().st_size
    return notes, state


def _shared_memory(process: psutil.Process) -> float:
    """Memory of one of many processes: what several share counts in parts, where the system tells, else in each."""
    try:
        memory = process.memory_full_info()
    except psutil.AccessDenied:  # a worker's own processes, where this user is not root
        return float(process.memory_info().rss)
    return float(getattr(memory, "pss", memory.rss))


def _descriptors(process: psutil.Process) -> float:
    """How many there are; 0 where this user may not see them, which is so as long as the process lives."""
    with contextlib.suppress(psutil.AccessDenied):
        return process.num_fds()
    return 0


def _sum(processes: Iterable[psutil.Process], read: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            total += read(process)
    return total
