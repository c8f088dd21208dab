"""The core of a control plane that can be killed between any two steps: everything in it is real but workers and HTTP.

A step is one turn of the event loop. A crash drops the loop with all that was under way, and the database as it is:
what was committed stays, the group that was being gathered is lost. What outlives it, as on a machine, is the folder,
and what clients and workers have seen.
"""

import asyncio
import contextlib
import hashlib
import inspect
import shutil
import tempfile
import time
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Fleet, Worker
from runpod_flash.control_plane.inventory import Grant
from runpod_flash.control_plane.job_records import unpack
from runpod_flash.control_plane.job_rows import FIXED, STATE
from runpod_flash.control_plane.outbox import Render
from runpod_flash.control_plane.platform_core import PlatformCore
from runpod_flash.control_plane.records import JobRecord, Submission
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.views import job_object
from tests.support.memory_fleet import MemoryArtifacts, MemoryValues, artifact
from tests.support.small_plane import BODY, StandInEnvironments
from worker_runtime.wire import frames, messages
from worker_runtime.wire.jobs import Call, ErrorInfo, Instance, Payload

T = TypeVar("T")

MEMORY_DISK = Path("/dev/shm")


@dataclass(eq=False)
class PlayedWorker:
    """A worker's end of its link. It answers when the test says so, and may answer after it was given up."""

    world: "World"
    worker: Worker
    calls: dict[str, int] = field(default_factory=dict)
    is_asked: bool = False  # for what it has not begun

    def send_whole(self, head: bytes, body: bytes = b"") -> None:
        self.send(frames.parse(head), body)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        if header["type"] == messages.RUN:
            self.world.begun(header["job"], header["attempt"])
            self.calls[header["job"]] = header["attempt"]
        elif header["type"] == messages.TAKE_BACK:
            self.is_asked = True

    def close(self) -> None:
        """The link is closed by the control plane."""


@dataclass
class World:
    """What outlives a crash: the folder, blobs, and what was seen by workers (`starts`) and clients (`told`)."""

    folder: Path = field(
        default_factory=lambda: Path(tempfile.mkdtemp(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None))
    )
    values: MemoryValues = field(default_factory=MemoryValues)
    artifacts: MemoryArtifacts = field(default_factory=MemoryArtifacts)
    starts: dict[str, list[int]] = field(default_factory=dict)  # by job: the attempts that workers have begun
    told: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)  # by job: the ends that clients were told
    life: "Life | None" = None
    killed: "list[asyncio.Task[Any]]" = field(default_factory=list)  # kept, so that no `finally` of theirs runs

    def begin(self) -> "Life":
        """Start a control plane on what there is."""
        self.life = Life(self)
        return self.life

    def publish(self, client: str, event: Mapping[str, Any]) -> None:
        """What a client's stream brings, but for the ends of jobs."""

    def ended(self, client: str, record: JobRecord, render: Render) -> None:
        """An end that a client's stream brings."""
        self.told.setdefault(record.id, []).append(render(record, time.time()))

    def begun(self, job: str, attempt: int) -> None:
        """A worker begins an attempt. The database must know of it by then, whatever happens next."""
        assert self.life is not None
        known = self.life.committed_attempts(job)
        assert known >= attempt, f"{job} begins attempt {attempt} and the database knows {known}"
        assert attempt not in self.starts.get(job, []), f"attempt {attempt} of {job} begins twice"
        self.starts.setdefault(job, []).append(attempt)

    def close(self) -> None:
        """Remove the folder."""
        if self.life is not None:
            self.life.crash()
        shutil.rmtree(self.folder)
        for task in self.killed:
            coroutine: Any = task.get_coro()
            with contextlib.suppress(Exception):
                coroutine.close()


