"""What one could do who knows all arrivals beforehand: a bound to measure scaling rules against.

A worker is ready at the moment a job needs one, so no job waits, unless more jobs run than the maximum allows; then
jobs start in the order of their arrival as soon as one ends, and no rule can start any of them earlier. Its
worker-seconds are the least with which these starts can be had: the service times, and before each start either a cold
start (the shortest one) or the idle time of a worker that was kept since it ended another job, whichever is less.
Giving each job the worker that ended last makes the sum of these least: the cost of a gap grows up to that of a cold
start and no further, so one short gap and one long gap cost no more than two of the middle.

It is generous: a worker that starts or idles does not count against the maximum. A rule that lets jobs wait may need
fewer worker-seconds than this, never fewer than the service times.
"""

import heapq
from array import array

from benchmarks.simulation.engine import Run
from benchmarks.simulation.patterns import Workload


def foresee(workload: Workload, *, maximum: int, cold_start: float, samples: int = 300) -> Run:
    """The oracle's run. Its samples are jobs that run, and its looks are 0."""
    run = Run(array("d"), [], worker_seconds=workload.work)
    sample_every = (workload.arrivals[-1] if workload.arrivals else 0.0) / samples
    ends: list[float] = []  # a heap: when the jobs end that run
    free: list[float] = []  # when workers became free, the last one at the end
    next_sample = 0.0
    for arrival, service in zip(workload.arrivals, workload.services, strict=True):
        while ends and ends[0] <= arrival:
            free.append(heapq.heappop(ends))
        start = arrival
        if len(ends) == maximum:
            start = heapq.heappop(ends)
        elif free and arrival - free[-1] < cold_start:
            run.worker_seconds += arrival - free.pop()
        else:
            free.clear()  # all the others are free for longer yet
            run.worker_seconds += cold_start
            run.cold_starts += 1
        run.delays.append(start - arrival)
        heapq.heappush(ends, start + service)
        run.peak = max(run.peak, len(ends))
        if arrival >= next_sample:
            run.samples.append((arrival, len(ends)))
            next_sample = arrival + sample_every
    run.end = max(ends, default=0.0)
    return run
