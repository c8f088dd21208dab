"""Where the time of one warm call goes: `python -m benchmarks.profile` prints it and draws docs/images/waterfall.svg.

The caller, the control plane and the worker send a mark at each border that a call crosses to a socket of this program
(`worker_runtime.wire.tracing`). Then the control plane is run once more under cProfile, with many calls at once.
"""

import argparse
import os
import pstats
import signal
import socket
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import psutil

from benchmarks import waterfall
from benchmarks.scene import Scene
from benchmarks.sizes import FULL, SMALL, Sizes
from worker_runtime.wire import tracing

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "waterfall.svg"
DATAGRAM, QUIET_S, LISTEN_S = 65536, 0.5, 60.0
SHOWN = 25


def marks_of_calls(scene: Scene) -> list[tuple[str, int]]:
    """The marks of many calls, one after the other, which all go by the control plane."""
    name = f"flash-trace-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(b"\0" + name.encode())
        listener.settimeout(QUIET_S)
        env = scene.home().env({tracing.VARIABLE: name, "FLASH_DIRECT": "0"})
        with scene.driver(["traced_calls.py", name], env) as driver:
            _ = list(_received(listener))  # of the calls that warmed it
            driver.begin("calls", count=scene.sizes.calls)
            found = list(_received(listener))
            driver.finish()
    return found


def _received(listener: socket.socket) -> Iterator[tuple[str, int]]:
    """What comes until nothing more does."""
    end = time.monotonic() + LISTEN_S
    while time.monotonic() < end:
        try:
            yield from tracing.read(listener.recv(DATAGRAM))
        except TimeoutError:
            return


def functions_of_plane(scene: Scene) -> str:
    """The functions in which the control plane spends its time while many calls are under way, by cProfile."""
    home, out = scene.home(), scene.folder / "plane.prof"
    program = [scene.python, "-P", "-m", "cProfile", "-o", str(out), "-m", "runpod_flash.control_plane"]
    with home.running(program), home.calls("nothing", 2, 2) as driver:
        driver.ask("gather", count=scene.sizes.gathered)
    text = StringIO()
    stats = pstats.Stats(str(out), stream=text)
    stats.strip_dirs().sort_stats("tottime").print_stats(SHOWN)
    return text.getvalue().partition("Ordered by")[2].partition("\n")[2].strip("\n")


def main() -> int:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=PICTURE, help="where the picture goes")
    parser.add_argument("--small", action="store_true", help="so few calls that figures mean nothing; needs --out")
    options = parser.parse_args()
    if options.small and options.out == PICTURE:
        parser.error("--small: its figures mean nothing; say with --out where the picture may go")
    sizes: Sizes = SMALL if options.small else FULL
    with Scene(sizes) as scene:
        calls = waterfall.calls_of(marks_of_calls(scene))
        steps = waterfall.steps_of(calls)
        processor = f"{psutil.cpu_count()} cores"
        title = f"One warm await f(x), median of {len(calls):,} calls on {processor}"
        print(f"{title}\n\n{waterfall.text_of(steps)}")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(waterfall.picture_of(steps, title))
        print(f"{options.out.name} is drawn. The control plane while {sizes.gathered:,} calls are gathered:\n")
        print(functions_of_plane(scene))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started ends with it
    sys.exit(main())
