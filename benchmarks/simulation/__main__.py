"""Runs every pattern under every scaler, writes scaling.md and its pictures: `python -m benchmarks.simulation`."""

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

from benchmarks.plots import draw
from benchmarks.simulation.patterns import PATTERNS
from benchmarks.simulation.report import text_of
from benchmarks.simulation.study import Study, study

OUT = Path(__file__).parents[1] / "results"


def main() -> None:
    """Run, write, print where the page is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="of each pattern")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT, help="folder of scaling.md and scaling-*.svg")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}; it must be 1 or more")
    begin = time.monotonic()
    studies = _run(options.jobs, options.seed)
    page = text_of(zip(PATTERNS, studies, strict=True), seed=options.seed, took=time.monotonic() - begin)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.md").write_text(page)
    for found in studies:
        (options.out / f"scaling-{found.pattern}.svg").write_text(
            draw.remote(found.panels, len(found.panels), 3.2, 2.4)
        )
    print(options.out / "scaling.md")


def _run(jobs: int, seed: int) -> Sequence[Study]:
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(study, PATTERNS, repeat(jobs), repeat(seed)))


if __name__ == "__main__":
    main()
