"""docs/soak.md: what the soak did, its figures and its verdict."""

import datetime
import os
import platform
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from runpod_flash.release import VERSION
from tests.chaos.soak_samples import JOURNAL, JOURNAL_LIMIT, MEASURES
from tests.chaos.soak_verdict import PART, WARM_UP, Verdict, judge, peaks

RATE = "calls a second"
COLLECT_S = 60.0
"""How often the control plane removes what is no longer kept: the period of the state folder's sawtooth."""

WIDTH = 120

_ORDER = (*MEASURES, RATE)
_INTRODUCTION = """`make soak` keeps one control plane, its workers and a client under mixed load for ten minutes
    and measures whether memory, file descriptors, threads, processes and the state folder stay flat. It has written
    this page."""

Rows = Iterable[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Soaked:
    """A soak that has ended: when which sample was taken, in seconds, the series, and the numbers of what was done."""

    times: list[float]
    series: Mapping[str, list[float]]
    calls: Mapping[str, int]
    kills: Mapping[str, int]
    visitors: Mapping[str, int]
    keep_s: int

    def verdicts(self) -> dict[str, Verdict]:
        """By series. Of the state folder the peaks count: it is emptied once a minute."""
        found = {}
        for name, measure in MEASURES.items():
            values = self.series[name]
            if name == "state folder":
                values = peaks(self.times, values, COLLECT_S)
            found[name] = judge(self.times, values, measure.least)
        return found

    @property
    def flat(self) -> bool:
        """Whether all series are, and the journal is below its bound."""
        return all(verdict.flat for verdict in self.verdicts().values()) and self.journal <= JOURNAL_LIMIT

    @property
    def journal(self) -> float:
        """The most that the journal had, in MB."""
        return max(self.series[JOURNAL])


def text_of(soaked: Soaked) -> str:
    """The page."""
    return f"""# Soak

{_paragraph(_INTRODUCTION)}

{_table(["", ""], _circumstances(soaked))}

## What was done

{_table(["calls", "number"], _calls(soaked))}

{_paragraph(_disturbances(soaked))}

## What was measured

{_table(["series", "start", "end", "growth", "allowed", ""], _verdicts(soaked))}

{_paragraph(_rule(soaked))}

![Each series over time, from zero; the warm-up is grey](images/soak.svg)
"""


def panels(soaked: Soaked) -> dict[str, list[float]]:
    """What the picture shows: values by title."""
    return {f"{name}, {_unit(name)}".removesuffix(", "): soaked.series[name] for name in _ORDER}


def _circumstances(soaked: Soaked) -> Rows:
    memory = psutil.virtual_memory().total / 1024**3
    yield "when", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    yield "release", VERSION
    yield "machine", f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()}"
    yield "Python", platform.python_version()
    yield "measured", f"{soaked.times[-1] / 60:.1f} minutes, {len(soaked.times)} samples"


def _calls(soaked: Soaked) -> Rows:
    for kind, number in soaked.calls.items():
        yield kind, f"{number:,}"
    rate = statistics.median(soaked.series[RATE])
    yield "all", f"{sum(soaked.calls.values()):,} ({rate:.0f} a second)"


def _disturbances(soaked: Soaked) -> str:
    kills, came = soaked.kills, soaked.visitors
    parts = ", ".join(f"its {kind} {number}" for kind, number in sorted(kills.items()))
    return f"""Meanwhile a worker was killed by SIGKILL {sum(kills.values())} times ({parts}). {came["all"]} other
        client programs came and went, {came["killed"]} of them by SIGKILL in the middle of a call; each deployed
        new code to one endpoint, every fourth another environment and every fifth another local module, too. Every
        value was checked; a wrong one would have ended the run. Afterwards no process was left."""


def _rule(soaked: Soaked) -> str:
    return f"""The first {WARM_UP:.0%} of the run is warm-up. *Start* and *end* are the medians of the first and the
        last third of the rest; *growth* is the difference of the two or the rise of a robust trend line
        (Theil–Sen), whichever is more. Allowed are {PART:.0%} or a small amount. Results are kept for
        {soaked.keep_s} s here instead of a day, so that the state folder must be flat, too: of it the peak of each
        minute counts, as it is collected once a minute. The journal grows by design up to a bound. Memory of the
        workers is their proportional share (PSS) where this user may see it, else what is resident, as it is for the
        control plane and the client; their descriptors count where this user may see them."""


def _verdicts(soaked: Soaked) -> Rows:
    for name, verdict in soaked.verdicts().items():
        figures = [_figure(name, value) for value in (verdict.start, verdict.end, verdict.growth, verdict.allowed)]
        yield name, *figures, "flat" if verdict.flat else "**grows**"
    first, last = soaked.series[JOURNAL][0], soaked.series[JOURNAL][-1]
    within = "bounded" if soaked.journal <= JOURNAL_LIMIT else "**too large**"
    yield JOURNAL, f"{first:.1f} MB", f"{last:.1f} MB", "", f"up to {JOURNAL_LIMIT:.0f} MB", within


def _figure(name: str, value: float) -> str:
    return f"{value:.1f} {_unit(name)}" if _unit(name) else f"{value:.1f}".removesuffix(".0")


def _unit(name: str) -> str:
    return MEASURES[name].unit if name in MEASURES else ""


def _table(head: Sequence[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH)
