"""A dispatcher and a desk in memory, and commands that the test plays. What must always hold is checked on the way."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_flash.control_plane.announcer import Announcer
from runpod_flash.control_plane.artifacts import Artifacts
from runpod_flash.control_plane.dispatcher import Dispatcher
from runpod_flash.control_plane.fleet import Fleet, Job, Worker, WorkerState
from runpod_flash.control_plane.inventory import Grant
from runpod_flash.control_plane.limits import Limits
from runpod_flash.control_plane.records import EndpointRecord, JobRecord
from runpod_flash.control_plane.takes import TakeDesk
from runpod_flash.control_plane.views import job_object
from tests.support.memory_fleet import Events, MemoryArtifacts, MemoryStore, MemoryValues
from worker_runtime.wire.jobs import JobStatus

ENDPOINT = EndpointRecord("e1", "/p", "palette", {"command": "serve", "workers": {"min": 0, "max": 3}}, "hash", 1, 1.0)
LIMITS = Limits(take_hold_s=600.0)


@dataclass(eq=False)
class PlayedCommand:
    """A worker's command: what it has, and the request that it holds open."""

    worker: Worker
    has: set[str] = field(default_factory=set)
    asked: int = 0
    taking: "asyncio.Task[list[dict[str, Any]]] | None" = None


