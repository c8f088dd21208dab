"""The worker's hold on what it starts: forks the init process and ends it, with everything below it.

    worker ── control socket ── init ── child (user code) ── whatever user code starts

Forking happens before the worker has an event loop. Where namespaces are allowed, a helper enters them, forks the init
process into them and leaves, so that the worker itself stays outside and init becomes its child.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from worker_runtime import init, isolation, new_root
from worker_runtime.init import ChildPlan
from worker_runtime.mounts import View
from worker_runtime.wire.specs import WorkerLaunch

ARTIFACT_FILE = "artifact.zip"
"""What a server of routes finds its artifact under, in the worker's folder."""

_SETTLE_S = 10.0
_OF_ITS_GRACE = 0.8  # how much of it requests that run may use; the rest is for the server's own end

_CHILD_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from worker_runtime.child import main; main()"
_SERVER_BOOT = (  # what the server imports is found by the paths that are set before
    "import json, sys; sys.path.insert(0, sys.argv[1]); setup = json.loads(sys.argv[2]); "
    "from worker_runtime.child import set_paths; set_paths(setup['code'], setup['overlay'], sys.argv[1]); "
    "from worker_runtime.serve import main; main(setup)"
)


class StartError(RuntimeError):
    """The worker cannot keep what it would start. The message says why."""


class NoVolume(StartError):
    """The worker's network volume cannot be shown to user code."""


@dataclass(slots=True)
class Keeper:
    """A running init process and the worker's ends of all that leads into the child."""

    pid: int
    control: socket.socket
    link: socket.socket
    stdout: int
    stderr: int
    why_plain: str | None  # why there are no namespaces; None: there are

    def start_child(self) -> None:
        """Let init start the child. Raises OSError where init has gone."""
        self.control.sendall(init.START)

    def terminate_child(self) -> None:
        """Let init send SIGTERM to the child's process group. Does nothing where init has gone: its end is noticed."""
        with contextlib.suppress(OSError):
            self.control.sendall(init.TERMINATE)

    def release(self) -> None:
        """Tell init to end; everything below it dies."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def ended(self) -> bool:
        """Whether init, and so everything below it, has ended."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def destroy(self) -> None:
        """End everything and wait for it; for use outside of an event loop. May be called again."""
        self.release()
        deadline = time.monotonic() + _SETTLE_S
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(0.002)
        if sys.platform == "linux":
            isolation.kill_descendants(_SETTLE_S)  # what an init that user code killed has left


def start(launch: WorkerLaunch, *, isolate: bool, child_forks: bool = False) -> Keeper:
    """Fork the init process of a worker. With `child_forks` the child goes on in this interpreter.

    Raises:
        ChildBegins: this process is that child.
        StartError: what is hidden or private is or holds what the child needs, the launch must isolate and that is not
            possible here, or not even a plain init process comes up.
        NoVolume: the launch has a volume, and it is not there or cannot be mounted.
    """
    isolation.adopt_orphans()
    view = _checked_view(launch)
    ends = _Ends.open()
    plan = _plan(launch, ends, forks=child_forks)
    failure = "they were not asked for" if sys.platform == "linux" else f"{sys.platform} has none"
    if isolate and sys.platform == "linux":
        control, failure = _attempt(lambda mine: _namespaced(ends.handed_over(mine), plan, view))
        if control is not None:
            return ends.keep(*control, None)
    if launch.volume is not None:
        raise NoVolume(f"its network volume cannot be mounted at {new_root.VOLUME}, which takes namespaces: {failure}")
    if launch.must_isolate:
        raise StartError(f"user code must be isolated here, and there are no namespaces: {failure}")
    control, why = _attempt(lambda mine: _plain(ends.handed_over(mine), plan))
    if control is None:
        raise StartError(f"the process that holds the worker's child does not start: {why}")
    return ends.keep(*control, failure)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Both ends of the child's link, standard output and standard error: (the worker's, the child's)."""

    link: tuple[socket.socket, socket.socket]
    stdout: tuple[int, int]
    stderr: tuple[int, int]

    @classmethod
    def open(cls) -> "_Ends":
        return cls(socket.socketpair(), os.pipe(), os.pipe())

    def keep(self, pid: int, control: socket.socket, why_plain: str | None) -> Keeper:
        self.link[1].close()
        os.close(self.stdout[1])
        os.close(self.stderr[1])
        return Keeper(pid, control, self.link[0], self.stdout[0], self.stderr[0], why_plain)

    def handed_over(self, control: socket.socket) -> socket.socket:
        """In a forked process, which has the numbers in its plan: when these objects go, nothing is closed."""
        for sock in self.link:
            sock.detach()
        return control


def _plan(launch: WorkerLaunch, ends: _Ends, *, forks: bool) -> ChildPlan:
    own = os.path.join(launch.folder, "run")
    own_session = launch.command is not None or launch.port > 0
    link = None if own_session else ends.link[1].fileno()
    return ChildPlan(
        argv=_argv(launch, ends),
        env=launch.env,
        folder=launch.directory if launch.command is not None and launch.directory is not None else own,
        cpus=launch.cpus,
        stdout=ends.stdout[1],
        stderr=ends.stderr[1],
        link=link,
        own_session=own_session,
        forks=forks,
    )


