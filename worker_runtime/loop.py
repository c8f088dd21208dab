"""The worker's parent: between the control plane and the child that runs user code.

It never runs user code itself, so it beats, reads output and kills on time whatever the child does.

    connect → hello, welcome → artifact → child starts → ready → run, started, log, done … → one ending

The first ending wins: the link breaks, SIGTERM, drained, the child ends by itself, or a call had to be killed.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker_runtime import memory
from worker_runtime.capture import Capture
from worker_runtime.child_link import ChildLink
from worker_runtime.keeper import Keeper
from worker_runtime.link import Link, LinkLost
from worker_runtime.wire import messages, paths
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Header
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind
from worker_runtime.wire.specs import ArtifactManifest, WorkerLaunch

_DRAIN_S = 10.0  # for closing instances and the child's own exit
_END_S = 10.0  # for what was killed to be gone


@dataclass(slots=True)
class _Job:
    """A call that was handed to the child and is not done."""

    id: str
    attempt: int
    timeout_ms: int
    started: bool = False
    deadline: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True)
class _End:
    """Why the worker ends. `killed` are the calls that end with it, with their outcomes; `said`: a `gone` is due."""

    reason: str
    said: bool = True
    code: int = 0
    killed: Mapping[str, ErrorInfo] = field(default_factory=dict)


class Worker:
    """One worker's life, on one event loop."""

    def __init__(self, launch: WorkerLaunch, keeper: Keeper) -> None:
        self._launch, self._keeper = launch, keeper
        self._jobs: dict[str, _Job] = {}
        self._ending: asyncio.Future[_End] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._child_frames: asyncio.Task[None] | None = None
        self._draining = False
        self._files_id = ""
        self._oom_kills = 0  # before the child started
        self._link: Link
        self._child: ChildLink
        self._control: asyncio.StreamWriter  # held so that it is not closed
        self._capture: Capture

    async def run(self) -> int:
        """Live until there is a reason to end; give the exit code. Nothing that was started is left afterwards."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._end, _End("it was ended by SIGTERM"))
        try:
            self._link = await Link.connect(self._launch.address)
        except LinkLost as error:
            complain(str(error))
            return 2
        self._capture = Capture(
            {"stdout": self._keeper.stdout, "stderr": self._keeper.stderr},
            self._log, self._owner, lambda: self._link.backlog, self._room,
        )  # fmt: skip
        self._spawn(self._watch_keeper())
        self._spawn(self._serve())
        end = await self._ending
        await self._finish(end)
        await self._link.close()
        return end.code

    # --- control plane → child ---

    async def _serve(self) -> None:
        launch = self._launch
        await self._link.greet(launch.worker, launch.token, os.getpid())
        self._spawn(self._beat())
        self._child = await ChildLink.open(self._keeper.link)
        while True:
            header, body = await self._link.receive()
            match header.get("type"):
                case messages.ARTIFACT:
                    self._artifact(header["id"], body)
                case messages.RUN:
                    self._jobs[header["job"]] = _Job(header["job"], header["attempt"], header.get("timeout_ms") or 0)
                    self._child.send(header, body)
                case messages.CANCEL:
                    self._cancel(header)
                case messages.DROP | messages.FORGET:
                    self._child.send(header)
                case messages.DRAIN:
                    self._draining = True
                    self._drain_if_idle()
                case other:
                    raise WireError(f"the control plane sent a frame of type {other!r}")

    def _artifact(self, artifact: str, data: bytes) -> None:
        manifest = paths.read_manifest(data)
        if manifest.id != artifact:
            raise WireError(f"the artifact {artifact} has the id {manifest.id}")
        if self._child_frames is None:
            self._files_id = manifest.files_id
            self._unpack(data)
            self._oom_kills = memory.oom_kills()
            self._keeper.start_child()
            if self._launch.memory_mb > 0:
                self._spawn(self._watch_memory())
            self._child_frames = self._spawn(self._from_child())
        elif manifest.files_id != self._files_id:
            raise WireError(f"artifact {artifact} has other local modules than this worker has imported")
        self._child.send(_artifact_header(artifact, manifest), paths.read_code(data) or b"")

    def _unpack(self, data: bytes) -> None:
        folder = Path(self._launch.folder)
        for name in ("code", "run"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        paths.unpack_files(data, folder / "code")

    def _cancel(self, header: Header) -> None:
        job = self._jobs.get(header["job"])
        if job is not None and job.attempt == header["attempt"]:
            self._child.send(header)
            asyncio.get_running_loop().call_later(self._launch.cancel_grace_s, self._grace_over, job)

    def _grace_over(self, job: _Job) -> None:
        # One that has not begun is answered by the child as soon as it can; killing would only hit another call.
        if self._jobs.get(job.id) is job and job.started:
            message = f"it was cancelled and killed: it did not stop within {self._launch.cancel_grace_s:g} s"
            self._kill(job, ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", message))

    def _timed_out(self, job: _Job) -> None:
        if self._jobs.get(job.id) is job:
            message = f"it ran longer than {job.timeout_ms / 1000:g} s and was killed"
            self._kill(job, ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", message))

    def _kill(self, job: _Job, error: ErrorInfo) -> None:
        self._end(_End(f"call {job.id}: {error.message}", killed={job.id: error}))

    def _out_of_memory(self, message: str, code: int = 0) -> None:
        # Those that were handed over first are the ones that run; whose memory it is cannot be told.
        running = list(self._jobs)[: self._launch.max_concurrency]
        error = ErrorInfo(ErrorKind.OUT_OF_MEMORY, "OutOfMemory", message)
        self._end(_End(message, code=code, killed=dict.fromkeys(running, error)))

    def _drain_if_idle(self) -> None:
        if not self._draining or self._jobs or self._ending.done():
            return
        if self._child_frames is None:
            self._end(_End("drained", said=False))
            return
        self._child.send({"type": messages.DRAIN})
        asyncio.get_running_loop().call_later(_DRAIN_S, self._end, _End("drained", said=False))

    # --- child → control plane ---

    async def _from_child(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # its end is init's to tell
            while True:
                header, body = await self._child.receive()
                match header.get("type"):
                    case messages.DONE:
                        self._done(header, body)
                        del body  # perhaps large, and the next frame may be far away
                    case messages.STARTED:
                        self._started(header)
                    case _:
                        self._link.send(header)
                await self._link.drain()

    def _started(self, header: Header) -> None:
        job = self._jobs.get(header["job"])
        if job is None:
            return
        job.started = True
        if job.timeout_ms > 0:
            loop = asyncio.get_running_loop()
            job.deadline = loop.call_later(job.timeout_ms / 1000, self._timed_out, job)
        self._link.send(header)

    def _done(self, header: Header, body: bytes) -> None:
        job = self._jobs.get(header["job"])
        if job is None or job.attempt != header["attempt"]:
            return
        self._capture.catch_up()  # what it wrote comes before its result
        del self._jobs[job.id]
        if job.deadline is not None:
            job.deadline.cancel()
        self._link.send(header, body)
        self._drain_if_idle()

    def _log(self, job: str | None, stream: str, lines: list[str]) -> None:
        self._link.send({"type": messages.LOG, "job": job, "stream": stream, "lines": lines})

    def _owner(self) -> str | None:
        return next(iter(self._jobs), None) if self._launch.max_concurrency == 1 else None

    async def _room(self) -> None:
        with contextlib.suppress(LinkLost):  # who reads the link tells
            await self._link.drain()

    async def _beat(self) -> None:
        while True:
            self._link.send({"type": messages.BEAT})
            await asyncio.sleep(self._launch.beat_s)

    # --- the end ---

    async def _watch_keeper(self) -> None:
        reader, self._control = await asyncio.open_connection(sock=self._keeper.control)
        line = await reader.readline()
        if not line:
            self._end(_End("the process that holds the child was killed", code=1))
        elif self._draining and not self._jobs:
            self._end(_End("drained", said=False))
        elif (code := json.loads(line)["exit"]) == -signal.SIGKILL and memory.oom_kills() > self._oom_kills:
            self._out_of_memory(memory.KILLED_BY_SYSTEM, code=1)
        else:
            self._end(_End(_in_words(code), code=1))

    async def _watch_memory(self) -> None:
        limit, pause_s = self._launch.memory_mb * memory.MB, memory.SHORT_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            measured = await asyncio.to_thread(memory.measure, self._keeper.pid, limit)
            if measured.used > limit:
                self._out_of_memory(memory.too_much(measured.used, limit))
            pause_s = measured.pause_s

    def _end(self, end: _End) -> None:
        if not self._ending.done():
            self._ending.set_result(end)

    async def _finish(self, end: _End) -> None:
        self._keeper.release()
        deadline = asyncio.get_running_loop().time() + _END_S
        while not self._keeper.ended() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - waitpid only
            await asyncio.sleep(0.005)
        self._keeper.destroy()  # nothing is left to do but after init itself was killed
        if self._child_frames is not None:  # a result that was sent before the end counts
            await asyncio.wait([self._child_frames], timeout=_END_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._child_frames is not None:
            self._child.close()
        self._capture.finish()
        for killed, error in end.killed.items():
            if job := self._jobs.pop(killed, None):
                done = {"type": messages.DONE, "job": job.id, "attempt": job.attempt, "error": error.to_json()}
                self._link.send({**done, "ends": True})
        if end.said:
            self._link.send({
                "type": messages.GONE, "reason": end.reason, "stderr": self._capture.tail, "jobs": list(self._jobs),
            })  # fmt: skip

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LinkLost):
            self._end(_End(str(error), said=False))
        elif error is not None:
            complain(f"{type(error).__name__}: {error}")
            self._end(_End(f"the worker failed: {type(error).__name__}: {error}", code=1))


def complain(text: str) -> None:
    """Say something on the worker's own standard error, which is the control plane's log."""
    sys.stderr.write(f"worker {os.getpid()}: {text}\n")
    sys.stderr.flush()


def _artifact_header(artifact: str, manifest: ArtifactManifest) -> Header:
    return {"type": messages.ARTIFACT, "id": artifact, "manifest": manifest.to_json()}


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"
