"""What the loops share in memory: jobs, workers and the pools that hold both."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from runpod_flash.control_plane.alarms import Alarm
from runpod_flash.control_plane.crashes import Crashes
from runpod_flash.control_plane.environments import Environment
from runpod_flash.control_plane.freedom import Freedom
from runpod_flash.control_plane.inventory import Grant
from runpod_flash.control_plane.job_logs import LogTail
from runpod_flash.control_plane.launchers.base import WorkerProcess
from runpod_flash.control_plane.pace import Pace
from runpod_flash.control_plane.records import JobRecord, LogLine
from worker_runtime.wire.jobs import Call, JobStatus
from worker_runtime.wire.ranges import Range
from worker_runtime.wire.specs import EnvironmentRequest, WorkerLaunch

ARTIFACTS_PER_WORKER: Final = 16
"""The most artifacts that a worker has at a time, beside those that its calls need."""


SMALL: Final = 64 * 1024
"""The most bytes of arguments with which a call waits in a worker for its turn."""


class WorkerState(StrEnum):
    """The life of a worker. Only READY ones get jobs; DRAINING ones end when nothing runs in them."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


class Link(Protocol):
    """The stream to a worker."""

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send one frame; nothing happens where the stream is closed."""

    def send_whole(self, head: bytes, body: bytes = b"") -> None:
        """The same, of a header that is JSON already."""

    def close(self) -> None:
        """Close the stream; the worker ends."""


@dataclass(frozen=True, slots=True)
class PoolKey:
    """Which workers can serve a job: those of its endpoint with its environment, local modules and concurrency."""

    endpoint: str
    environment: str
    files: str
    concurrency: int


@dataclass(slots=True, eq=False)
class Job:
    """An unfinished job and who waits for it. `queued_at` is monotonic seconds, `number` grows as jobs come.

    `call` is what our SDK asks for; None: the input is for the endpoint's command to understand.
    """

    record: JobRecord
    call: Call | None
    pool: "Pool"
    queued_at: float
    done: asyncio.Future[JobRecord]
    number: int = 0
    logs: LogTail[LogLine] = field(default_factory=LogTail)
    sent: bool = False  # the running attempt, or the one that waits for its turn, has been sent to its worker
    attempt: int = 0  # the number of that attempt
    worker: "Worker | None" = None  # which has it
    ahead: JobRecord | None = None  # its record once it begins, where it waits for its turn in its worker
    outcome: JobRecord | None = None  # the decided end, before it is on disk; then it becomes the record
    timers: dict[str, Alarm] = field(default_factory=dict)  # of its deadlines, by name
    on_told: "Callable[[], None] | None" = None  # called when its end is on disk, before anybody who awaits `done`
    patient: bool = field(init=False)  # what it is allows that it waits in a worker for its turn

    def __post_init__(self) -> None:
        self.patient = self.call is not None and _is_patient(self.call)

    @property
    def decided(self) -> bool:
        """Whether its end is decided, told or not."""
        return self.outcome is not None or self.record.status.final

    @property
    def running(self) -> bool:
        """Whether an attempt of it runs."""
        return self.record.status is JobStatus.IN_PROGRESS

    @property
    def client(self) -> str | None:
        """The event stream that hears of it."""
        return self.record.client

    @property
    def instance(self) -> str | None:
        """The id of the object whose method this calls."""
        return self.call.instance.id if self.call is not None and self.call.instance else None

    @property
    def allowance(self) -> int | None:
        """How many attempts may follow the first: the endpoint's `retries`."""
        return None if self.call is None else self.call.retries

    @property
    def content(self) -> tuple[str, ...]:
        """The ids of the artifact and the values that it needs."""
        return () if self.call is None else (self.call.artifact, *self.call.values)


def _is_patient(call: Call) -> bool:
    """Whether a call may be sent before it can begin: it may be sent again, begins soon, and is small."""
    if call.retries == 0 or call.stream or call.plain or call.check:
        return False
    return all(payload.sha256 is None and payload.size <= SMALL for payload in call.payloads)


@dataclass(slots=True, eq=False)
class Loan:
    """That a client gives a worker its calls directly. `call` is what they ask for, without arguments."""

    id: str
    worker: "Worker"
    call: Call
    template: JobRecord  # of their jobs
    memory: str = ""  # what the shared memory of the client is called, where values may lie there
    result: tuple[int, Range, Range] | None = None  # the last large one: its number, where it lies, its name
    jobs: dict[int, Job] = field(default_factory=dict)  # those that run or ran, by the client's number
    is_left: bool = False  # its client has gone
    is_ending: bool = False  # the worker was asked to take no more
    last: int | None = None  # the number of the last that has begun, once it is over in good order
    lost: str = ""  # how its worker was lost, where it was


