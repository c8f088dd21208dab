"""The process between a worker and user code: starts the child, reaps orphans, takes everything with it when it ends.

It is the first process of the PID namespace where there is one. It watches a socket whose other end only the worker
holds: when that closes, however the worker ended, it kills what is left and ends.

    worker → init    "start", "terminate"; one word a line
    init → worker    {"up": true} or {"failed": reason}, later {"exit": code}, with "why" where the child could not
                     start; one JSON object a line
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from worker_runtime import isolation, mounts, privileges, renewal
from worker_runtime.mounts import View

START, TERMINATE = b"start\n", b"terminate\n"

_TO_DEFAULT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGXFSZ", "SIGCHLD")
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CANNOT_START = 127


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """How the child is started. `link` is a file descriptor that it keeps under the same number, where it has one.

    With `own_session` it leads a process group, which can be told to terminate; it has ended when its group has.
    With `forks` it goes on in this interpreter, as what `argv` would start, instead of starting that.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: str
    cpus: tuple[int, ...]
    stdout: int
    stderr: int
    link: int | None
    own_session: bool = False
    forks: bool = False


class ChildBegins(BaseException):
    """Raised in the process that has become the child of a plan that `forks`; everything on its stack shall end.

    No error: whoever started all of this catches it and goes on as the child, as if its program had just been started.
    """

    def __init__(self, plan: ChildPlan) -> None:
        super().__init__("the child begins")
        self.plan = plan


def run(control: socket.socket, plan: ChildPlan, view: View | None) -> NoReturn:
    """Be the init process, in a process that was forked for it: with a view in namespaces, else without.

    Never returns, and raises nothing but ChildBegins.
    """
    with ending_process(1):
        try:
            _prepare(control, view)
            child = _Child(control, plan)
            _serve(control, child)
            _end_all(child, namespaced=view is not None)
            os._exit(0)
        except (OSError, RuntimeError) as error:
            with contextlib.suppress(OSError):
                say(control, failed=str(error))
    raise AssertionError("unreachable")


@contextlib.contextmanager
def ending_process(code: int) -> Iterator[None]:
    """This process ends with the block, whatever happens in it, unless the child begins there."""
    begins = False
    try:
        yield
    except ChildBegins:
        begins = True
        raise
    finally:
        if not begins:
            os._exit(code)


def say(control: socket.socket, **message: Any) -> None:
    """Send one message to the worker. Raises OSError where it has gone."""
    control.sendall(json.dumps(message).encode() + b"\n")


def _prepare(control: socket.socket, view: View | None) -> None:
    gc.disable()  # it does little, and collecting would write to all that it shares with others
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    if view is not None:
        mounts.furnish(view)
        os.chdir("/")  # the folder that it was started in may be covered now
        privileges.bound()
    else:
        isolation.adopt_orphans()
    isolation.forbid_inspection()
    say(control, up=True)


def poll_with_children(control: socket.socket) -> tuple[select.poll, int]:
    """A poll over a socket and a descriptor, which is given too: it can be read when a child of this process ends."""
    woken, wake = os.pipe()
    for descriptor in (woken, wake):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    return poll, woken


def _serve(control: socket.socket, child: "_Child") -> None:
    """Do what the worker says and report the child's end; return when the worker has gone."""
    poll, woken = poll_with_children(control)
    heard = b""
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if woken in ready:
            os.read(woken, 4096)
            child.reap()
        if control.fileno() in ready:
            data = _heard(control)
            if not data:
                return
            *lines, heard = (heard + data).split(b"\n")
            for line in lines:
                _obey(line + b"\n", child)


def _heard(control: socket.socket) -> bytes:
    """What the worker says; nothing where it has gone, whether or not it had read what it was told."""
    with contextlib.suppress(ConnectionResetError):
        return control.recv(4096)
    return b""


def _obey(line: bytes, child: "_Child") -> None:
    if line == START:
        child.start()
    elif line == TERMINATE:
        child.terminate()


class _Child:
    """The one process that init starts."""

    def __init__(self, control: socket.socket, plan: ChildPlan) -> None:
        self._control, self._plan = control, plan
        self._pid: int | None = None
        self._code: int | None = None
        self._why = ""  # it could not start
        self._terminating = self._told = False

    def start(self) -> None:
        """Start it; it is the program that it shall be, or has failed, when this returns."""
        plan = self._plan
        said, failure = os.pipe()
        pid = os.fork()
        if not pid:
            if plan.forks:
                self._control.detach()  # its number may belong to another by the time this object goes
            _become_child_or_say_why(plan, failure)
        self._pid = pid
        for descriptor in (failure, plan.stdout, plan.stderr, plan.link):  # else nobody ever reads their end
            if descriptor is not None:
                os.close(descriptor)
        with open(said, errors="replace") as file:  # it closes its end when the program starts
            self._why = file.read()

    def terminate(self) -> None:
        """Send SIGTERM to its group. Its end is told when the whole group has ended."""
        self._terminating = True
        self.signal_group(signal.SIGTERM)
        self.signal_group(signal.SIGCONT)  # those that are stopped could not end

    def signal_group(self, number: int) -> bool:
        """Send a signal to its group, 0 for none; whether a process of it lives."""
        if self._pid is None or self._told or not self._plan.own_session:
            return False
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:  # they became another user's
            return True
        return True

    def reap(self) -> None:
        """Reap all that has ended, it and orphans, and tell the worker when it has."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self._pid:
                    self._code = os.waitstatus_to_exitcode(ended[1])
        if self._code is None or self._told or (self._terminating and self.signal_group(0)):
            return
        self._told = True
        why = {"why": self._why} if self._why else {}
        with contextlib.suppress(OSError):  # the worker has gone: the next poll tells
            say(self._control, exit=self._code, **why)


def _become_child_or_say_why(plan: ChildPlan, failure: int) -> NoReturn:
    with ending_process(_CANNOT_START):
        try:
            _become_child(plan)
        except OSError as error:
            why = f"the worker cannot start {plan.argv[0]}: {error}"
            os.write(plan.stderr, f"{why}\n".encode())
            os.write(failure, why.encode())
    raise AssertionError("unreachable")


def _become_child(plan: ChildPlan) -> NoReturn:
    signal.set_wakeup_fd(-1)
    for name in _TO_DEFAULT:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if plan.cpus and sys.platform == "linux":
        os.sched_setaffinity(0, plan.cpus)
    if plan.own_session:
        os.setsid()
    try:
        os.chdir(plan.folder)
    except OSError as error:
        raise OSError(f"its working directory {plan.folder} cannot be entered: {error.strerror}") from error
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(plan.stdout, 1)
    os.dup2(plan.stderr, 2)
    if plan.forks:
        renewal.renew(plan.argv, plan.env, () if plan.link is None else (plan.link,))
        raise ChildBegins(plan)
    if plan.link is not None:
        os.set_inheritable(plan.link, True)
    os.execve(plan.argv[0], plan.argv, dict(plan.env))


def _end_all(child: _Child, *, namespaced: bool) -> None:
    if namespaced:
        isolation.kill_namespace()
    elif sys.platform == "linux":
        isolation.kill_descendants()
    else:
        child.signal_group(signal.SIGKILL)
        os.killpg(os.getpgrp(), signal.SIGKILL)  # this process included
