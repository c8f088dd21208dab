"""Draws the series of the soak, on a worker: `python -m tests.chaos.soak_plot SERIES.json OUT.svg`."""

import json
import sys
from pathlib import Path

from benchmarks.plots import Panel, draw


def panels_of(minutes: list[float], values: dict[str, list[float]], warm_up: float) -> list[Panel]:
    """A panel for each series. `values` are by title, `warm_up` is in minutes and is shaded."""
    return [
        {
            "title": title, "x_label": "minutes", "log": False, "shaded": (0, warm_up),
            "series": {"": {"x": minutes, "y": series}},
        }
        for title, series in values.items()
    ]  # fmt: skip


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    panels = panels_of(given["minutes"], given["panels"], given["warm_up"])
    Path(sys.argv[2]).write_text(draw.remote(panels, given["columns"], 2.5, 1.7))
