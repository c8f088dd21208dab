"""Which webhook goes out next: hosts take turns, and no host has all places. Pure; times are one clock's seconds."""

import heapq
import itertools
from collections import Counter, deque


class WebhookQueue:
    """At most `places` webhooks are on their way at once, at most `per_host` to one host."""

    def __init__(self, places: int, per_host: int) -> None:
        self._places = places
        self._per_host = per_host
        self._hosts: dict[str, str] = {}  # of each job that is here, waiting or on its way
        self._later: list[tuple[float, int, str]] = []  # a heap: when it is due, in which order it came, which job
        self._ready: dict[str, deque[str]] = {}  # jobs by host; the host whose turn it is comes first
        self._sending: Counter[str] = Counter()  # by host
        self._order = itertools.count()

    def __contains__(self, job: str) -> bool:
        return job in self._hosts

    def __len__(self) -> int:
        return len(self._hosts)

    def add(self, job: str, host: str, due: float) -> None:
        """Let the webhook of a job wait until `due`. One that is here already stays as it is."""
        if job not in self._hosts:
            self._hosts[job] = host
            heapq.heappush(self._later, (due, next(self._order), job))

    def take(self, now: float) -> str | None:
        """The job whose webhook is to be sent now; it has a place until `done`. None where nothing can be sent."""
        while self._later and self._later[0][0] <= now:
            job = heapq.heappop(self._later)[2]
            self._ready.setdefault(self._hosts[job], deque()).append(job)
        if self._sending.total() >= self._places:
            return None
        host = next((host for host in self._ready if self._sending[host] < self._per_host), None)
        if host is None:
            return None
        jobs = self._ready.pop(host)
        job = jobs.popleft()
        if jobs:
            self._ready[host] = jobs  # at the end: the others have their turn before
        self._sending[host] += 1
        return job

    def done(self, job: str) -> str:
        """The webhook that was taken is on its way no more. Returns its host."""
        host = self._hosts.pop(job)
        self._sending[host] -= 1
        if not self._sending[host]:
            del self._sending[host]
        return host

    def next_due(self) -> float | None:
        """When the next webhook is due of those that were not when `take` was called last."""
        return self._later[0][0] if self._later else None