def _argv(launch: WorkerLaunch, ends: _Ends) -> tuple[str, ...]:
    if launch.command is not None:
        return "/bin/sh", "-c", launch.command
    return _server(launch) if launch.port else _calls(launch, ends)


def _server(launch: WorkerLaunch) -> tuple[str, ...]:
    setup = {
        "artifact": os.path.join(launch.folder, ARTIFACT_FILE),
        "code": os.path.join(launch.folder, "code"),
        "overlay": launch.overlay,
        "pickles": launch.pickles,
        "port": launch.port,
        "name": launch.name,
        "grace_s": launch.drain_s * _OF_ITS_GRACE,
    }
    return launch.python, "-I", "-u", "-X", "utf8", "-c", _SERVER_BOOT, launch.bundle, json.dumps(setup)


def _calls(launch: WorkerLaunch, ends: _Ends) -> tuple[str, ...]:
    setup = {
        "link": ends.link[1].fileno(),
        "code": os.path.join(launch.folder, "code"),
        "overlay": launch.overlay,
        "max_concurrency": launch.max_concurrency,
        "pickles": launch.pickles,
        "name": launch.name,
    }
    return launch.python, "-I", "-u", "-X", "utf8", "-c", _CHILD_BOOT, launch.bundle, json.dumps(setup)


def _checked_view(launch: WorkerLaunch) -> View:
    needed = (launch.folder, launch.bundle, launch.overlay, launch.python, launch.directory)
    paths = [os.path.realpath(path) for path in needed if path]
    own = os.path.realpath(launch.folder)
    for hidden in launch.hidden:
        if inside := _first_below(hidden, paths):
            raise StartError(f"{hidden} shall be hidden from user code, but {inside} in it is needed there")
    if "/" in map(os.path.realpath, launch.readonly):
        raise StartError("folder / cannot be read-only: user code needs places to write to")
    if launch.private is not None:
        _check_private(launch, launch.private, own, paths)
    if launch.volume is not None and not os.path.isdir(launch.volume):
        raise NoVolume(f"its network volume is gone: there is no folder {launch.volume}")
    os.makedirs(own, exist_ok=True)
    private = None if launch.private is None else os.path.realpath(launch.private)
    return View(launch.hidden, private, own, launch.must_isolate, launch.readonly, launch.volume)


def _check_private(launch: WorkerLaunch, private: str, own: str, needed: list[str]) -> None:
    if own == os.path.realpath(private) or not _first_below(private, [own]):
        raise StartError(f"folder {private} is private, but the worker's own {launch.folder} is not in it")
    seen = [own, *(folder for folder in launch.readonly if not _first_below(folder, [own]))]
    unseen = [path for path in needed if not any(_first_below(folder, [path]) for folder in seen)]
    if inside := _first_below(private, unseen):
        raise StartError(f"folder {private} is private to workers, but {inside} in it is needed by this one")


def _first_below(folder: str, paths: Iterable[str]) -> str | None:
    """The first of some real paths that is a folder itself or in it."""
    covered = os.path.join(os.path.realpath(folder), "")
    return next((path for path in paths if os.path.join(path, "").startswith(covered)), None)


def _attempt(become: Callable[[socket.socket], None]) -> tuple[tuple[int, socket.socket] | None, str]:
    """Fork a process that becomes init or brings it up; give init's pid and control socket, or why there is none."""
    ours, theirs = socket.socketpair()
    forked = os.fork()
    if not forked:
        ours.close()
        _become(become, theirs)
    theirs.close()
    heard, failure = _hear(ours)
    pid = heard or forked
    if failure is None:
        if pid != forked:
            os.waitpid(forked, 0)
        ours.setblocking(False)
        return (pid, ours), ""
    ours.close()
    for process in {pid, forked}:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, 0)
    return None, failure


def _hear(control: socket.socket) -> tuple[int | None, str | None]:
    """Read what is said before and when init is up: (its pid, why it is not)."""
    pid: int | None = None
    while line := _line(control):
        message = json.loads(line)
        if "pid" in message:
            pid = message["pid"]
        else:
            return pid, message.get("failed")
    return pid, "it ended at once"


def _line(control: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and (byte := control.recv(1)):
        data += byte
    return data


def _become(run: Callable[[socket.socket], None], control: socket.socket) -> NoReturn:
    """In a forked process: run and end, whatever happens; the worker's own code must never go on here.

    Raises:
        ChildBegins: this is the child by now.
    """
    with init.ending_process(0):
        try:
            run(control)
        except OSError as error:
            with contextlib.suppress(OSError):
                init.say(control, failed=str(error))
    raise AssertionError("unreachable")


def _plain(control: socket.socket, plan: ChildPlan) -> None:
    init.say(control, pid=os.getpid())
    init.run(control, plan, None)


def _namespaced(control: socket.socket, plan: ChildPlan, view: View) -> None:
    isolation.enter_namespaces()
    said, say = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(say)
        os.read(said, 1)  # the worker hears the pid first; this ends when the helper does
        os.close(said)
        init.run(control, plan, view)
    init.say(control, pid=pid)
