"""Arrivals and service times of a million jobs, the same for the same seed. All times are in seconds."""

import math
import random
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LONGEST_S = 3600.0
"""Where heavy tails are cut off."""

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Workload:
    """Jobs in the order of their arrival: when each comes and how long it runs."""

    arrivals: "array[float]"
    services: "array[float]"

    @property
    def work(self) -> float:
        """The sum of all service times."""
        return math.fsum(self.services)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of load, and the settings of the endpoint that has it."""

    name: str
    says: str
    draw: Callable[[random.Random, int], Workload]
    cold_start: tuple[float, float]
    """A worker's start takes between the first and the second, drawn evenly."""
    idle_timeout: float
    minimum: int = 0
    maximum: int = 10_000


def workload(pattern: Pattern, jobs: int, seed: int) -> Workload:
    """Draw so many jobs of a pattern."""
    return pattern.draw(random.Random(f"{pattern.name} {seed}"), jobs)


def _diurnal(rng: random.Random, jobs: int) -> Workload:
    """A day: a sinus with a deep night, by thinning a Poisson process. Log-normal service times, 150 s on average."""
    arrivals: array[float] = array("d")
    now, peak = 0.0, 2 * jobs / DAY_S
    while len(arrivals) < jobs:
        now += rng.expovariate(peak)
        if rng.random() < (1 - 0.95 * math.cos(2 * math.pi * now / DAY_S)) / 2:
            arrivals.append(now)
    return Workload(arrivals, _log_normal(rng, jobs, mean=150.0, sigma=1.0))


def _crowds(rng: random.Random, jobs: int) -> Workload:
    """Six quiet hours in which ten crowds come, each for two minutes, with 90 % of the jobs. Exponential, 5 s."""
    length, crowds = 6 * 3600.0, 10
    begins = [(number + 0.5) * length / crowds for number in range(crowds)]
    times = [rng.uniform(0, length) for _ in range(jobs // 10)]
    times += [begins[number % crowds] + rng.uniform(0, 120.0) for number in range(jobs - len(times))]
    return Workload(array("d", sorted(times)), array("d", (rng.expovariate(1 / 5.0) for _ in range(jobs))))


def _on_off(rng: random.Random, jobs: int) -> Workload:
    """Bursts of exponential length (60 s on average), silence (120 s on average) between them. 2 s of service."""
    arrivals: array[float] = array("d")
    now, rate = 0.0, jobs / (400 * 60.0)
    while len(arrivals) < jobs:
        now += rng.expovariate(1 / 120.0)
        end = now + rng.expovariate(1 / 60.0)
        while len(arrivals) < jobs and (now := now + rng.expovariate(rate)) < end:
            arrivals.append(now)
    return Workload(arrivals, array("d", (rng.uniform(1.0, 3.0) for _ in range(jobs))))


def _pareto(rng: random.Random, jobs: int) -> Workload:
    """Poisson arrivals, 20 a second; Pareto service times (shape 1.5, at least 1 s), cut off."""
    services = array("d", (min(LONGEST_S, rng.paretovariate(1.5)) for _ in range(jobs)))
    return Workload(array("d", _poisson(rng, jobs, rate=20.0)), services)


def _log_normal_bursts(rng: random.Random, jobs: int) -> Workload:
    """Poisson moments at which a heavy-tailed number of jobs comes; log-normal service times (sigma 2, 10 s)."""
    arrivals: array[float] = array("d")
    for moment in _poisson(rng, jobs, rate=1.0):
        size = min(20_000, int(rng.paretovariate(1.2)), jobs - len(arrivals))
        arrivals.extend([moment] * size)
        if len(arrivals) == jobs:
            break
    return Workload(arrivals, _log_normal(rng, jobs, mean=10.0, sigma=2.0))


def _poisson(rng: random.Random, jobs: int, rate: float) -> Iterator[float]:
    now = 0.0
    for _ in range(jobs):
        now += rng.expovariate(rate)
        yield now


def _log_normal(rng: random.Random, jobs: int, mean: float, sigma: float) -> "array[float]":
    mu = math.log(mean) - sigma * sigma / 2
    return array("d", (min(LONGEST_S, rng.lognormvariate(mu, sigma)) for _ in range(jobs)))


PATTERNS = (
    Pattern("diurnal", "a day with its night, long jobs (150 s)", _diurnal, (10.0, 30.0), 60.0),
    Pattern("crowds", "ten flash crowds in six quiet hours, 5 s jobs", _crowds, (5.0, 15.0), 10.0),
    Pattern("on-off", "bursts and silence, 2 s jobs", _on_off, (2.0, 6.0), 10.0),
    Pattern("pareto", "steady arrivals, Pareto service times", _pareto, (5.0, 15.0), 10.0),
    Pattern("batches", "heavy-tailed batches, log-normal service times", _log_normal_bursts, (5.0, 15.0), 10.0),
)
