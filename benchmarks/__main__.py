"""Measures the rows, prints the table and writes it with plots: `python -m benchmarks [--rows latency,arrays]`."""

import argparse
import signal
import sys
import time
from pathlib import Path

from benchmarks import document as documents
from benchmarks import drawing, earlier, machine, pairs, registry, table
from benchmarks.document import Outcome
from benchmarks.scene import NotMeasured, Scene
from benchmarks.sizes import FULL, SMALL, Sizes

OUT = Path(__file__).parent / "results"
SHOWN = {
    "bench": "Each figure by how far it is within its goal: left of the line is within, each small dot is a turn",
    "bench-calls": "Calls, ours and those of others, as pairs of bars",
    "bench-arrays": "Arrays of 1 to 100 MB there and back, ours and Ray's",
    "bench-starts": "Starts, ours and those of others, as pairs of bars",
    "bench-growth": "What a call costs with many jobs, endpoints and workers, beside few",
}
"""What the page shows of the pictures, as far as they were drawn, and what each is of."""

_TERMINATED = 128 + signal.SIGTERM
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def measure(name: str, row: registry.Row, sizes: Sizes) -> Outcome:
    """One row, in a scene of its own. Whatever goes wrong in it is its outcome, and the others go on."""
    start, figures = time.monotonic(), []
    failed = not_measured = ""
    scene = Scene(sizes)
    try:
        with scene:
            for figure in row(scene):
                figures.append(figure)
                _say(f"  {' | '.join(table.cells(figure.document()))}")
    except NotMeasured as error:
        not_measured = str(error)
    except Exception as error:  # noqa: BLE001 whatever a row raises is why it failed
        failed = f"{type(error).__name__}: {error}"
    for left in scene.left:
        failed = failed or f"a process did not end by itself: {left}"
    took = time.monotonic() - start
    _say(f"{name}: {took:.0f} s" + (f", failed: {failed}" if failed else "") + not_measured)
    return Outcome(name, tuple(figures), failed, not_measured, took)


def main() -> int:
    """Measure, print and write. The status is 1 where a row failed; a goal that is not met is no failure."""
    options = _options()
    try:
        rows = {} if options.table else registry.chosen(options.rows.split(","))
    except registry.NoSuchRow as error:
        print(f"error: --rows: {error}", file=sys.stderr)
        return 2
    path, failed = options.out / "bench.json", False
    for name, row in rows.items():  # each is kept as soon as there is one: all of them take long
        outcome = measure(name, row, SMALL if options.small else FULL)
        failed = failed or bool(outcome.failed)
        document = documents.merged(documents.read(path), machine.facts(), [outcome])
        documents.write(path, documents.in_order(document, registry.ROWS))
    found = documents.read(path)
    if found is None:
        print(f"error: --table: {path.name} is not there; run `make bench` first", file=sys.stderr)
        return 2
    print(_show(found, options.out))
    return 1 if failed else 0


def _show(document: documents.Document, out: Path) -> str:
    """Write table and pictures, into the page too where they are to stay; the table."""
    text = "\n".join([table.text_of(document), *earlier.lines(earlier.read(OUT / "earlier.json"), document)])
    (out / "bench.md").write_text(f"# Benchmarks\n\n{text.strip()}\n")
    drawn = {**drawing.pictures(document), **pairs.pictures(document)}
    for name, picture in drawn.items():
        (out / f"{name}.svg").write_text(picture)
    if out == OUT:
        shown = [f"![{SHOWN[name]}](../benchmarks/results/{name}.svg)\n" for name in SHOWN if name in drawn]
        table.put_into(PAGE, "\n\n".join([text.strip(), "\n".join(shown)]))
    return text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", default="", help=f"some of {', '.join(registry.ROWS)}; others stay as they were")
    parser.add_argument("--table", action="store_true", help="measure nothing; table and pictures of what there is")
    parser.add_argument("--out", type=Path, help="folder of bench.json, bench.md and pictures")
    parser.add_argument("--small", action="store_true", help="so little that figures mean nothing; needs --out")
    options = parser.parse_args()
    if options.small and options.out is None:
        parser.error("--small: its figures mean nothing; say with --out where they may go")
    if options.table and (options.rows or options.small):
        parser.error("--table: it measures nothing, so leave out --rows and --small")
    options.out = options.out or OUT
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that what was started ends with it
    sys.exit(main())
