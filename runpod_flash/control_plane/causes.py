"""Why a job waits: one of a closed list of causes, told in words that say what it waits for."""

import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from runpod_flash.control_plane.fleet import Job, Pool, WorkerState


class CauseKind(StrEnum):
    """Everything that a job can wait for."""

    QUEUED = "queued"  # behind others, for a worker that is there
    BUILDING = "building"  # its environment is built
    STARTING = "starting"  # a worker starts
    CRASH_LOOP = "crash_loop"  # workers end before they do anything; the next start waits
    NO_CAPACITY = "no_capacity"  # this machine has no free device, or no room on its disk
    INFEASIBLE = "infeasible"  # no worker of this machine can ever serve it
    BACKOFF = "backoff"  # its last attempt failed, and the next one is not due yet
    PAUSED = "paused"  # the endpoint has workers=0, or the control plane drains


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a job waits: `behind` so many others, `since` a time in the epoch's seconds."""

    kind: CauseKind
    text: str
    since: float
    behind: int = 0

    def to_json(self) -> dict[str, Any]:
        """As it is told."""
        return {"kind": str(self.kind), "text": self.text, "since": self.since, "behind": self.behind}


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides about a waiting job: its place and the state of its pool. Times are the epoch's seconds.

    `paused`, `stalled` (nothing can be written), `no_capacity`, `crashed` and `backoff` are reasons in words, empty for
    none.
    """

    behind: int = 0
    queued_since: float = 0.0
    ready: int = 0
    starting: int = 0
    starting_since: float = 0.0
    building: bool = False
    building_since: float = 0.0
    building_detail: str = ""
    paused: str = ""
    stalled: str = ""
    no_capacity: str = ""
    crashed: str = ""
    backoff: str = ""


def cause_of(at: Situation) -> Cause:
    """The one cause that, when it ends, brings the job on."""
    if at.backoff:
        return Cause(CauseKind.BACKOFF, at.backoff, at.queued_since)
    if at.paused:
        return Cause(CauseKind.PAUSED, at.paused, at.queued_since, at.behind)
    if at.stalled:
        return Cause(CauseKind.NO_CAPACITY, at.stalled, at.queued_since, at.behind)
    if at.building:
        detail = f" ({at.building_detail})" if at.building_detail else ""
        return Cause(CauseKind.BUILDING, f"its environment is built{detail}", at.building_since, at.behind)
    if at.ready == 0 and at.crashed and not at.starting:
        return Cause(CauseKind.CRASH_LOOP, at.crashed, at.queued_since, at.behind)
    if at.ready == 0 and at.no_capacity and not at.starting:
        return Cause(CauseKind.NO_CAPACITY, at.no_capacity, at.queued_since, at.behind)
    if at.ready == 0:
        return Cause(CauseKind.STARTING, "a worker starts", at.starting_since or at.queued_since, at.behind)
    return Cause(CauseKind.QUEUED, _queued(at), at.queued_since, at.behind)


def why(pool: Pool, job: Job) -> Cause:
    """Why a job of the pool that has not started waits."""
    backoff = _backoff(job) if job in pool.pausing else ""
    return cause_of(_situation(pool, behind=_place(pool, job), queued_at=job.queued_at, backoff=backoff))


def of_pool(pool: Pool) -> Cause:
    """Why what is not in the pool's queue waits: HTTP requests, or nothing but the environment that is built."""
    return cause_of(_situation(pool, behind=0, queued_at=time.monotonic()))


def _situation(pool: Pool, *, behind: int, queued_at: float, backoff: str = "") -> Situation:
    now, clock = time.time(), time.monotonic()
    states = Counter(worker.state for worker in pool.workers.values())
    starting = [worker.started_at for worker in pool.workers.values() if worker.state is WorkerState.STARTING]
    return Situation(
        behind=behind,
        queued_since=now - (clock - queued_at),
        ready=states[WorkerState.READY],
        starting=len(starting),
        starting_since=now - (clock - min(starting, default=clock)),
        building=pool.building is not None,
        building_since=pool.building_since,
        building_detail=pool.building_detail,
        paused=pool.paused,
        stalled=pool.stalled,
        no_capacity=pool.blocked,
        crashed=pool.crashes.said(clock),
        backoff=backoff,
    )


def _place(pool: Pool, job: Job) -> int:
    """How many jobs are in front of this one: in a queue, or in the worker that will run it."""
    for queue in (pool.queue, *(worker.queue for worker in pool.homes)):
        if job in queue:
            return queue.index(job)
    if job.worker is not None and job.ahead is not None:
        return list(job.worker.held).index(job)
    return 0


def _backoff(job: Job) -> str:
    pause = 0.0 if job.call is None or job.call.backoff is None else job.call.backoff.delay_s(job.record.retries)
    return f"waits {pause:g} s before attempt {job.record.attempts + 1}"


def _queued(at: Situation) -> str:
    words = [f"behind {at.behind}" if at.behind else "next in line", f"{at.ready} worker{'s' * (at.ready != 1)} busy"]
    if at.starting:
        words.append(f"{at.starting} starting")
    elif at.no_capacity:
        words.append(at.no_capacity)
    return ", ".join(words)
