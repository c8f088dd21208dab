"""The same figures beside those of an earlier commit, taken on the same kind of machine but not in the same run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.document import Document
from benchmarks.measures import number

HEAD = ["| measure | then | now | now / then |", "|---|---|---|---|"]


def read(path: Path) -> Document:
    """What was measured then: `commit`, and `figures` with what, unit and value."""
    found: Document = json.loads(path.read_text())
    return found


def lines(then: Document, now: Document) -> list[str]:
    """A table of what was measured both times; nothing where there is nothing."""
    found = {figure["what"]: figure for row in now["rows"] for figure in row["figures"]}
    compared = [*_lines(then["figures"], found)]
    if not compared:
        return []
    return [f"Beside commit {then['commit']}, not in the same run:", "", *HEAD, *compared]


def _lines(then: list[dict[str, Any]], now: dict[str, dict[str, Any]]) -> Iterator[str]:
    for old in then:
        new = now.get(old["what"])
        if new is not None and new["unit"] == old["unit"]:
            median = new["ours"]["median"]
            shown = [f"{number(value)} {old['unit']}" for value in (old["value"], median)]
            yield f"| {old['what']} | {shown[0]} | {shown[1]} | {number(median / old['value'])} |"
