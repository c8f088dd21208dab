"""The worker's parent: between the control plane and the child that runs user code. What every kind of child needs.

It never runs user code itself, so it beats, reads output and kills on time whatever the child does.

    connect → hello, welcome → the child, its frames and output → one ending

The first ending wins: the link breaks, SIGTERM, drained, the child ends by itself, or a call had to be killed.
"""

import asyncio
import json
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker_runtime import memory
from worker_runtime.capture import Capture
from worker_runtime.keeper import Keeper
from worker_runtime.link import Link, LinkLost
from worker_runtime.stream import Turn
from worker_runtime.wire import messages
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.jobs import ErrorInfo
from worker_runtime.wire.specs import WorkerLaunch

END_S = 10.0
"""Seconds for what was killed to be gone, and for what it sent before to be read."""


@dataclass(frozen=True, slots=True)
class End:
    """Why the worker ends. `killed` are the calls that end with it, with their outcomes; `said`: a `gone` is due.

    `running`: the outcome of those that run when it has ended. `hopeless`: another worker would end in the same way.
    """

    reason: str
    said: bool = True
    code: int = 0
    killed: Mapping[str, ErrorInfo] = field(default_factory=dict)
    running: ErrorInfo | None = None
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The jobs that were in a child and have no outcome, in their order; `unbegun` those of them that had not begun."""

    jobs: Sequence[str] = ()
    unbegun: Sequence[str] = ()


DRAINED = End("drained", said=False)


class Worker(ABC):
    """One worker's life, on one event loop."""

    def __init__(self, launch: WorkerLaunch, keeper: Keeper) -> None:
        self._launch, self._keeper = launch, keeper
        self._ending: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self._oom_kills = 0  # before the child started
        self._turn = Turn()
        self._link: Link
        self._control: asyncio.StreamWriter  # held so that it is not closed
        self._capture: Capture

    async def run(self) -> int:
        """Live until there is a reason to end; give the exit code. Nothing that was started is left afterwards."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end, End("it was ended by SIGTERM"))
        try:
            self._link = await Link.connect(self._launch.address, self._turn)
        except LinkLost as error:
            complain(str(error))
            return 2
        self._capture = Capture(
            {"stdout": self._keeper.stdout, "stderr": self._keeper.stderr},
            self._log, self._owner, lambda: self._link.backlog, self._link.drain, self._catch_up,
        )  # fmt: skip
        self._spawn(self._watch_keeper())
        self._spawn(self._serve())
        end = await self._ending
        await self._finish(end)
        await self._link.close()
        return end.code

    # --- what the kinds of children differ in ---

    @abstractmethod
    async def _welcomed(self) -> None:
        """The control plane knows the worker."""

    @abstractmethod
    def _take(self, header: Header, head: bytes, body: Body) -> None:
        """A frame of the control plane, `head` its header as it came. Raises WireError where it is none for this."""

    @abstractmethod
    def _out_of_memory(self, message: str, code: int = 0) -> End:
        """The end of a child that used too much memory; `code` for the worker's own exit."""

    def _ended_by_itself(self, code: int, reason: str) -> End:
        """The end of a child that was not told to; its exit code (negative: a signal) and that in words."""
        return End(reason, code=1)

    def _idle(self) -> bool:
        """Whether a child that ends now has nothing left to do."""
        return True

    def _owner(self) -> str | None:
        """The job that a line written now belongs to, where there is one and it can be told."""
        return None

    def _catch_up(self) -> None:  # noqa: B027 - most have no calls
        """Hear of what the child has said until now: lines are about to be read."""

    async def _settle(self) -> None:  # noqa: B027 - most have nothing to do
        """Everything below the worker is dead: read what it has sent before."""

    def _leave(self, end: End) -> "Lost":
        """Nothing is read any more: close what leads to the child, report those that `end` names; give the others."""
        return Lost()

    # --- the child ---

    def _start_child(self) -> None:
        (Path(self._launch.folder) / "run").mkdir(parents=True, exist_ok=True)
        self._oom_kills = memory.oom_kills()
        self._keeper.start_child()
        if self._launch.memory_mb > 0:
            self._spawn(self._watch_memory())

    async def _serve(self) -> None:
        await self._link.greet(self._launch.worker, self._launch.token, os.getpid())
        self._spawn(self._beat())
        await self._welcomed()
        await self._link.listen(self._take)

    def _log(self, job: str | None, stream: str, lines: list[str]) -> None:
        self._link.send({"type": messages.LOG, "job": job, "stream": stream, "lines": lines})

    async def _beat(self) -> None:
        while True:
            self._link.send({"type": messages.BEAT})
            await asyncio.sleep(self._launch.beat_s)

    # --- the end ---

    async def _watch_keeper(self) -> None:
        reader, self._control = await asyncio.open_connection(sock=self._keeper.control)
        line = await reader.readline()
        if not line:
            self._end(End("the process that holds the child was killed", code=1))
            return
        told = json.loads(line)
        code = told["exit"]
        if self._draining and self._idle():
            self._end(DRAINED)
        elif code == -signal.SIGKILL and memory.oom_kills() > self._oom_kills:
            self._end(self._out_of_memory(memory.KILLED_BY_SYSTEM, code=1))
        else:
            self._end(self._ended_by_itself(code, told.get("why") or in_words(code)))

    async def _watch_memory(self) -> None:
        root, limit = self._keeper.pid, self._launch.memory_mb * memory.MB
        measured = memory.Measured(0, memory.SHORT_PAUSE_S)
        while True:
            await asyncio.sleep(measured.pause_s)
            seen = memory.glance(root, limit) if measured.cheap else None
            measured = await asyncio.to_thread(memory.measure, root, limit) if seen is None else seen
            if measured.used > limit:
                self._end(self._out_of_memory(memory.too_much(measured.used, limit)))

    def _end(self, end: End) -> None:
        if not self._ending.done():
            self._ending.set_result(end)

    def _end_within(self, wait_s: float, end: End) -> None:
        asyncio.get_running_loop().call_later(wait_s, self._end, end)

    async def _finish(self, end: End) -> None:
        self._keeper.release()
        deadline = asyncio.get_running_loop().time() + END_S
        while not self._keeper.ended() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - waitpid only
            await asyncio.sleep(0.005)
        self._keeper.destroy()  # nothing is left to do but after init itself was killed
        await self._settle()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._capture.finish()
        lost = self._leave(end)
        if end.said:
            gone = {"type": messages.GONE, "reason": end.reason, "stderr": self._capture.tail}
            gone |= {"jobs": list(lost.jobs), "unbegun": list(lost.unbegun)}
            self._link.send({**gone, "hopeless": True} if end.hopeless else gone)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LinkLost):
            self._end(End(str(error), said=False))
        elif error is not None:
            complain(f"{type(error).__name__}: {error}")
            self._end(End(f"the worker failed: {type(error).__name__}: {error}", code=1))


def unexpected(header: Header) -> WireError:
    """What is raised for a frame of a type that is not for this worker."""
    return WireError(f"the control plane sent a frame of type {header.get('type')!r}")


def complain(text: str) -> None:
    """Say something on the worker's own standard error, which is the control plane's log."""
    sys.stderr.write(f"worker {os.getpid()}: {text}\n")
    sys.stderr.flush()


def in_words(code: int) -> str:
    """How a process ended, by its exit code; a negative one is a signal's number."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"
