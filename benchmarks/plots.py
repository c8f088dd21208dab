"""Pictures of series, drawn on a worker that has what draws them: this environment needs no plotting package."""

import io
import math
import re
from typing import Any, NotRequired, TypedDict

from runpod_flash import Endpoint


class Series(TypedDict):
    """Points. One alone is drawn as a dot, several as a line."""

    x: list[float]
    y: list[float]


class Panel(TypedDict):
    """One of several small pictures. `log`: large values are drawn closer together. `shaded`: an x range in grey."""

    title: str
    x_label: str
    log: bool
    series: dict[str, Series]
    shaded: NotRequired[tuple[float, float]]


@Endpoint("benchmark-plots", cpu="cpu3c-1-2", dependencies=["matplotlib"])
def draw(panels: list[Panel], columns: int, width: float, height: float) -> str:
    """Small multiples as SVG, the same for the same series, so many inches each. No name, no legend."""
    import matplotlib  # type: ignore[import-not-found]  # noqa: PLC0415 the worker has it
    from matplotlib.figure import Figure  # type: ignore[import-not-found]  # noqa: PLC0415

    style: dict[str, Any] = {
        "svg.hashsalt": "flash", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8,
        "axes.spines.top": False, "axes.spines.right": False, "path.simplify_threshold": 0.5,
    }  # fmt: skip
    colours = ["#1f6f8b", "#c8553d", "#588157", "#8e6bbf", "#d4a017", "#444444"]
    with matplotlib.rc_context(style):
        rows = math.ceil(len(panels) / columns)
        names = list(dict.fromkeys(name for panel in panels for name in panel["series"]))
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        for number, panel in enumerate(panels, 1):
            axes = figure.add_subplot(rows, columns, number)
            if "shaded" in panel:
                axes.axvspan(*panel["shaded"], color="#eceff1", linewidth=0)
            for name, series in panel["series"].items():
                dot = len(series["x"]) == 1
                axes.plot(
                    series["x"], series["y"], color=colours[names.index(name) % len(colours)], label=name,
                    marker="o" if dot else "", linewidth=1,
                )  # fmt: skip
            if panel["log"]:
                axes.set_yscale("symlog", linthresh=1)
            points = list(panel["series"].values())
            axes.set_title(panel["title"], fontsize=8, loc="left")
            axes.set_ylim(0, max(max(series["y"]) for series in points) * 1.15 or 1)
            if max(len(series["x"]) for series in points) > 1:
                axes.set_xlim(0, max(series["x"][-1] for series in points))
            if not panel["log"]:
                axes.locator_params(nbins=5, integer=True)
            if number > columns * (rows - 1):
                axes.set_xlabel(panel["x_label"])
            if any(panel["series"]):
                axes.legend(fontsize=6, frameon=False)
        picture = io.StringIO()
        figure.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", picture.getvalue())  # half as large
