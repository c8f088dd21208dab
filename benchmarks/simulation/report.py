"""The results as a page: a table for each pattern, and what it belongs to."""

import datetime
from collections.abc import Iterable, Iterator

from benchmarks import machine
from benchmarks.simulation.engine import STEP_S
from benchmarks.simulation.figures import Figures
from benchmarks.simulation.patterns import Pattern
from benchmarks.simulation.study import Study

_HEAD = """\
| {name} | p50 | p95 | p99 | longest | worker-seconds | peak workers | cold starts | calls of `decide` |
|---|--:|--:|--:|--:|--:|--:|--:|--:|"""


def text_of(studies: Iterable[tuple[Pattern, Study]], *, seed: int, took: float) -> str:
    """The page, in Markdown."""
    pairs = list(studies)
    of = machine.machine()
    where = f"{of['system']} {of['processor']}, {of['cores']} cores, Python {of['python']}"
    return f"""# Scaling, simulated

{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {machine.commit()}, {where}, seed {seed}.
All runs took {took:.0f} s together. `make bench-scaling` makes this page; [what it does not prove](../README.md).

Queue delays are in seconds, from the arrival of a job to its start. Worker-seconds are divided by those of the
oracle, which knows all arrivals and lets no job wait that need not; what waits may cost less. One job at a time on a
worker. `decide` is called as the control plane does, changes within {STEP_S} s of a call together in the next one.

{chr(10).join(_section(pattern, study) for pattern, study in pairs)}
## Other rules for QUEUE_DELAY 4

The rule that was taken adds a worker for each job that has waited too long. The others, on the same workloads
([why not](../../docs/decisions/0012-each-overdue-job-adds-a-worker.md)):

{chr(10).join(_other_rules(study) for _, study in pairs)}"""


def _section(pattern: Pattern, study: Study) -> str:
    least, most = pattern.cold_start
    lines = "\n".join(_rows([study.oracle, *study.scalers]))
    return f"""## {pattern.name}: {pattern.says}

{study.jobs:,} jobs, {study.work:,.0f} s of service; cold start {least:.0f} to {most:.0f} s,
idle timeout {pattern.idle_timeout:.0f} s, workers {pattern.minimum} to {pattern.maximum:,}.

{_HEAD.format(name="scaler")}
{lines}

![Workers and queue delay over time; both against each other](scaling-{pattern.name}.svg)
"""


def _other_rules(study: Study) -> str:
    taken = next(figures for figures in study.scalers if figures.name == "QUEUE_DELAY 4")
    return "\n".join([_HEAD.format(name=study.pattern), *_rows([taken, *study.other_rules]), ""])


def _rows(many: Iterable[Figures]) -> Iterator[str]:
    for one in many:
        yield (
            f"| {one.name} | {one.p50:,.1f} | {one.p95:,.1f} | {one.p99:,.1f} | {one.longest:,.1f} | {one.ratio:.2f} "
            f"| {one.peak:,} | {one.cold_starts:,} | {one.looks:,} |"
        )