@dataclass(slots=True, eq=False)
class Worker:
    """A started worker. `generation` is the endpoint's when it was started; times are monotonic seconds."""

    id: str
    token: str
    key: str  # with which its code may call other endpoints
    pool: "Pool"
    generation: int
    folder: Path
    grant: Grant
    started_at: float
    state: WorkerState = WorkerState.STARTING
    process: WorkerProcess | None = None
    launch: WorkerLaunch | None = field(default=None, repr=False)  # what it was started with
    link: Link | None = None
    running: dict[str, Job] = field(default_factory=dict)
    ahead: dict[str, Job] = field(default_factory=dict)  # jobs that it begins when those before them have ended
    recalled: bool = False  # it was asked for them, and has not answered
    begun_at: float = 0.0  # when what it runs has begun, where it runs one job at a time
    queue: deque[Job] = field(default_factory=deque)  # jobs of the instances that live here
    artifacts: dict[str, None] = field(default_factory=dict)  # that it has, the one used last at the end
    instances: set[str] = field(default_factory=set)
    idle_since: float = 0.0
    last_beat: float = 0.0
    python: str = ""
    offers: int = 0  # how many more jobs its command has asked for
    requests: int = 0  # HTTP requests that it answers now
    port: int = 0  # where its command, or what was shipped, answers HTTP requests; 0: it takes jobs
    healthy: bool = True  # whether that says so
    owner: str = ""  # the user for whom it runs
    project: str = ""  # the endpoint's
    loan: Loan | None = None  # it is lent to a client, and takes no jobs of ours

    @property
    def is_server(self) -> bool:
        """Whether it runs a program of its own, a command or a server, instead of the calls that we send."""
        return self.pool.code is None or self.port > 0

    @property
    def free_slots(self) -> int:
        """How many more jobs it can run now."""
        if self.state is not WorkerState.READY or self.loan is not None:
            return 0
        return self.offers if self.pool.code is None else self.pool.key.concurrency - len(self.running)

    @property
    def load(self) -> int | None:
        """What `Freedom` goes by: jobs that it has; of a command, how few it has asked for."""
        if self.state is not WorkerState.READY or self.loan is not None:
            return None
        return -self.offers if self.pool.code is None else len(self.running) + len(self.ahead)

    @property
    def held(self) -> "tuple[Job, ...]":
        """The jobs that were given to it, in their order."""
        return (*self.running.values(), *self.ahead.values())

    def uses(self, artifact: str) -> list[str]:
        """A call of this artifact goes there: it has it now. Gives the ids of those that it shall forget."""
        self.artifacts.pop(artifact, None)
        self.artifacts[artifact] = None
        surplus = len(self.artifacts) - ARTIFACTS_PER_WORKER
        if surplus <= 0:
            return []
        needed = {artifact, *(each for job in self.held for each in job.content)}
        forgotten = [each for each in self.artifacts if each not in needed][:surplus]
        for each in forgotten:
            del self.artifacts[each]
        return forgotten

    @property
    def idle(self) -> bool:
        """Ready, and nothing runs or waits in it."""
        at_rest = not self.running and not self.ahead and not self.queue and not self.requests
        return self.state is WorkerState.READY and at_rest


@dataclass(slots=True)
class Code:
    """What our SDK has shipped: the environment of the job that made the pool, and the artifact of the last one."""

    environment: EnvironmentRequest
    artifact: str


