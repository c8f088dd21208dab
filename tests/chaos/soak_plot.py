"""Draws the series of the soak, on a worker: `python -m tests.chaos.soak_plot SERIES.json OUT.svg`."""

import io
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

from runpod_flash import Endpoint


@Endpoint("soak-plot", cpu="cpu3c-1-2", dependencies=["matplotlib"])
def draw(minutes: list[float], panels: dict[str, list[float]], warm_up: float, columns: int) -> str:
    """Small multiples as SVG, the same for the same series. `panels` are values by title, `warm_up` is in minutes."""
    import matplotlib  # type: ignore[import-not-found]  # the worker has it
    from matplotlib.figure import Figure  # type: ignore[import-not-found]

    style: dict[str, Any] = {
        "svg.hashsalt": "soak", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8,
        "axes.spines.top": False, "axes.spines.right": False, "path.simplify_threshold": 0.5,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        rows = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(2.5 * columns, 1.7 * rows), layout="constrained")
        for number, (title, values) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(rows, columns, number)
            axes.axvspan(0, warm_up, color="#eceff1", linewidth=0)
            axes.plot(minutes, values, color="#1f6f8b", linewidth=1)
            axes.set_title(title, fontsize=8, loc="left")
            axes.set_xlim(0, minutes[-1])
            axes.set_ylim(0, max(values) * 1.15 or 1)
            axes.locator_params(nbins=5, integer=True)
            if number > columns * (rows - 1):
                axes.set_xlabel("minutes")
        picture = io.StringIO()
        figure.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", picture.getvalue())  # half as large


if __name__ == "__main__":
    series = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(draw.remote(**series))
