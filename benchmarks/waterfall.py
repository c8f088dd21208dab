"""Marks of many calls become one picture: how long the middle call needs from each border to the next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from benchmarks import svg

BAR = 44  # characters
COLOURS = {
    "caller": svg.BLUE, "control plane": svg.RED, "worker's parent": svg.GREEN, "child": svg.VIOLET,
    "your function": svg.AMBER, "on the way": "#b0bec5",
}  # fmt: skip

STEPS = {
    ("CALLED", "SUBMITTED"): ("caller", "binds, pickles, writes its frame"),
    ("SUBMITTED", "ARRIVED"): ("on the way", "to the control plane"),
    ("ARRIVED", "COMMITTED"): ("control plane", "checks, queues, chooses a worker, commits"),
    ("COMMITTED", "GIVEN"): ("control plane", "writes to the worker"),
    ("GIVEN", "PARENT_GOT"): ("on the way", "to the worker's parent"),
    ("PARENT_GOT", "PARENT_PASSED"): ("worker's parent", "notes it, passes it on"),
    ("PARENT_PASSED", "CHILD_GOT"): ("on the way", "to the child"),
    ("CHILD_GOT", "BEGUN"): ("child", "unpickles, prepares the output"),
    ("BEGUN", "ENDED"): ("your function", "runs"),
    ("ENDED", "CHILD_TOLD"): ("child", "pickles the value, writes it"),
    ("CHILD_TOLD", "PARENT_HEARD"): ("on the way", "to the worker's parent"),
    ("PARENT_HEARD", "PARENT_TOLD"): ("worker's parent", "notes it, passes it on"),
    ("PARENT_TOLD", "HEARD"): ("on the way", "to the control plane"),
    ("HEARD", "END_COMMITTED"): ("control plane", "ends the job, commits"),
    ("END_COMMITTED", "TOLD"): ("control plane", "writes to the caller"),
    ("TOLD", "CLIENT_HEARD"): ("on the way", "to the caller"),
    ("CLIENT_HEARD", "VALUE"): ("caller", "unpickles, wakes your task"),
}
"""Who has the call from one border to the next, and what happens there."""

FIRST, LAST = "CALLED", "VALUE"
WAY_BACK = frozenset(to for begin, to in list(STEPS)[list(STEPS).index(("BEGUN", "ENDED")) :])
Marks = Iterable[tuple[str, int]]


class NoCalls(Exception):
    """The marks are of no whole call; the message says which borders are missing."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of the middle call, in microseconds from its begin."""

    who: str
    what: str
    begin: float
    end: float

    @property
    def took(self) -> float:
        """Microseconds."""
        return self.end - self.begin


def calls_of(marks: Marks) -> list[dict[str, int]]:
    """The marks of each whole call, by border: calls follow one another, so time alone tells them apart."""
    calls: list[dict[str, int]] = []
    current: dict[str, int] | None = None
    for border, at in sorted(marks, key=lambda mark: mark[1]):
        if border == FIRST:
            current = {}
        if current is None:
            continue
        if border in WAY_BACK:
            current[border] = at  # more than one frame may come back, and the last one has the value
        else:
            current.setdefault(border, at)
        if border == LAST:
            calls.append(current)
            current = None
    return calls


def steps_of(calls: Sequence[dict[str, int]]) -> list[Step]:
    """The middle call: each border at the median of its times from the begin.

    Borders that no call has crossed are left out, and what lies before and after them is one step.

    Raises:
        NoCalls: there is no call, or some have crossed a border and others not.
    """
    if not calls:
        raise NoCalls("no call was seen from its begin to its end")
    names = [FIRST, *(to for _, to in STEPS)]
    seen = [name for name in names if any(name in call for call in calls)]
    whole = [call for call in calls if all(name in call for name in seen)]
    if 2 * len(whole) < len(calls):
        missing = {name for call in calls for name in seen if name not in call}
        raise NoCalls(f"of {len(calls)} calls {len(calls) - len(whole)} lack {', '.join(sorted(missing))}")
    at = {name: median((call[name] - call[FIRST]) / 1e3 for call in whole) for name in seen}
    order = sorted(seen, key=lambda name: at[name])
    return [_step(begin, end, at) for begin, end in pairwise(order)]


def _step(begin: str, end: str, at: dict[str, float]) -> Step:
    who, what = STEPS.get((begin, end)) or _several(begin, end)
    return Step(who, what, at[begin], at[end])


def _several(begin: str, end: str) -> tuple[str, str]:
    """Several steps in one, or borders that this call crossed in another order."""
    names = [FIRST, *(to for _, to in STEPS)]
    between = list(STEPS.values())[names.index(begin) : names.index(end)]
    others = dict.fromkeys(who for who, _ in between if who != "on the way")
    return (next(iter(others), "on the way"), f"{begin} to {end}".lower().replace("_", " "))


def text_of(steps: Sequence[Step]) -> str:
    """Bars of characters, a line for each step."""
    whole = steps[-1].end
    lines = [f"{'':{BAR}}     µs"]
    for step in steps:
        before, long = round(step.begin / whole * BAR), max(1, round(step.took / whole * BAR))
        bar = (" " * before + "█" * long)[:BAR]
        lines.append(f"{bar:{BAR}} {step.took:6.0f}  {step.who}: {step.what}")
    lines.append(f"{'':{BAR}} {whole:6.0f}  in all")
    shares = {who: sum(step.took for step in steps if step.who == who) for who in COLOURS}
    lines += ["", *(f"{who:16} {took:6.0f} µs  {took / whole:4.0%}" for who, took in shares.items() if took)]
    return "\n".join(lines) + "\n"


def picture_of(steps: Sequence[Step], title: str) -> str:
    """The same as SVG."""
    label, plot, line = 330.0, 470.0, 22.0
    picture = svg.Picture(label + plot + 70, line * len(steps) + 76)
    whole = steps[-1].end
    picture.text(12, 20, title, size=13)
    bottom = 36 + line * len(steps)
    tick = _tick(whole)
    for number in range(int(whole / tick) + 1):
        x = label + number * tick / whole * plot
        picture.line(x, 32, x, bottom, svg.GRID)
        picture.text(x, bottom + 14, f"{number * tick:.0f}", anchor="middle", colour=svg.PALE, size=10)
    picture.text(label + plot, bottom + 30, "microseconds", anchor="end", colour=svg.PALE, size=10)
    for place, step in enumerate(steps):
        y = 36 + line * place
        picture.text(label - 10, y + 14, f"{step.who}: {step.what}", anchor="end", size=10)
        x, width = label + step.begin / whole * plot, max(1.0, step.took / whole * plot)
        picture.box(x, y + 3, width, line - 6, COLOURS[step.who])
        picture.text(x + width + 5, y + 14, f"{step.took:.0f}", colour=svg.PALE, size=10)
    return picture.svg()


def _tick(whole: float) -> float:
    """A round number of microseconds that fits some five to twelve times."""
    tick = 1.0
    while whole / tick > 12:
        tick *= 2.5 if str(tick).startswith("2") else 2
    return tick