@dataclass(slots=True, eq=False)
class Pool:
    """Jobs and workers that fit each other. Without `code`, the workers run the endpoint's command or its image."""

    key: PoolKey
    name: str  # the endpoint's
    code: Code | None
    image: str | None = None
    queue: deque[Job] = field(default_factory=deque)
    pausing: set[Job] = field(default_factory=set)  # jobs whose next attempt is not due yet
    workers: dict[str, Worker] = field(default_factory=dict)
    freedom: Freedom[Worker] = field(default_factory=Freedom)
    homes: dict[Worker, None] = field(default_factory=dict)  # workers in whose own queues jobs may wait
    holding: dict[Worker, None] = field(default_factory=dict)  # workers that may have jobs ahead
    lent: dict[Worker, None] = field(default_factory=dict)  # workers that are lent to clients
    pace: Pace = field(default_factory=Pace)
    environment: Environment | None = None
    building: "asyncio.Task[None] | None" = None
    building_since: float = 0.0  # seconds since the epoch
    building_detail: str = ""
    paused: str = ""  # why there shall be no worker at the moment
    stalled: str = ""  # why nothing can be started, whatever workers there are
    blocked: str = ""  # why no worker can be started at the moment
    throttled: int = 0  # workers that it shall have and for which there is no room
    crashes: Crashes = field(default_factory=Crashes)
    gave_up: str = ""  # why no worker could be had; nothing is tried again before the next job or request
    used_at: float = 0.0  # monotonic
    clients: dict[str, int] = field(default_factory=dict)  # unfinished jobs by client
    told_at: float = 0.0  # monotonic: when they have heard last what their jobs wait for
    told: dict[str, tuple[object, ...]] = field(default_factory=dict)  # the stage that each client has heard last
    notices: dict[str, str] = field(default_factory=dict)  # by key: what every client of the pool is told once
    waiting_requests: int = 0  # HTTP requests that no worker can take yet
    has_low_priority: bool = False  # jobs of low priority have come
    gone: bool = False  # it was forgotten, and takes no jobs any more

    @property
    def ahead(self) -> int:
        """How many jobs wait for their turn in workers."""
        return sum(len(worker.ahead) for worker in self.holding)

    @property
    def has_work(self) -> bool:
        """Whether jobs or requests wait for a worker."""
        return bool(self.queue) or self.waiting_requests > 0

    @property
    def is_calm(self) -> bool:
        """Whether all that has come runs."""
        return not self.queue and not self.waiting_requests and self.building is None

    def live(self, generation: int | None) -> Iterator[Worker]:
        """The workers that can take new jobs now or soon: of this generation, None of any."""
        for worker in self.workers.values():
            if generation in (None, worker.generation) and worker.state in (WorkerState.STARTING, WorkerState.READY):
                yield worker

    @property
    def busy(self) -> int:
        """How many workers run or hold jobs, or are on their way to do so."""
        return sum(1 for worker in self.workers.values() if not worker.idle and worker.state is not WorkerState.GONE)

    def join(self, client: str | None) -> bool:
        """One more unfinished job of this client. True: its only one here."""
        if client is None:
            return False
        self.clients[client] = self.clients.get(client, 0) + 1
        return self.clients[client] == 1

    def leave(self, client: str | None) -> None:
        """One job of this client is final."""
        if client is None:
            return
        left = self.clients.get(client, 0) - 1
        if left > 0:
            self.clients[client] = left
        else:
            self.clients.pop(client, None)
            self.told.pop(client, None)


class Fleet:
    """All pools, by key and by endpoint."""

    def __init__(self) -> None:
        self.pools: dict[PoolKey, Pool] = {}
        self._of: dict[str, dict[PoolKey, Pool]] = {}

    def add(self, pool: Pool) -> Pool:
        """A pool is there from now on."""
        self.pools[pool.key] = self._of.setdefault(pool.key.endpoint, {})[pool.key] = pool
        return pool

    def of(self, endpoint: str) -> list[Pool]:
        """The endpoint's pools, the most recently used first."""
        found = list(self._of.get(endpoint, {}).values())
        return found if len(found) < 2 else sorted(found, key=lambda pool: -pool.used_at)

    def workers(self) -> Iterator[Worker]:
        """Every worker that has not gone."""
        for pool in self.pools.values():
            yield from pool.workers.values()

    def content(self) -> set[str]:
        """The ids of artifacts and values that unfinished jobs and live workers need."""
        needed = set[str]()
        for pool in self.pools.values():
            if pool.code is not None:
                needed.add(pool.code.artifact)
            jobs = [
                *pool.queue,
                *pool.pausing,
                *(job for worker in pool.workers.values() for job in (*worker.queue, *worker.held)),
            ]
            for job in jobs:
                needed.update(job.content)
        return needed

    def discard(self, pool: Pool) -> None:
        """Forget a pool that holds neither jobs nor workers."""
        if not pool.has_work and not pool.pausing and not pool.workers and pool.building is None:
            pool.gone = True
            self.pools.pop(pool.key, None)
            left = self._of.get(pool.key.endpoint, {})
            left.pop(pool.key, None)
            if not left:
                self._of.pop(pool.key.endpoint, None)
