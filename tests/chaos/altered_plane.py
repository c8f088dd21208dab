"""A control plane in a harder world: `python -m tests.chaos.altered_plane [--clock FILE] [--out-of-reach]`.

--clock FILE: the wall clock is off by the number of seconds that FILE holds, read at each look.
--out-of-reach: a worker that is stopped (SIGSTOP) cannot be killed, as one on another machine that is cut off.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from runpod_flash.control_plane.__main__ import main
from runpod_flash.control_plane.launchers.process import LocalProcess
from tests.support.place import Place
from tests.support.plane_api import plane_folder, plane_record
from tests.support.waiting import wait_until


def step_clock(file: Path) -> None:
    """Let time.time go wrong by what the file says."""
    real = time.time

    def stepped() -> float:
        return real() + float(file.read_text())

    time.time = stepped


def lose_sight() -> None:
    """Let kills miss what is stopped."""
    kill = LocalProcess.kill

    def reach(self: LocalProcess) -> None:
        if psutil.pid_exists(self.pid) and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED:
            return
        kill(self)

    LocalProcess.kill = reach  # type: ignore[method-assign]


@contextlib.contextmanager
def running(place: Place, *arguments: str, **env: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Such a control plane in this place, for whoever looks for one there; drained and ended at the end."""
    with (place.project / "altered.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.chaos.altered_plane", *arguments],
            env=place.env(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place.project,
        )  # fmt: skip
    with process:
        try:
            wait_until(lambda: _serves(place), 30, "the altered control plane serves")
            yield process
            process.terminate()
            assert process.wait(40) == 0
        finally:
            process.kill()


def _serves(place: Place) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(plane_record(place)["state"] == "serving" and plane_folder(place))
    return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--clock", type=Path)
    parser.add_argument("--out-of-reach", action="store_true")
    chosen = parser.parse_args()
    if chosen.clock is not None:
        step_clock(chosen.clock)
    if chosen.out_of_reach:
        lose_sight()
    sys.exit(main())
