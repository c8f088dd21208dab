"""What was measured, kept as one JSON document: each row with the commit and the day it was measured at."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measures import Figure

Document = dict[str, Any]

_FOLDER = re.compile(r"(?<![\w.:/])(?:/[\w.+-]+)+/(?=[\w.+-])")
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row: its figures, or why there are none."""

    row: str
    figures: tuple[Figure, ...] = ()
    failed: str = ""
    not_measured: str = ""
    took_s: float = 0.0

    def document(self) -> Document:
        """As JSON."""
        document: Document = {"row": self.row, "took_s": round(self.took_s, 1)}
        for name in ("failed", "not_measured"):
            if text := getattr(self, name):
                document[name] = without_places(text)
        return document | {"figures": [figure.document() for figure in self.figures]}


def without_places(text: str) -> str:
    """The text without folders and addresses of this machine, which are nobody else's concern."""
    return _ADDRESS.sub("ADDRESS", _FOLDER.sub("", text))


def merged(before: Document | None, facts: Mapping[str, Any], outcomes: Iterable[Outcome]) -> Document:
    """A document with these rows; others stay as they were where they are of the same machine."""
    rows = {}
    if before is not None and before.get("machine") == facts["machine"]:
        rows = {row["row"]: row for row in before["rows"]}
    measured = {"commit": facts["commit"], "date": facts["date"]}
    rows |= {outcome.row: {**outcome.document(), **measured} for outcome in outcomes}
    return {**facts, "rows": list(rows.values())}


def in_order(document: Document, order: Iterable[str]) -> Document:
    """The same with its rows in this order; rows that are no more are left out."""
    rows = {row["row"]: row for row in document["rows"]}
    return {**document, "rows": [rows[name] for name in order if name in rows]}


def read(path: Path) -> Document | None:
    """The document that is there, if one is."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "rows" in document else None


def write(path: Path, document: Document) -> None:
    """Write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
