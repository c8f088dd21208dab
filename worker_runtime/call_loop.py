"""The worker whose child runs calls: artifacts, jobs and their outcomes, cancelling and deadlines.

welcome → artifact → child starts → ready → run, started, log, done … → one ending

A child that runs one call at a time has more of them than that one, in the order in which it begins them. Which it has
begun the parent knows without asking it: see `tickets`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from worker_runtime.child_link import ChildLink
from worker_runtime.keeper import Keeper
from worker_runtime.lending import Lending
from worker_runtime.loop import DRAINED, END_S, End, Lost, Worker, unexpected
from worker_runtime.wire import PROTOCOL, direct, messages, paths
from worker_runtime.wire.arena_link import ArenaLost, greeted
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.frames import Body, Header
from worker_runtime.wire.jobs import ErrorInfo, ErrorKind
from worker_runtime.wire.specs import ArtifactManifest, WorkerLaunch

_TOGETHER_S = 0.1  # deadlines so close to each other are one
_DRAIN_S = 10.0  # for closing instances and the child's own exit
_REST_S = 0.001
_BACKLOG = 4 * 1024 * 1024  # bytes for the control plane, above which nothing more is read from the child


@dataclass(slots=True)
class _Job:
    """A call that was handed to the child and is not done. `number` is that of its frame; of a client's, below 0."""

    id: str
    attempt: int
    timeout_ms: int
    number: int
    started: bool = False  # the child has said so
    deadline: asyncio.TimerHandle | None = None


