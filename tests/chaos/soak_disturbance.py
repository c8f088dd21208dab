"""What disturbs the soak: workers are killed, client programs come, deploy and go, and some of those are killed."""

import contextlib
import random
import subprocess
import sys
import time
from collections import Counter

import psutil

from tests.chaos.soak_load import VICTIM
from tests.support.place import Place

KILL_EVERY_S = 5.0
VISIT_EVERY_S = 3.0
KILLED_VISITOR = 6
"""Each one of so many visitors is killed."""

NEW_MODULE = 5
"""After so many visitors the local module is another."""

_PATIENCE_S = 90.0  # the longest that a visitor may take


class Program:
    """A client program under way: `python -m MODULE ARGUMENTS…`; what it writes goes to files."""

    def __init__(self, place: Place, name: str, module: str, *arguments: str) -> None:
        self.name = name
        self.stdout, self.stderr = (place.project / f"{name}.{stream}" for stream in ("out", "err"))
        command = [sys.executable, "-m", module, *arguments]
        with self.stdout.open("w") as stdout, self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                command, cwd=place.project, env=place.env(), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.process.poll() is not None

    def check_end(self, deadline_s: float = _PATIENCE_S) -> None:
        """Wait for the end; fail with what it wrote unless it is a good one."""
        assert self.process.wait(deadline_s) == 0, self.failure()

    def failure(self) -> str:
        """Its exit status and its last words."""
        return f"{self.name} ended with {self.process.returncode}\n{self.stderr.read_text()[-5000:]}"

    def said(self, line: str) -> bool:
        """Whether it has written this line."""
        return line in self.stdout.read_text().splitlines()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


class Visitors:
    """Programs that come and go, one at a time. `came` counts them and, of those, the killed ones."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.came: Counter[str] = Counter()
        self.next_at = self.begun = 0.0
        self.here: Program | None = None

    def tick(self) -> None:
        """Start one when it is time, look after the one that is here."""
        now = time.monotonic()
        if self.here is not None:
            self._look(self.here, now)
        elif now >= self.next_at:
            number = self.came["all"]
            if number % NEW_MODULE == 0:
                self.place.write("soak_module.py", f"REVISION = {number}")
            self.here = Program(self.place, f"visitor-{number}", "tests.chaos.soak_visitor", str(number))
            self.came["all"] += 1
            self.begun, self.next_at = now, now + VISIT_EVERY_S

    def leave(self) -> None:
        """Wait until the last one has gone."""
        if self.here is not None:
            self.here.check_end()
            self.here = None

    def kill(self) -> None:
        """End the one that is here, where all has to end."""
        if self.here is not None:
            self.here.kill()

    def _look(self, visitor: Program, now: float) -> None:
        if visitor.ended:
            visitor.check_end()
        elif self.came["all"] % KILLED_VISITOR == 0 and visitor.said("stays"):
            visitor.kill()
            self.came["killed"] += 1
        else:
            assert now < self.begun + _PATIENCE_S, f"{visitor.name} takes more than {_PATIENCE_S} s"
            return
        visitor.stdout.unlink()
        visitor.stderr.unlink()
        self.here = None


class Kills:
    """Kills the victim's worker, its parent or its child. `done` counts them."""

    def __init__(self, plane: psutil.Process) -> None:
        self.plane = plane
        self.done: Counter[str] = Counter()
        self.next_at = time.monotonic() + KILL_EVERY_S

    def tick(self) -> None:
        """Kill when it is time and there is a worker."""
        if time.monotonic() < self.next_at:
            return
        worker = self._victim()
        if worker:
            kind = random.choice(list(worker))
            with contextlib.suppress(psutil.NoSuchProcess):
                worker[kind].kill()
                self.done[kind] += 1
            self.next_at = time.monotonic() + random.uniform(0.5, 1.5) * KILL_EVERY_S

    def _victim(self) -> dict[str, psutil.Process]:
        """The two processes of the worker, none where there is no whole one at the moment."""
        for process in self.plane.children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended, or is none of those that this user may see
                if process.environ().get("FLASH_RESOURCE_NAME") == VICTIM:
                    parent = next(above for above in process.parents() if above.ppid() == self.plane.pid)
                    return {"parent": parent, "child": process}
        return {}
