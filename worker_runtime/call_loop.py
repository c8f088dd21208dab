"""The worker whose child runs calls: artifacts, jobs and their outcomes, cancelling and deadlines.

welcome → artifact → child starts → ready → run, started, log, done … → one ending
"""

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

from worker_runtime.child_link import ChildLink
from worker_runtime.keeper import Keeper
from worker_runtime.loop import DRAINED, END_S, End, Worker, unexpected
from worker_runtime.wire import PROTOCOL, messages, paths
from worker_runtime.wire.arena_link import ArenaLost, greeted
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Header
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind
from worker_runtime.wire.specs import ArtifactManifest, WorkerLaunch

_TOGETHER_S = 0.1  # deadlines so close to each other are one
_DRAIN_S = 10.0  # for closing instances and the child's own exit


@dataclass(slots=True)
class _Job:
    """A call that was handed to the child and is not done."""

    id: str
    attempt: int
    timeout_ms: int
    started: bool = False
    deadline: asyncio.TimerHandle | None = None


class CallWorker(Worker):
    """Runs the calls that the control plane sends, in a child of the environment's interpreter."""

    def __init__(self, launch: WorkerLaunch, keeper: Keeper) -> None:
        super().__init__(launch, keeper)
        self._jobs: dict[str, _Job] = {}
        self._child_frames: asyncio.Task[None] | None = None
        self._files_id = ""
        self._child: ChildLink

    # --- control plane → child ---

    async def _welcomed(self) -> None:
        self._share_memory()
        self._child = await ChildLink.open(self._keeper.link)

    def _share_memory(self) -> None:
        """Give the child a socket on which hello was said for it. What user code gets to see has no key in it."""
        link, launch = self._keeper.link, self._launch
        with contextlib.suppress(ArenaLost):
            if launch.arena:
                hello = {"protocol": PROTOCOL, "worker": launch.worker, "token": launch.token}
                with greeted(launch.arena, hello) as sock:
                    socket.send_fds(link, [b"\0"], [sock.fileno()])
                return
        link.send(b"\0")

    def _take(self, header: Header, body: bytes) -> None:
        match header.get("type"):
            case messages.ARTIFACT:
                self._artifact(header["id"], body)
            case messages.RUN:
                self._jobs[header["job"]] = _Job(header["job"], header["attempt"], header.get("timeout_ms") or 0)
                self._child.send(header, body)
            case messages.CANCEL:
                self._cancel(header)
            case messages.DROP | messages.FORGET | messages.CREDIT:
                self._child.send(header)
            case messages.DRAIN:
                self._draining = True
                self._drain_if_idle()
            case _:
                raise unexpected(header)

    def _artifact(self, artifact: str, data: bytes) -> None:
        manifest = paths.read_manifest(data)
        if manifest.id != artifact:
            raise WireError(f"the artifact {artifact} has the id {manifest.id}")
        if self._child_frames is None:
            self._files_id = manifest.files_id
            self._unpack(data)
            self._start_child()
            self._child_frames = self._spawn(self._from_child())
        elif manifest.files_id != self._files_id:
            raise WireError(f"artifact {artifact} has other local modules than this worker has imported")
        self._child.send(_artifact_header(artifact, manifest), paths.read_code(data) or b"")

    def _unpack(self, data: bytes) -> None:
        folder = Path(self._launch.folder) / "code"
        folder.mkdir(parents=True, exist_ok=True)
        paths.unpack_files(data, folder)

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
        if self._jobs.get(job.id) is not job:
            return
        late = {each.id: _overdue(each) for each in self._jobs.values() if self._is_due(each)}
        self._end(End(f"call {job.id}: {_overdue(job).message}", killed=late | {job.id: _overdue(job)}))

    def _is_due(self, job: _Job) -> bool:
        """Whether its time is over, too, or will be in a moment, as that of all calls of a batch is."""
        now = asyncio.get_running_loop().time()
        return job.deadline is not None and job.deadline.when() <= now + _TOGETHER_S

    def _kill(self, job: _Job, error: ErrorInfo) -> None:
        self._end(End(f"call {job.id}: {error.message}", killed={job.id: error}))

    def _out_of_memory(self, message: str, code: int = 0) -> End:
        # Those that were handed over first are the ones that run; whose memory it is cannot be told.
        running = list(self._jobs)[: self._launch.max_concurrency]
        error = ErrorInfo(ErrorKind.OUT_OF_MEMORY, "OutOfMemory", message)
        return End(message, code=code, killed=dict.fromkeys(running, error))

    def _drain_if_idle(self) -> None:
        if not self._draining or self._jobs or self._ending.done():
            return
        if self._child_frames is None:
            self._end(DRAINED)
            return
        self._child.send({"type": messages.DRAIN})
        self._end_within(_DRAIN_S, DRAINED)

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
                        self._link.send(header, body)
                        del body
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

    def _owner(self) -> str | None:
        return next(iter(self._jobs), None) if self._launch.max_concurrency == 1 else None

    # --- the end ---

    def _idle(self) -> bool:
        return not self._jobs

    async def _settle(self) -> None:
        if self._child_frames is not None:  # a result that was sent before the end counts
            await asyncio.wait([self._child_frames], timeout=END_S)

    def _leave(self, end: End) -> list[str]:
        if self._child_frames is not None:
            self._child.close()
        for killed, error in end.killed.items():
            if job := self._jobs.pop(killed, None):
                done = {"type": messages.DONE, "job": job.id, "attempt": job.attempt, "error": error.to_json()}
                self._link.send({**done, "ends": True})
        return list(self._jobs)


def _overdue(job: _Job) -> ErrorInfo:
    message = f"it ran longer than {job.timeout_ms / 1000:g} s and was killed"
    return ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", message)


def _artifact_header(artifact: str, manifest: ArtifactManifest) -> Header:
    return {"type": messages.ARTIFACT, "id": artifact, "manifest": manifest.to_json()}
