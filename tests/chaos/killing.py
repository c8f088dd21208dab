"""Whom the chaos tests kill, and how long it takes until work goes on."""

import contextlib
import json
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.place import Place
from tests.support.processes import below
from tests.support.waiting import wait_until

PROGRAMS = {"runpod_flash.control_plane", "tests.chaos.altered_plane"}
RECOVERY_S = 60.0
"""Longer than this nothing may stand still."""

IN_FLIGHT = 150
"""How many calls are under way at a time, where nothing else is said."""


def control_planes(place: Place) -> list[psutil.Process]:
    """The control plane of a place, also one that is just starting."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            words = set(process.info["cmdline"] or ())
            if PROGRAMS & words and "-c" not in words and str(place.home) in process.environ().values():
                found.append(process)  # `-c` is the one that starts it, for a moment
    return found


def parents(place: Place) -> list[psutil.Process]:
    """The parents of the workers."""
    return [worker for plane in control_planes(place) for worker in _workers(plane) if _runs(worker, "__main__")]


def children(place: Place) -> list[psutil.Process]:
    """The processes of user code."""
    return [
        child
        for parent in parents(place)
        for child in _children(parent, recursive=True)
        if _runs(child, "worker_runtime.child")
    ]


VICTIMS = {"control plane": control_planes, "worker parent": parents, "worker child": children}


def tree_of(process: psutil.Process) -> list[psutil.Process]:
    """A process and all below it."""
    return [process, *_children(process, recursive=True)]


def _workers(plane: psutil.Process) -> list[psutil.Process]:
    try:
        return below(plane)
    except psutil.Error:
        return []


def _children(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    try:
        return process.children(recursive=recursive)
    except psutil.Error:
        return []


def _runs(process: psutil.Process, text: str) -> bool:
    try:
        return any(text in part for part in process.cmdline())
    except psutil.Error:
        return False


@dataclass
class Killer:
    """Kills at random moments, and measures from each kill to the next start of a call."""

    place: Place
    starts: Path
    random: random.Random
    kills: dict[str, int] = field(default_factory=dict)
    recoveries: dict[str, list[float]] = field(default_factory=dict)

    def victims(self, kind: str) -> set[int]:
        """The processes of a kind."""
        return {process.pid for process in VICTIMS[kind](self.place)}

    def kill(self, kind: str, number: signal.Signals = signal.SIGKILL) -> psutil.Process:
        """Send a signal to one of a kind, as soon as there is one."""

        def one() -> psutil.Process | None:
            found = VICTIMS[kind](self.place)
            return self.random.choice(found) if found else None

        while True:
            victim = wait_until(one, RECOVERY_S, f"a {kind}")
            assert victim is not None
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(number)
                self.kills[kind] = self.kills.get(kind, 0) + 1
                return victim

    def recovered(self, kind: str) -> None:
        """Wait until a call starts, and note how long that took."""
        before, begun = self._size(), time.monotonic()
        wait_until(lambda: self._size() > before, RECOVERY_S, f"work goes on after a {kind} was killed")
        self.recoveries.setdefault(kind, []).append(time.monotonic() - begun)

    def pause(self, longest_s: float) -> None:
        """Let a random time pass, which is what a random moment is."""
        time.sleep(self.random.uniform(0, longest_s))

    def _size(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self.starts.stat().st_size
        return 0

    def report(self) -> str:
        """The figures in words."""
        lines = []
        for kind, times in self.recoveries.items():
            middle, slowest = sorted(times)[len(times) // 2], max(times)
            lines.append(
                f"{kind}: {self.kills[kind]} kills, work went on after {middle:.2f} s, slowest {slowest:.2f} s"
            )
        return "\n".join(lines)


@contextlib.contextmanager
def load(
    place: Place, jobs: int, in_flight: int = IN_FLIGHT, once_every: int = 0, shorter: int = 1, **env: str
) -> "Iterator[Loaded]":
    """The load program under way in this place; `Loaded.finish` lets it end."""
    folder = place.project / "load"
    folder.mkdir()
    loaded = Loaded(place, folder, [str(folder), *map(str, (jobs, in_flight, once_every, shorter))], env)
    loaded.start()
    try:
        yield loaded
        loaded.finish()
    except AssertionError as error:
        error.add_note(loaded.kill())
        raise
    finally:
        loaded.kill()


@dataclass
class Loaded:
    """A running load and what it leaves in its folder."""

    place: Place
    folder: Path
    arguments: list[str]
    env: dict[str, str]
    jobs: int = 0
    """How many calls it has made, known at its end."""
    process: "subprocess.Popen[str] | None" = None

    @property
    def starts(self) -> Path:
        """A line for each start of a call."""
        return self.folder / "starts"

    def start(self) -> None:
        """Start the program."""
        self.process = self.place.start(["-m", "tests.chaos.load", *self.arguments], env=self.env)

    def kill(self) -> str:
        """Kill the program, which may have ended by itself; returns its last words."""
        assert self.process is not None
        self.process.kill()
        return (
            "" if self.process.stderr is None or self.process.stderr.closed else self.process.communicate()[1][-5000:]
        )

    def finish(self) -> None:
        """Wait for its end."""
        assert self.process is not None
        stdout, stderr = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, stderr[-5000:]
        self.jobs = json.loads(stdout)["jobs"]

    def begun(self, number: int = 50) -> None:
        """Wait until some calls have started."""
        wait_until(lambda: self.lines("starts") >= number, 60, "the load runs")

    def enough(self) -> None:
        """Let the load end when it has made its jobs."""
        (self.folder / "enough").touch()

    def lines(self, name: str) -> int:
        """How many lines a file of the folder has."""
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0
