"""One fork server: a process that has imported what workers need, and forks them in milliseconds."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from worker_runtime import fork_server_command
from worker_runtime.preloading import LONGEST, Packages
from worker_runtime.renewal import ROOM
from worker_runtime.wire.specs import WorkerLaunch

logger = logging.getLogger(__name__)

FORKS = sys.platform == "linux" and hasattr(os, "pidfd_open")
"""Whether this system has what it takes: messages with descriptors, and descriptors of processes."""

_ROOM = "x" * 16384
_ANSWER_S = 5.0  # one that takes longer hangs
_READY_S = 120.0
_UNKNOWN = 1  # the exit code of a worker that outlived its fork server


class NotForked(Exception):
    """The fork server cannot give this worker; another way to start it has to be taken. The message says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What fork servers differ in: interpreter, packages, and the environment in which these are imported."""

    python: str
    bundle: str
    packages: Packages
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def own_kind(bundle: Path) -> Kind:
    """That of the control plane's own interpreter, which imports nothing of any user's."""
    return Kind(sys.executable, str(bundle), Packages())


class Spawned:
    """The process of a fork server that was started, which nobody listens to yet, and our end of its socket."""

    def __init__(self, kind: Kind) -> None:
        """Start it. Raises OSError."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    fork_server_command(kind.python, kind.bundle, theirs.fileno(), kind.packages.to_json()),
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/",
                    pass_fds=(theirs.fileno(),), start_new_session=True, env={**dict(kind.env), ROOM: _ROOM},
                )  # fmt: skip
            except BaseException:
                self.control.close()
                raise
        self.control.setblocking(False)
        self.pid = self._process.pid

    def kill(self) -> None:
        """End it, whatever it does. Does nothing where it has ended."""
        self._process.kill()

    async def wait(self) -> None:
        """Wait until it has ended."""
        if self._process.poll() is not None:
            return
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._process.wait()


class ForkedProcess:
    """A process that a fork server has forked: not a child of this one, so it is held by a descriptor of its own."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._descriptor = descriptor
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        """Wait for its end and return the exit code."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: int) -> None:
        """Send a signal. Raises ProcessLookupError where it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._descriptor, number)

    def has_ended(self, code: int) -> None:
        """Its fork server has reaped it."""
        if self.returncode is None:
            self.returncode = code
            os.close(self._descriptor)
            if not self._ended.done():
                self._ended.set_result(code)

    def is_orphaned(self) -> None:
        """Its fork server has ended, and nobody will tell its exit code."""
        if self.returncode is None:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._descriptor, self._seen_to_end)

    def _seen_to_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self.has_ended(_UNKNOWN)


class ForkServer:
    """A running fork server, from a process that was spawned; `start` does both.

    Attributes:
        unfit: why nothing may be forked from it; known when it is `ready` or has ended.
        failed: the modules that it could not import, each with the error.
        on_end: called when it has ended.
    """

    def __init__(self, spawned: Spawned) -> None:
        self.unfit = ""
        self.failed: Mapping[str, str] = {}
        self.on_end: Callable[[], None] = lambda: None
        self._process, self._control = spawned, spawned.control
        self._begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked: deque[asyncio.Future[ForkedProcess]] = deque()
        self._forked: dict[int, ForkedProcess] = {}
        self._deadline = asyncio.get_running_loop().call_later(_READY_S, self.end, "it did not get ready")
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._hear)

    @classmethod
    def start(cls, kind: Kind) -> "ForkServer":
        """Start one; it is not ready yet. Raises OSError."""
        return cls(Spawned(kind))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def ready(self) -> bool:
        """Whether it can fork now."""
        return self._begun.done() and self._begun.result()

    async def begun(self) -> bool:
        """Wait until it is ready (True), or will not be."""
        return await asyncio.shield(self._begun)

    async def fork(self, launch: WorkerLaunch, *, whole: bool, isolate: bool = True) -> ForkedProcess:
        """Fork a worker. With `whole` its child goes on in the server's interpreter, too.

        Raises:
            NotForked: it has ended, or does so because it hangs or what it has imported is not as it was.
        """
        if not self.ready:
            raise NotForked("the fork server is not ready")
        said, say = os.pipe()
        try:
            forked = await self._ask(launch, said, whole=whole, isolate=isolate)
            with contextlib.suppress(BrokenPipeError):  # it has ended already
                os.write(say, launch.token.encode())
            return forked
        finally:
            os.close(said)
            os.close(say)  # without its token the worker ends

    async def _ask(self, launch: WorkerLaunch, said: int, *, whole: bool, isolate: bool) -> ForkedProcess:
        answer: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        message = json.dumps({"whole": whole, "isolate": isolate}).encode()
        with _in_memory(json.dumps(replace(launch, token="").to_json()).encode()) as described:
            try:
                socket.send_fds(self._control, [message], [described, said])
            except OSError as error:
                self.end(f"it takes nothing ({error})")
                raise NotForked(f"the fork server takes nothing: {error}") from None
        self._asked.append(answer)
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await asyncio.shield(answer)
        except TimeoutError:
            self.end(f"it did not answer within {_ANSWER_S:g} s")
            raise NotForked(f"the fork server did not answer within {_ANSWER_S:g} s") from None

    def end(self, why: str = "") -> None:
        """End it, whatever it does. What it has forked lives on."""
        if why:
            logger.warning("fork server %d is ended: %s", self._process.pid, why)
        self._process.kill()
        self._over()

    async def wait(self) -> None:
        """Wait until its process has ended."""
        await self._process.wait()

    def _hear(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, LONGEST, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._over()
            return
        self._take(json.loads(data), descriptors)

    def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        match message:
            case {"forked": pid}:
                forked = self._forked[pid] = ForkedProcess(pid, descriptors[0])
                answer = self._asked.popleft()
                if not answer.done():
                    answer.set_result(forked)
            case {"ended": pid, "code": code}:
                self._forked.pop(pid).has_ended(code)
            case {"stale": path}:
                logger.info("fork server %d ends: %s has changed since it was imported", self._process.pid, path)
                self._over()
            case _:
                self.unfit, self.failed = message.get("unfit", ""), message.get("failed", {})
                self._deadline.cancel()
                self._begun.set_result("ready" in message)
                if self.unfit:
                    self.end()

    def _over(self) -> None:
        """Nothing more comes from it."""
        if self._control.fileno() < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control.fileno())
        self._control.close()
        self._deadline.cancel()
        if self._begun.done():
            self._begun = loop.create_future()
        self._begun.set_result(False)  # whoever waits for it hears that it will not be
        while self._asked:
            if not (answer := self._asked.popleft()).done():
                answer.set_exception(NotForked("the fork server has ended"))
                answer.exception()  # taken note of, should nobody wait for it
        for forked in self._forked.values():
            forked.is_orphaned()
        self._forked.clear()
        self.on_end()


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A descriptor of a file that lies in memory alone."""
    with open(os.memfd_create("launch"), "wb") as file:
        file.write(data)
        file.flush()
        yield file.fileno()
