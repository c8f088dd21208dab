"""One pattern under every scaler, and under the rules that were not taken."""

from dataclasses import dataclass, field

from benchmarks.plots import Panel, Series
from benchmarks.simulation import rules
from benchmarks.simulation.engine import Endpoint, Rule, Run, Settings
from benchmarks.simulation.figures import Figures, delays_over_time, figures
from benchmarks.simulation.oracle import foresee
from benchmarks.simulation.patterns import Pattern, Workload, workload
from runpod_flash.control_plane.scaling import Limits, QueueDelay, RequestCount, decide

SCALERS: dict[str, QueueDelay | RequestCount] = {
    "QUEUE_DELAY 4": QueueDelay(4),
    "QUEUE_DELAY 0.5": QueueDelay(0.5),
    "QUEUE_DELAY 0": QueueDelay(0),
    "REQUEST_COUNT 1": RequestCount(1),
    "REQUEST_COUNT 4": RequestCount(4),
}
OTHER_RULES: dict[str, Rule] = {
    "one by one": rules.one_by_one,
    "doubled": rules.doubled,
    "all at once": rules.all_at_once,
}
HOUR_S = 3600.0


@dataclass(slots=True)
class Study:
    """What came out for a pattern: the oracle, the scalers, QUEUE_DELAY 4 under other rules, and what to draw."""

    pattern: str
    jobs: int
    work: float
    oracle: Figures
    scalers: list[Figures] = field(default_factory=list)
    other_rules: list[Figures] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)


def study(pattern: Pattern, jobs: int, seed: int) -> Study:
    """Run all of it. Raises AssertionError where an invariant of a run breaks."""
    load = workload(pattern, jobs, seed)
    oracle = foresee(load, maximum=pattern.maximum, cold_start=pattern.cold_start[0])
    found = Study(pattern.name, jobs, load.work, figures("oracle", oracle, oracle))
    workers, delays, trade = _empty_panels()
    workers["series"]["oracle"] = _workers(oracle)
    delays["series"]["oracle"] = _delays(load, oracle)
    trade["series"]["oracle"] = {"x": [1.0], "y": [found.oracle.p95]}
    for name, scaler in SCALERS.items():
        run = play(pattern, load, scaler, seed=seed)
        found.scalers.append(figures(name, run, oracle))
        workers["series"][name] = _workers(run)
        delays["series"][name] = _delays(load, run)
        trade["series"][name] = {"x": [found.scalers[-1].ratio], "y": [found.scalers[-1].p95]}
    for name, rule in OTHER_RULES.items():
        found.other_rules.append(figures(name, play(pattern, load, QueueDelay(4), rule=rule, seed=seed), oracle))
    found.panels = [workers, delays, trade]
    return found


def play(
    pattern: Pattern, load: Workload, scaler: QueueDelay | RequestCount, *, rule: Rule = decide, seed: int = 0
) -> Run:
    """One run of a pattern's workload."""
    limits = Limits(pattern.minimum, pattern.maximum, scaler)
    return Endpoint(load, Settings(limits, pattern.cold_start, pattern.idle_timeout), rule=rule, seed=seed).play()


def _workers(run: Run) -> Series:
    return {"x": [moment / HOUR_S for moment, _ in run.samples], "y": [float(count) for _, count in run.samples]}


def _delays(load: Workload, run: Run) -> Series:
    moments, values = delays_over_time(load.arrivals, run.delays)
    return {"x": [moment / HOUR_S for moment in moments], "y": values}


def _empty_panels() -> tuple[Panel, Panel, Panel]:
    return (
        {"title": "workers (oracle: running jobs)", "x_label": "hours", "log": False, "series": {}},
        {"title": "queue delay, s, 95th percentile", "x_label": "hours", "log": True, "series": {}},
        {"title": "queue delay, s, 95th percentile", "x_label": "worker-seconds / oracle's", "log": True, "series": {}},
    )
