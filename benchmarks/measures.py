"""What a benchmark says: figures of turns, the ratio to a peer inside each turn, and the goal that was set for them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """The bound of a figure. `at_least`: more is better."""

    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a figure is within it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {number(self.bound)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        what: what was measured, for people.
        unit: of `ours` and `theirs`; "" for a share.
        ours: a figure for each turn.
        peer: who was measured beside it, in the same turns; "": nobody.
        theirs: the peer's figures, in the order of `ours`.
        goal: for the ratio to the peer, where there is one, else for the figure itself.
        note: what a reader has to know of how this was measured.
    """

    what: str
    unit: str
    ours: tuple[float, ...]
    peer: str = ""
    theirs: tuple[float, ...] = ()
    goal: Goal | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.ours or not all(map(math.isfinite, (*self.ours, *self.theirs))):
            raise ValueError(f"{self.what}: no figures, or one that is no number: {self.ours} {self.theirs}")
        if self.peer and len(self.ours) != len(self.theirs):
            raise ValueError(f"{self.what}: {len(self.ours)} turns beside {len(self.theirs)} of {self.peer}")

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours to theirs, inside each turn."""
        return tuple(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)) if self.peer else ()

    @property
    def judged(self) -> float:
        """What the goal is for: the median of the ratios, or of the figures where there is no peer."""
        return median(self.ratios or self.ours)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        return None if self.goal is None else self.goal.met(self.judged)

    def document(self) -> dict[str, Any]:
        """All of it as JSON: the middle and the ends, each turn, goal and verdict."""
        document: dict[str, Any] = {"what": self.what, "unit": self.unit, "ours": summary(self.ours)}
        if self.peer:
            document |= {"peer": self.peer, "theirs": summary(self.theirs), "ratio": summary(self.ratios)}
        if self.goal is not None:
            bound = {"bound": self.goal.bound, "at_least": self.goal.at_least}
            document |= {"goal": str(self.goal), **bound, "judged": rounded(self.judged), "met": self.met}
        return document | ({"note": self.note} if self.note else {})


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, least and most, and the value of each turn."""
    turns = [rounded(value) for value in values]
    return {"median": rounded(median(values)), "min": min(turns), "max": max(turns), "turns": turns}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies, the nearest one that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def rounded(value: float) -> float:
    """Four digits that count."""
    return value if value == 0 or not math.isfinite(value) else round(value, 3 - math.floor(math.log10(abs(value))))


def number(value: float) -> str:
    """A number for people: three digits that count, and no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
