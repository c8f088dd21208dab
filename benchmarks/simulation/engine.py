"""One endpoint in simulated time: a queue, workers that start, run and idle, and the loop around the scaling rule.

The loop is that of `control_plane/autoscaler.py`: it looks after each change of load and when a timer runs out, starts
what `decide` asks for, then stops what `surplus` names. It differs in one thing: changes within `STEP_S` of a look are
looked at together, at the end of that time. Jobs go to workers at once, without a look, the first of the queue to the
worker that has been there longest, as the dispatcher does.
"""

import heapq
import math
import random
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.simulation.patterns import Workload
from runpod_flash.control_plane.scaling import Limits, Load, QueueDelay, decide, needed, surplus

STEP_S = 0.1
TIMER_SLACK_S = 0.01
"""How long after its moment the autoscaler's timer looks."""

_BUSY = -1.0
_STOPPED = -2.0

Rule = Callable[[Load, Limits], int]


@dataclass(frozen=True, slots=True)
class Settings:
    """The endpoint: its limits (one slot a worker), the range of a cold start and the idle timeout, in seconds."""

    limits: Limits
    cold_start: tuple[float, float]
    idle_timeout: float


@dataclass(slots=True)
class Run:
    """What happened. `delays` are by job, from its arrival to its start; `samples` are (moment, workers)."""

    delays: "array[float]"
    samples: list[tuple[float, int]]
    worker_seconds: float = 0.0
    peak: int = 0
    cold_starts: int = 0
    looks: int = 0
    end: float = 0.0


