"""Pictures of the results: how far each figure is within its goal, and arrays by their size."""

import math
import re
from itertools import pairwise
from typing import Any

from benchmarks import svg
from benchmarks.document import Document
from benchmarks.measures import number

LINE, LABEL, PLOT, MARGIN = 22.0, 430.0, 420.0, 40.0
LEAST, MOST = 1 / 32, 8.0
_SIZE = re.compile(r"array of (\d+) MB")


def pictures(document: Document) -> dict[str, str]:
    """SVG by the name of its file; none where there is nothing to show."""
    figures = [figure for row in document["rows"] for figure in row["figures"]]
    goals = [figure for figure in figures if "goal" in figure]
    sizes = {int(found[1]): figure for figure in figures if (found := _SIZE.match(figure["what"]))}
    drawn = {"bench": goals_picture(goals)} if goals else {}
    return drawn | ({"bench-arrays": arrays_picture(sizes)} if len(sizes) > 1 else {})


def goals_picture(figures: list[dict[str, Any]]) -> str:
    """A line for each figure: a dot for each turn, a large one for what is judged; left of 1 is within the goal."""
    picture = svg.Picture(LABEL + PLOT + MARGIN, LINE * len(figures) + 64)
    bottom = 40 + LINE * len(figures)
    for part in (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8):
        x = _across(part)
        picture.line(x, 30, x, bottom, svg.INK if part == 1 else svg.GRID)
        words = "goal" if part == 1 else f"{part:g}×" if part > 1 else f"1/{1 / part:.0f}"
        picture.text(x, bottom + 16, words, anchor="middle", colour=svg.PALE, size=10)
    picture.text(_across(1) - 6, 22, "← better", anchor="end", colour=svg.PALE, size=10)
    picture.text(_across(1) + 6, 22, "worse →", colour=svg.PALE, size=10)
    for place, figure in enumerate(figures):
        _goal_line(picture, 46 + LINE * place, figure)
    return picture.svg()


def _goal_line(picture: svg.Picture, y: float, figure: dict[str, Any]) -> None:
    peer = f" : {figure['peer']}" if "peer" in figure else ""
    words = f"{figure['what']}{peer}".replace("`", "")
    picture.text(LABEL - 10, y + 4, words if len(words) < 74 else words[:72] + "…", anchor="end", size=10)
    colour = svg.BLUE if figure["met"] else svg.RED
    for turn in (figure.get("ratio") or figure["ours"])["turns"]:
        picture.dot(_across(_to_goal(turn, figure)), y, 2.5, colour, 0.35)
    picture.dot(_across(_to_goal(figure["judged"], figure)), y, 4.5, colour)


def _to_goal(value: float, figure: dict[str, Any]) -> float:
    """1 at the goal, less where it is better."""
    bound = figure["bound"]
    ratio: float = bound / value if figure["at_least"] and value else value / bound
    return min(MOST, max(LEAST, ratio))


def _across(ratio: float) -> float:
    share = math.log(ratio / LEAST) / math.log(MOST / LEAST)
    return LABEL + share * PLOT


def arrays_picture(sizes: dict[int, dict[str, Any]]) -> str:
    """Milliseconds there and back by megabytes, both axes logarithmic."""
    picture, left, top, width, height = svg.Picture(520, 300), 60.0, 24.0, 420.0, 220.0
    columns = sorted(sizes)
    values = [sizes[size][who]["median"] for size in columns for who in ("ours", "theirs")]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def place(size: int, value: float) -> tuple[float, float]:
        along = math.log(size / columns[0]) / math.log(columns[-1] / columns[0])
        up = (math.log10(value) - low) / (high - low)
        return left + along * width, top + height * (1 - up)

    for power in range(low, high + 1):
        _, y = place(columns[0], 10.0**power)
        picture.line(left, y, left + width, y, svg.GRID)
        picture.text(left - 8, y + 4, f"{number(10.0**power)} ms", anchor="end", colour=svg.PALE, size=10)
    for size in columns:
        picture.text(
            place(size, 10.0**low)[0], top + height + 18, f"{size} MB", anchor="middle", colour=svg.PALE, size=10
        )
    for who, name, colour in (("ours", "ours", svg.BLUE), ("theirs", "Ray actor", svg.RED)):
        points = [place(size, sizes[size][who]["median"]) for size in columns]
        for begin, end in pairwise(points):
            picture.line(*begin, *end, colour, 2)
        for x, y in points:
            picture.dot(x, y, 3.5, colour)
        picture.text(points[-1][0] - 8, points[-1][1] - 8, name, anchor="end", colour=colour)
    return picture.svg()