class TakeScene:
    """Events by name; those that make no sense at the moment do nothing. Make it inside an event loop."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.store, self.events, self.fleet = MemoryStore(), Events(), Fleet()
        announcer = Announcer(self.events, job_object)
        self.dispatcher = Dispatcher(self.store, MemoryValues(), Artifacts(MemoryArtifacts()), self.fleet, announcer)
        self.desk = TakeDesk(self.dispatcher, limits, 600.0)
        self.dispatcher.take_through(self.desk)
        self.pool = self.dispatcher.pools.of_command(ENDPOINT)
        self.commands: list[PlayedCommand] = []
        self.jobs: list[Job] = []
        self.ended: list[tuple[PlayedCommand, str]] = []
        self.answered: dict[str, Any] = {}  # by job: what the first valid answer said
        self.violations: list[str] = []
        self._numbers = itertools.count(1)

    # ---- events

    async def submit(self) -> None:
        if self.store.full:
            return
        record = JobRecord(f"j{next(self._numbers)}", ENDPOINT.id, {"n": 1}, time.time())
        self.store.turns, turns = 0, self.store.turns
        await self.store.save_job(record)
        self.store.turns = turns
        self.jobs.append(self.dispatcher.accept(record, None, self.pool))

    async def start(self, ready: bool) -> None:
        if len(self.commands) < 4:
            name, now = f"w{next(self._numbers)}", time.monotonic()
            worker = Worker(name, "token", "key", self.pool, 1, Path(name), Grant(), now, idle_since=now, last_beat=now)
            self.pool.workers[name] = worker
            self.commands.append(PlayedCommand(worker))
            if ready:
                await self.take(len(self.commands) - 1, 1, False)

    async def take(self, number: int, size: int, busy: bool) -> None:
        command = self._one(number)
        if command is not None:
            command.asked = size
            command.taking = asyncio.ensure_future(self.desk.take(command.worker, size, busy=busy or bool(command.has)))
            command.taking.add_done_callback(lambda task: self._got(command, task))
            await asyncio.sleep(0)  # the request has come

    def _got(self, command: PlayedCommand, task: "asyncio.Task[list[dict[str, Any]]]") -> None:
        if command.taking is not task:  # it has asked again: nobody hears this answer
            return
        command.taking = None
        if task.cancelled():
            return
        jobs = [job["id"] for job in task.result()]
        if len(jobs) > command.asked:
            self.violations.append(f"{command.worker.id} asked for {command.asked} and got {jobs}")
        for job_id in jobs:
            others = [other.worker.id for other in self.commands if job_id in other.has]
            if others:
                self.violations.append(f"{job_id} is with {others} and was given to {command.worker.id}")
            versions = self.store.versions[job_id]
            if versions[-1].worker != command.worker.id and not self._job(job_id).decided:
                self.violations.append(f"{job_id} was given to {command.worker.id}, the store has {versions[-1]}")
            if command in self.commands:
                command.has.add(job_id)

    async def leave(self, number: int) -> None:
        """The request is broken off."""
        command = self._one(number)
        if command is not None and command.taking is not None:
            command.taking.cancel()
            await asyncio.wait([command.taking])

    async def done(self, number: int, error: str | None = None) -> None:
        having = [(command, job) for command in self.commands for job in sorted(command.has)]
        if having:
            command, job = having[number % len(having)]
            command.has.discard(job)
            self.ended.append((command, job))
            output = f"{job} {len(self.ended)}"
            if job in command.worker.running and not self._job(job).decided:
                assert job not in self.answered, f"{job} is answered twice"
                self.answered[job] = output
            self.dispatcher.answered(command.worker, job, output, error)

    async def fail(self, number: int) -> None:
        await self.done(number, "bad")

    async def repeat(self, number: int) -> None:
        """A worker says once more what it has said, and an old progress comes late."""
        if self.ended:
            command, job = self.ended[number % len(self.ended)]
            if job not in command.has:  # else the same worker has got it once more
                self.dispatcher.progressed(command.worker, job, "late")
                self.dispatcher.answered(command.worker, job, "late", None)

    async def ping(self, number: int) -> None:
        command = self._one(number)
        if command is not None:
            self.desk.pinged(command.worker, set(command.has), names_jobs=True)

    async def forget(self, number: int) -> None:
        """The worker loses a job without a word: its handler was cancelled, or the answer got lost on its way."""
        command = self._one(number)
        if command is not None and command.has:
            command.has.discard(sorted(command.has)[number % len(command.has)])

    async def stops(self, number: int) -> None:
        command = self._one(number)
        if command is None:
            return
        asking = asyncio.ensure_future(self.desk.stops(command.worker))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled():
            command.has -= set(asking.result())

    async def cancel(self, number: int) -> None:
        jobs = [job for job in self.jobs if not job.decided]
        if jobs:
            self.dispatcher.cancel(jobs[number % len(jobs)])

    async def lose(self, number: int) -> None:
        command = self._one(number)
        if command is not None:
            self.commands.remove(command)
            self.dispatcher.worker_lost(command.worker, "it was killed", [])
            self.desk.forget(command.worker)

    async def retire(self, number: int) -> None:
        command = self._one(number)
        if command is not None and command.worker.running:
            command.worker.state = WorkerState.DRAINING

    async def full(self, full: bool) -> None:
        self.store.full = full

    async def turns(self, number: int) -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    # ---- ends

    async def calm(self) -> None:
        """No more events: requests are broken off, the disk has room, and what is under way comes to its end."""
        self.store.full = False
        for number in range(len(self.commands)):
            await self.leave(number)
        async with asyncio.timeout(5):
            while self.dispatcher.recorder.stalled or any(not job.sent for job in self._running()):
                await asyncio.sleep(0.0005)
        await self.dispatcher.settle()
        await self.turns(12)

    async def finish(self) -> None:
        """Workers say what they have, and a good one takes what there is until nothing is left."""
        self.commands = [command for command in self.commands if command.worker.state is not WorkerState.STARTING]
        for _ in range(10 + 2 * len(self.jobs)):
            for number, command in enumerate(self.commands):
                for _ in range(LIMITS.silent_pings):
                    await self.ping(number)
                for _ in list(command.has):
                    await self.done(0)
            if self.dispatcher.active == 0:
                break
            if not any(command.worker.state is WorkerState.READY for command in self.commands):
                self.commands = self.commands[:3]
                await self.start(True)
            ready = next(n for n, command in enumerate(self.commands) if command.worker.state is WorkerState.READY)
            await self.take(ready, 3, False)
            await self.turns(20)
            await self.leave(ready)
        await self.dispatcher.settle()
        await self.turns(12)

    # ---- what must hold

    def check(self) -> None:
        """After every event: each job that is not decided is in one place."""
        assert self.violations == []
        queued = Counter(job.record.id for job in self.pool.queue)
        running = Counter(job.record.id for job in self._running())
        for job in self.jobs:
            name = job.record.id
            assert running[name] <= 1, f"{name} runs in {running[name]} workers"
            if not job.decided:
                assert queued[name] + running[name] == 1, f"{name} is {queued[name]} times queued, runs {running[name]}"
                assert (job.record.status is JobStatus.IN_QUEUE) == bool(queued[name])
        for command in self.commands:
            assert 0 <= command.worker.offers <= command.asked, f"{command.worker.offers} offers"

    def check_calm(self) -> None:
        """Nobody asks: jobs are final, or wait and can be taken, or a worker has got them."""
        assert all(command.worker.offers == 0 for command in self.commands)
        assert all(station.promised == 0 for station in self.desk._stations.values())
        for job in self.jobs:
            if not job.decided:
                assert job in self.pool.queue or job.sent, job.record

    def check_ends(self) -> None:
        """Each job has ended once, with the first answer that counted."""
        assert self.violations == []
        assert self.dispatcher.active == 0
        for job in self.jobs:
            assert job.record.status.final
            versions = self.store.versions[job.record.id]
            assert [version.status.final for version in versions].count(True) == 1
            assert versions[-1] == job.record
            assert job.record.retries <= 1
            if job.record.id in self.answered:
                assert job.record.output == self.answered[job.record.id]
            else:
                assert job.record.status in (JobStatus.CANCELLED, JobStatus.FAILED)

    def _running(self) -> list[Job]:
        return [job for worker in self.pool.workers.values() for job in worker.running.values()]

    def _job(self, job_id: str) -> Job:
        return next(job for job in self.jobs if job.record.id == job_id)

    def _one(self, number: int) -> PlayedCommand | None:
        return self.commands[number % len(self.commands)] if self.commands else None
