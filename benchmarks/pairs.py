"""Pictures of one topic each: our figures and those that were measured beside them, as pairs of bars."""

from collections.abc import Mapping
from typing import Any

from benchmarks import svg
from benchmarks.document import Document
from benchmarks.measures import number

TOPICS: Mapping[str, tuple[str, ...]] = {
    "calls": ("latency", "runsync", "gathered", "memory", "tasks"),
    "starts": ("script", "worker", "torch", "environment", "import", "help"),
    "growth": ("queued", "draining", "endpoints", "workers"),
}
"""The rows of each picture."""

LABEL, BARS, VALUE, MARGIN = 400.0, 300.0, 240.0, 12.0
PAIR, BAR = 44.0, 13.0


def pictures(document: Document) -> dict[str, str]:
    """SVG by the name of its file, of the topics of which something was measured."""
    drawn = {}
    for topic, rows in TOPICS.items():
        found = [
            figure
            for row in document["rows"]
            if row["row"] in rows
            for figure in row["figures"]
            if "peer" in figure and figure["unit"]
        ]
        if found:
            drawn[f"bench-{topic}"] = _picture(found)
    return drawn


def _picture(figures: list[dict[str, Any]]) -> str:
    picture = svg.Picture(LABEL + BARS + VALUE, PAIR * len(figures) + 2 * MARGIN)
    for place, figure in enumerate(figures):
        _pair(picture, MARGIN + PAIR * place, figure)
    return picture.svg()


def _pair(picture: svg.Picture, y: float, figure: dict[str, Any]) -> None:
    """The longer bar of a pair takes all the room: pairs are of different units."""
    values = [figure[who]["median"] for who in ("ours", "theirs")]
    better = "more is better" if figure.get("at_least") else "less is better"
    picture.text(LABEL - 10, y + 13, figure["what"].replace("`", ""), anchor="end", size=10)
    picture.text(LABEL - 10, y + 27, better, anchor="end", colour=svg.PALE, size=9)
    names = ("", figure["peer"].replace("`", ""))
    for step, (value, name, colour) in enumerate(zip(values, names, (svg.BLUE, svg.RED), strict=True)):
        top, width = y + step * (BAR + 2), BARS * value / max(*values, 1e-9)
        picture.box(LABEL, top, max(1.0, width), BAR, colour)
        words = f"{number(value)} {figure['unit']} {name}".strip()
        picture.text(LABEL + width + 6, top + 10, words, colour=colour, size=10)
