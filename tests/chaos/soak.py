"""Minutes of mixed load, and whether all stays flat: `python -m tests.chaos.soak --minutes 10 --out docs`.

    soak_load         the client program that lives as long as the soak
    soak_disturbance  kills of workers, and programs (soak_visitor) that come, deploy and go
    soak_samples      what is measured, every two seconds
    soak_verdict      whether a series is flat
    soak_report       the page; soak_plot its picture

All runs from a copy of the packages, as another content of them would start another control plane beside this one.
"""

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chaos.soak_disturbance import Kills, Program, Visitors
from tests.chaos.soak_load import KINDS
from tests.chaos.soak_report import RATE, Soaked, panels, text_of
from tests.chaos.soak_samples import Sampler
from tests.chaos.soak_verdict import WARM_UP
from tests.support.place import ROOT, Place
from tests.support.plane_api import control_plane
from tests.support.waiting import wait_until

SAMPLE_EVERY_S = 2.0
SHORTEST_MIN = 0.5
KEEP_S = 15
"""How long results are kept here, in seconds."""

PLOT_S = 300.0
"""How long the picture may take, with the installation of what draws it."""

COLUMNS = 4
"""Pictures beside each other."""

PACKAGES = ("runpod_flash", "worker_runtime", "cli", "tests", "benchmarks")
_TICK_S = 0.05


class SoakPlace(Place):
    """A place with its own copy of the packages."""

    @property
    def source(self) -> Path:
        """The copy."""
        return self.project.with_name("source")

    def prepare(self) -> None:
        """Make the folders and the copy."""
        for folder in (self.home, self.project):
            folder.mkdir()
        for name in PACKAGES:
            shutil.copytree(ROOT / name, self.source / name, ignore=shutil.ignore_patterns("__pycache__"))

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """That of a place, with the copy in front, and results that go soon."""
        keep = dict.fromkeys(("FLASH_KEEP_RESULTS_S", "FLASH_KEEP_ASYNC_S", "FLASH_KEEP_SYNC_S"), str(KEEP_S))
        own = {"PYTHONPATH": f"{self.source}:{self.source / 'cli'}", "FLASH_PROJECT": str(self.project)}
        return super().env({**keep, **own, "FLASH_LOGS": "plain", **(extra or {})})


class Soak:
    """A soak under way."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.client = Program(place, "client", "tests.chaos.soak_load", str(place.project))
        self.visitors = Visitors(place)
        self.times: list[float] = []
        self.samples: list[dict[str, float]] = []

    def run(self, seconds: float) -> Soaked:
        """Let the load run, disturb it, measure; give what was found. Raises AssertionError where a result is wrong."""
        try:
            wait_until(lambda: self.client.ended or all(map(self.calls().get, KINDS)), 120, "calls of each kind")
            plane = control_plane(self.place)
            kills = Kills(plane)
            self.measure(seconds, Sampler(plane, self.client.process.pid, self.place.home), kills)
            self.visitors.leave()
            self.client.process.terminate()
            self.client.check_end()
        finally:
            self.client.kill()
            self.visitors.kill()
        self.check_lines()
        series = {name: [sample[name] for sample in self.samples] for name in self.samples[0]}
        return Soaked(self.times, series, self.calls(), kills.done, self.visitors.came, KEEP_S)

    def measure(self, seconds: float, sampler: Sampler, kills: Kills) -> None:
        """Take samples, and let the disturbances have their turns, for so many seconds."""
        begin = last = time.monotonic()
        before = sum(self.calls().values())
        while (now := time.monotonic()) <= begin + seconds:
            assert not self.client.ended, self.client.failure()
            self.visitors.tick()
            kills.tick()
            if now >= last + SAMPLE_EVERY_S:
                calls = sum(self.calls().values())
                self.times.append(now - begin)
                self.samples.append({**sampler.sample(), RATE: (calls - before) / (now - last)})
                before, last = calls, now
                if len(self.samples) % 30 == 0:
                    print(f"{(now - begin) / 60:.0f} min, {calls:,} calls", flush=True)
            time.sleep(_TICK_S)

    def calls(self) -> dict[str, int]:
        """How many calls of each kind the client has made."""
        path = self.place.project / "calls"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def check_lines(self) -> None:
        """Each call that prints has printed its line at the client, once."""
        lines = self.client.stdout.read_text().splitlines()
        assert len(lines) == len(set(lines)) == self.calls()["printing"], "lines are lost, or came twice"


def plot(soaked: Soaked, place: Place, picture: Path) -> None:
    """Draw the picture, through the control plane of this place."""
    minutes = [round(moment / 60, 3) for moment in soaked.times]
    series = {"minutes": minutes, "panels": panels(soaked), "warm_up": WARM_UP * minutes[-1], "columns": COLUMNS}
    path = place.project / "series.json"
    path.write_text(json.dumps(series))
    program = Program(place, "plot", "tests.chaos.soak_plot", str(path), str(picture.absolute()))
    try:
        program.check_end(PLOT_S)
    finally:
        program.kill()


@contextlib.contextmanager
def soak_place() -> Iterator[SoakPlace]:
    """A place for one soak. Whatever happens, another Ctrl-C included, nothing of it is left."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="flash-soak-") as folder:
        place = SoakPlace(Path(folder, "home"), Path(folder, "project"))
        place.prepare()
        try:
            yield place
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            place.close()


def main() -> int:
    """Run it, write the page; the exit status is 1 where something grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it is measured")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of soak.md and images/soak.svg")
    options = parser.parse_args()
    if options.minutes < SHORTEST_MIN:
        parser.error(f"--minutes must be {SHORTEST_MIN} or more; less gives too few samples for a verdict")
    with soak_place() as place:
        soaked = Soak(place).run(60 * options.minutes)
        (options.out / "images").mkdir(parents=True, exist_ok=True)
        plot(soaked, place, options.out / "images" / "soak.svg")
    page = text_of(soaked)
    (options.out / "soak.md").write_text(page)
    print(page)
    return 0 if soaked.flat else 1


if __name__ == "__main__":
    sys.exit(main())