class Life:
    """One control plane from its start to its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = asyncio.new_event_loop()
        self.tasks = weakref.WeakSet[asyncio.Task[Any]]()
        self.loop.set_task_factory(self._task)
        self.store = Store.open(world.folder / "flash.db")
        self.fleet = Fleet()
        self.catalog = Catalog(self.store)
        announcer = Announcer(world, job_object)
        self.dispatcher = Dispatcher(self.store, world.values, Artifacts(world.artifacts), self.fleet, announcer)
        environments: Any = StandInEnvironments()
        self.platform = PlatformCore(self.store, self.catalog, self.fleet, self.dispatcher, environments, announcer)
        self.workers: list[PlayedWorker] = []
        self.past: list[PlayedWorker] = []  # given up, but they may still say something
        self.submits: dict[str, asyncio.Task[JobRecord]] = {}
        self.artifact = artifact(world.artifacts)
        self._numbers = iter(range(10**9))
        self.starting = self.loop.create_task(self._start())

    async def _start(self) -> None:
        if not self.catalog.list():
            await self.catalog.create("/p", BODY)
        await self.platform.replay()

    def _task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        self.tasks.add(task)
        return task

    @property
    def serving(self) -> bool:
        """Whether it has replayed, and takes requests."""
        if self.starting.done():
            self.starting.result()
        return self.starting.done()

    @property
    def writing(self) -> bool:
        """Whether something is decided and not yet on disk, or submitted and not yet answered."""
        open_submits = any(not task.done() for task in self.submits.values())
        return open_submits or any(job.decided for job in self.dispatcher.jobs_of(self.catalog.list()[0].id))

    @contextlib.contextmanager
    def on_loop(self) -> Iterator[None]:
        """What is done inside, the loop does, as part of a step."""
        asyncio._set_running_loop(self.loop)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def step(self, number: int = 1) -> None:
        """Turn the loop."""
        for _ in range(number):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Turn the loop until something has ended."""
        return self.loop.run_until_complete(work)

    def committed_attempts(self, job: str) -> int:
        """How many starts of a job are on disk."""
        connection = self.store._connection
        rows = connection.execute("SELECT seq, attempts FROM jobs WHERE id = ?", [job]).fetchall()
        numbers, attempts = [number for number, _ in rows], [attempts or 0 for _, attempts in rows]
        for (record,) in connection.execute("SELECT jobs FROM journal ORDER BY seq"):
            for number, *said in unpack(record):
                if said[len(STATE) :] and said[len(STATE) + FIXED.index("id")] == job:
                    numbers.append(number)
                if said and number in numbers:
                    attempts.append(said[STATE.index("attempts")])
        return max(attempts, default=0)

    def crash(self) -> None:
        """SIGKILL."""
        if self.loop.is_closed():
            return
        for task in [task for task in self.tasks if not task.done()]:
            coroutine: Any = task.get_coro()
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # that is the point
            self.world.killed.append(task)
        self.store._connection.close()
        self.loop.close()
        self.loop.call_soon = lambda *_, **__: None  # type: ignore[method-assign,assignment,return-value]  # it is dead

    def stop(self) -> None:
        """SIGTERM without time for what runs."""
        with self.on_loop():
            self.dispatcher.hold()
            self.dispatcher.stop()
        for worker in list(self.workers):
            self.lose(worker)
        self.run(self.dispatcher.settle())
        self.store.close()
        self.crash()

    # ---- clients

    def submit(self, key: str, retries: int | None, instance: str | None) -> None:
        """Send a submit; whether it was acknowledged is known when its task is done."""
        (endpoint,) = self.catalog.list()
        home = Instance(instance, Payload(inline=b"c", size=1)) if instance is not None else None
        call = Call(self.artifact, Payload(inline=key.encode(), size=1), instance=home, retries=retries)
        job_id = f"j{hashlib.sha256(f'{key} {time.perf_counter_ns()}'.encode()).hexdigest()[:12]}"
        self.submits[key] = self.loop.create_task(
            self.platform.submit(endpoint.id, Submission(job_id, call.to_input(), client="c", key=key))
        )

    def status(self, job: str) -> JobRecord:
        """Ask for a job."""
        (endpoint,) = self.catalog.list()
        return self.platform.job(endpoint.id, job)

    # ---- workers

    def start_worker(self) -> None:
        """A worker comes and is ready."""
        pool = next(iter(self.fleet.pools.values()), None)
        if pool is None:
            return
        now, name = time.monotonic(), f"w{next(self._numbers)}"
        worker = Worker(name, "token", "key", pool, 1, Path(name), Grant(), now, idle_since=now, last_beat=now)
        played = PlayedWorker(self.world, worker)
        worker.link = played
        worker.uses(self.artifact)
        pool.workers[name] = worker
        pool.pace.took(0.0001)  # so that workers get calls ahead
        self.workers.append(played)
        with self.on_loop():
            self.dispatcher.worker_ready(worker)

    def lose(self, played: PlayedWorker) -> None:
        """A worker's link breaks, or its lease ends; it may not know that yet."""
        self.workers.remove(played)
        self.past.append(played)
        with self.on_loop():
            self.dispatcher.worker_lost(played.worker, "its link broke", [])

    def answer(self, played: PlayedWorker, job: str, error: ErrorInfo | None = None) -> None:
        """A worker says that a call has ended; the value says which attempt gave it. Before, that it has begun all."""
        if played.is_asked:
            played.is_asked = False
            with self.on_loop():
                self.dispatcher.given_back(played.worker, [])
        attempt = played.calls.pop(job)
        body = b"" if error is not None else f"{job} {attempt}".encode()
        with self.on_loop():
            self.dispatcher.finished(played.worker, job, attempt, error, body)

    def cancel(self, job_id: str) -> None:
        """Somebody cancels a job."""
        job = self.dispatcher.unfinished(job_id)
        assert job is not None
        with self.on_loop():
            self.dispatcher.cancel(job)