class CallWorker(Worker):
    """Runs the calls that the control plane sends, in a child of the environment's interpreter."""

    def __init__(self, launch: WorkerLaunch, keeper: Keeper) -> None:
        super().__init__(launch, keeper)
        self._alone = launch.max_concurrency == 1  # one call runs at a time
        self._jobs: dict[str, _Job] = {}
        self._child_frames: asyncio.Task[None] | None = None
        self._making_room: asyncio.Task[None] | None = None
        self._resting: asyncio.TimerHandle | None = None
        self._files_id = ""
        self._lending = Lending(super()._log)
        self._child: ChildLink

    # --- control plane → child ---

    async def _welcomed(self) -> None:
        memory = self._memory()
        self._child = ChildLink(self._keeper.link, self._turn, memory)
        self._capture.marks = self._child.marks
        if memory is not None:
            memory.close()

    def _memory(self) -> socket.socket | None:
        """What the child gets to share memory: hello was said on it, so that user code sees no token."""
        launch = self._launch
        hello = {"protocol": PROTOCOL, "worker": launch.worker, "token": launch.token}
        try:
            return greeted(launch.arena, hello) if launch.arena else None
        except ArenaLost:
            return None

    def _take(self, header: Header, head: bytes, body: Body) -> None:
        match header.get("type"):
            case messages.RUN:
                self._run(header, head, body)
            case messages.ARTIFACT:
                self._artifact(header["id"], bytes(body))
            case messages.CANCEL:
                self._cancel(header)
            case messages.TAKE_BACK:
                self._take_back(header["jobs"])
            case messages.CREDIT if self._alone:
                self._child.say_aside(header)
            case messages.FORGET | messages.CREDIT:
                self._child.pass_on(head, body)
            case messages.DROP:
                self._let_begin(self._child.pass_on(head, body))
            case messages.LEND | messages.END_LOAN | messages.BEGUN if self._alone:
                self._of_loan(header, head, body)
            case messages.DRAIN:
                self._draining = True
                self._drain_if_idle()
            case _:
                raise unexpected(header)

    def _run(self, header: Header, head: bytes, body: Body) -> None:
        number = self._child.pass_on(head, body)
        self._jobs[header["job"]] = _Job(header["job"], header["attempt"], header.get("timeout_ms") or 0, number)
        self._let_begin(number)

    def _of_loan(self, header: Header, head: bytes, body: Body) -> None:
        if header["type"] == messages.BEGUN:
            self._begun(header)
            return
        if header["type"] == messages.LEND:
            self._lending.lent(header["loan"])
        else:
            self._child.say_aside(header)
        self._let_begin(self._child.pass_on(head, body))

    def _begun(self, header: Header) -> None:
        """A call of the client to which the child is lent is known to the control plane, if it runs still."""
        job, number = header["job"], header["number"]
        if job not in self._jobs and self._lending.runs(header["loan"], number):
            self._capture.hand_on()
            self._jobs[job] = _Job(job, header["attempt"], 0, -number)
            self._lending.release(job)

    def _recorded(self, header: Header) -> None:
        keys = self._lending.recorded(header)
        for key in keys if self._jobs else ():
            self._jobs.pop(direct.job_of(key), None)

    def _log(self, job: str | None, stream: str, lines: list[str]) -> None:
        if job is not None or not self._lending.hold(stream, lines):
            super()._log(job, stream, lines)

    def _let_begin(self, number: int) -> None:
        if self._alone:
            self._child.let_begin(number)

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
        if job is None or job.attempt != header["attempt"]:
            return
        if self._unbegun([job]):
            self._answer(job, ErrorInfo(ErrorKind.CANCELLED, "JobCancelled", "the call was cancelled"))
            self._drain_if_idle()
            return
        if self._alone:
            self._child.say_aside({**header, "number": job.number})
        else:
            self._child.send(header)
        asyncio.get_running_loop().call_later(self._launch.cancel_grace_s, self._grace_over, job)

    def _take_back(self, wanted: Iterable[str]) -> None:
        jobs = self._unbegun([self._jobs[job] for job in wanted if job in self._jobs])
        for job in jobs:
            del self._jobs[job.id]
        self._link.send({"type": messages.BACK, "jobs": [[job.id, job.attempt] for job in jobs]})
        self._drain_if_idle()

    def _unbegun(self, jobs: Iterable[_Job]) -> list[_Job]:
        """Take these away from the child, as far as it has not begun them; gives those."""
        numbers = {job.number: job for job in jobs}
        if not self._alone or not numbers:
            return []
        return [numbers[number] for number in self._child.take_back(numbers)]

    def _grace_over(self, job: _Job) -> None:
        # Where several run, one that has not begun is answered by the child; killing would only hit another call.
        if self._jobs.get(job.id) is job and (job.started or self._alone):
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
        # Where several run, whose memory it is cannot be told.
        return End(message, code=code, running=ErrorInfo(ErrorKind.OUT_OF_MEMORY, "OutOfMemory", message))

    def _drain_if_idle(self) -> None:
        if not self._draining or self._jobs or self._ending.done():
            return
        if self._child_frames is None:
            self._end(DRAINED)
            return
        self._let_begin(self._child.send({"type": messages.DRAIN}))
        self._end_within(_DRAIN_S, DRAINED)

    # --- child → control plane ---

    async def _from_child(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # its end is init's to tell
            await self._child.listen(self._hear)

    def _hear(self, header: Header, head: bytes, body: Body) -> None:
        match header.get("type"):
            case messages.DONE:
                self._done(header, head, body)
            case messages.STARTED:
                self._started(header, head)
            case messages.RECORDED:
                self._recorded(header)
                self._link.pass_on(head, body)
                self._drain_if_idle()
            case messages.BEGUN:
                self._link.pass_on(head, body)  # before its lines
                self._begun(header)
            case messages.LOAN_OVER:
                self._lending.over(header["loan"])
                for job in [job for job in self._jobs.values() if -job.number > header["last"]]:
                    del self._jobs[job.id]
                self._link.pass_on(head, body)
            case _:
                self._link.pass_on(head, body)
        if self._link.backlog > _BACKLOG and self._making_room is None:
            self._child.pause()
            self._making_room = self._spawn(self._make_room())

    async def _make_room(self) -> None:
        await self._link.drain()
        self._making_room = None
        if self._resting is None:
            self._child.resume()

    def _rest(self) -> None:
        """Do not listen to a child that has more to do: what it says meanwhile is heard at once, and wakes nobody."""
        if self._alone and self._resting is None and len(self._jobs) > 1:
            self._child.pause()
            self._resting = asyncio.get_running_loop().call_later(_REST_S, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._making_room is None:
            self._child.pump()
        if self._making_room is None and self._resting is None:
            self._child.resume()

    def _started(self, header: Header, head: bytes) -> None:
        job = self._jobs.get(header["job"])
        if job is None:
            return
        job.started = True
        if job.timeout_ms > 0:
            loop = asyncio.get_running_loop()
            job.deadline = loop.call_later(job.timeout_ms / 1000, self._timed_out, job)
        self._link.pass_on(head, b"")

    def _done(self, header: Header, head: bytes, body: Body) -> None:
        job = self._jobs.get(header["job"])
        if header.get("quiet"):
            self._capture.settle()
        else:
            self._capture.catch_up()  # what it wrote comes before its result
        if self._alone and not header.get("quiet"):
            self._child.send({"type": messages.HEARD})
        if job is None or job.attempt != header["attempt"]:
            return
        del self._jobs[job.id]
        self._lending.ended(-job.number)
        if job.deadline is not None:
            job.deadline.cancel()
        self._link.pass_on(head, body)
        self._drain_if_idle()
        self._rest()

    def _owner(self) -> str | None:
        return next(iter(self._jobs), None) if self._alone else None

    def _catch_up(self) -> None:
        """A line that is read now belongs to the first call whose end is not known: so hear of ends first."""
        if self._alone and self._child_frames is not None and self._making_room is None:
            self._child.pump()

    # --- the end ---

    def _idle(self) -> bool:
        return not self._jobs

    async def _settle(self) -> None:
        if self._child_frames is not None:  # a result that was sent before the end counts
            await asyncio.wait([self._child_frames], timeout=END_S)

    def _leave(self, end: End) -> Lost:
        unbegun = {job.id for job in self._unbegun(self._jobs.values())}
        killed = dict(end.killed)
        if end.running is not None:
            killed |= dict.fromkeys(self._running(unbegun), end.running)
        if self._child_frames is not None:
            self._child.close()
        for each, error in killed.items():
            if each in self._jobs:
                self._answer(self._jobs[each], error, ends=True)
        jobs = list(self._jobs)
        return Lost(jobs, [job for job in jobs if job in unbegun])

    def _running(self, unbegun: Container[str]) -> list[str]:
        if self._alone:
            return [job for job in self._jobs if job not in unbegun]
        return [job.id for job in self._jobs.values() if job.started]

    def _answer(self, job: _Job, error: ErrorInfo, *, ends: bool = False) -> None:
        """Tell the outcome of a call in place of the child."""
        del self._jobs[job.id]
        done = {"type": messages.DONE, "job": job.id, "attempt": job.attempt, "error": error.to_json()}
        self._link.send({**done, "ends": True} if ends else done)


def _overdue(job: _Job) -> ErrorInfo:
    message = f"it ran longer than {job.timeout_ms / 1000:g} s and was killed"
    return ErrorInfo(ErrorKind.TIMED_OUT, "JobTimedOut", message)


def _artifact_header(artifact: str, manifest: ArtifactManifest) -> Header:
    return {"type": messages.ARTIFACT, "id": artifact, "manifest": manifest.to_json()}