class Endpoint:
    """Runs a workload once. Raises AssertionError where an invariant breaks."""

    def __init__(
        self, workload: Workload, settings: Settings, *, rule: Rule = decide, seed: int = 0, samples: int = 500
    ) -> None:
        self._arrivals, self._services = workload.arrivals, workload.services
        self._settings, self._rule, self._rng = settings, rule, random.Random(seed)
        jobs = len(self._arrivals)
        self.run = Run(array("d", bytes(8 * jobs)), [])
        self._ended = bytearray(jobs)
        self._queue: deque[int] = deque()
        self._events: list[tuple[float, int]] = []  # (moment, worker): it is ready, or its job ends
        self._job: list[int] = []  # by worker; -1: none yet
        self._idle_since: list[float] = []  # by worker
        self._idle: list[int] = []  # a heap of workers, some of which idle no more
        self._idled: deque[tuple[float, int]] = deque()  # since when, which: in this order, some of which idle no more
        self._busy = self._starting = self._workers = 0
        self._now = self._due = 0.0
        self._looked = -math.inf
        self._sample_every = (self._arrivals[-1] if jobs else 0.0) / samples
        self._next_sample = 0.0

    def play(self) -> Run:
        """From the first arrival until all is done and all workers above the minimum have stopped."""
        arrivals, events, position, jobs = self._arrivals, self._events, 0, len(self._arrivals)
        while True:
            arrival = arrivals[position] if position < jobs else math.inf
            event = events[0][0] if events else math.inf
            moment = min(arrival, event)
            if self._due < moment:
                self._go_to(self._due)
                self._look()
            elif moment == math.inf:
                break
            elif arrival <= event:
                self._go_to(arrival)
                self._arrive(position)
                position += 1
            else:
                self._go_to(event)
                self._free(heapq.heappop(events)[1])
        self._close()
        return self.run

    def _go_to(self, moment: float) -> None:
        assert moment >= self._now, "the clock goes back"
        self._now = moment

    def _arrive(self, job: int) -> None:
        idle = self._idle
        while idle:
            worker = heapq.heappop(idle)
            if self._idle_since[worker] >= 0:
                self._start_job(worker, job)
                break
        else:
            self._queue.append(job)
        self._load_changed()

    def _free(self, worker: int) -> None:
        """A worker is ready, or has ended its job."""
        job = self._job[worker]
        if job < 0:
            self._starting -= 1
        else:
            self._ended[job] += 1
            self._busy -= 1
        if self._queue:
            self._start_job(worker, self._queue.popleft())
        else:
            self._idle_since[worker] = self._now
            heapq.heappush(self._idle, worker)
            self._idled.append((self._now, worker))
        self._load_changed()

    def _start_job(self, worker: int, job: int) -> None:
        self._idle_since[worker] = _BUSY
        self._job[worker] = job
        self._busy += 1
        self.run.delays[job] = self._now - self._arrivals[job]
        heapq.heappush(self._events, (self._now + self._services[job], worker))

    def _load_changed(self) -> None:
        self._due = min(self._due, max(self._now, self._looked + STEP_S))

    def _look(self) -> None:
        load, limits = self._load(), self._settings.limits
        target = self._rule(load, limits)
        self.run.looks += 1
        for _ in range(target - self._workers):
            self._start_worker()
        assert self._workers <= limits.maximum, "more workers than the maximum"
        self._stop_expired()
        self._looked = self._now
        self._due = self._next_timer()
        if self._now >= self._next_sample:
            self.run.samples.append((self._now, self._workers))
            self._next_sample = self._now + self._sample_every

    def _load(self) -> Load:
        return Load(len(self._queue), self._busy, self._workers, self._starting, self._overdue())

    def _overdue(self) -> int:
        """How many jobs have waited too long. The queue has no gaps: who arrives while others wait, waits too."""
        scaler, queue = self._settings.limits.scaler, self._queue
        if not queue or not isinstance(scaler, QueueDelay):
            return 0
        return bisect_left(self._arrivals, self._now - scaler.seconds, queue[0], queue[-1] + 1) - queue[0]

    def _start_worker(self) -> None:
        self._count(1)
        self._starting += 1
        self.run.cold_starts += 1
        heapq.heappush(self._events, (self._now + self._rng.uniform(*self._settings.cold_start), len(self._job)))
        self._job.append(-1)
        self._idle_since.append(_BUSY)

    def _stop_expired(self) -> None:
        """Stop what is surplus. It is asked about the expired workers only, as the others never count."""
        timeout, idled = self._settings.idle_timeout, self._idled
        expired: list[tuple[float, int]] = []
        while idled and (self._idle_since[idled[0][1]] != idled[0][0] or self._now - idled[0][0] >= timeout):
            since, worker = idled.popleft()
            if self._idle_since[worker] == since:
                expired.append((since, worker))
        if not expired:
            return
        keep = needed(self._load(), self._settings.limits)
        idle_for = [self._now - since for since, _ in expired]
        count = surplus(idle_for, workers=self._workers, minimum=keep, idle_timeout=timeout)
        for _, worker in expired[:count]:
            self._idle_since[worker] = _STOPPED
            self._count(-1)
        idled.extendleft(reversed(expired[count:]))

    def _next_timer(self) -> float:
        """As the autoscaler: when the next worker has idled long enough, and when the next job has waited too long."""
        now, timeout, scaler = self._now, self._settings.idle_timeout, self._settings.limits.scaler
        moment = next((since + timeout for since, _ in self._idled if since + timeout > now), math.inf)
        if isinstance(scaler, QueueDelay) and scaler.seconds > 0 and self._queue:
            job = self._queue[0] + self._overdue()
            if job <= self._queue[-1]:
                moment = min(moment, max(self._arrivals[job] + scaler.seconds, now + STEP_S))
        return moment + TIMER_SLACK_S

    def _count(self, change: int) -> None:
        """A worker comes or goes: its seconds are the sum of -(start) and +(stop)."""
        self._workers += change
        self.run.worker_seconds -= change * self._now
        self.run.peak = max(self.run.peak, self._workers)

    def _close(self) -> None:
        assert all(count == 1 for count in self._ended), "a job has not ended exactly once"
        assert self._busy == self._starting == len(self._queue) == 0
        self.run.end = self._now
        self.run.worker_seconds += self._workers * self._now
