"""The process between a worker and user code: starts the child, reaps orphans, takes everything with it when it ends.

It is the first process of the PID namespace where there is one. It watches a socket whose other end only the worker
holds: when that closes, however the worker ended, it kills what is left and ends.

    worker → init    "start"
    init → worker    {"up": true} or {"failed": reason}, later {"exit": code}; one JSON object a line
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from worker_runtime import isolation

START = b"start\n"

_TO_DEFAULT = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE", "SIGXFSZ", "SIGCHLD")
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CANNOT_START = 127


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """How the child is started. `link` is a file descriptor that it keeps under the same number."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: str
    cpus: tuple[int, ...]
    stdout: int
    stderr: int
    link: int


def run(control: socket.socket, plan: ChildPlan, hidden: tuple[str, ...], *, namespaced: bool) -> NoReturn:
    """Be the init process, in a process that was forked for it. Never returns, never raises."""
    code = 1
    try:
        _prepare(control, hidden, namespaced)
        _serve(control, plan)
        _end_all(namespaced)
        code = 0
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            say(control, failed=str(error))
    finally:
        os._exit(code)


def say(control: socket.socket, **message: Any) -> None:
    """Send one message to the worker. Raises OSError where it has gone."""
    control.sendall(json.dumps(message).encode() + b"\n")


def _prepare(control: socket.socket, hidden: tuple[str, ...], namespaced: bool) -> None:
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    if namespaced:
        isolation.furnish(hidden)
    else:
        isolation.adopt_orphans()
    isolation.forbid_inspection()
    say(control, up=True)


def _serve(control: socket.socket, plan: ChildPlan) -> None:
    """Start the child when told to and report its end; return when the worker has gone."""
    woken, wake = os.pipe()
    for descriptor in (woken, wake):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(woken, select.POLLIN)
    child: int | None = None
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if woken in ready:
            os.read(woken, 4096)
            _reap(control, child)
        if control.fileno() in ready:
            if not control.recv(4096):
                return
            child = _start(plan)


def _reap(control: socket.socket, child: int | None) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                with contextlib.suppress(OSError):  # the worker has gone: the next poll tells
                    say(control, exit=os.waitstatus_to_exitcode(ended[1]))


def _start(plan: ChildPlan) -> int:
    pid = os.fork()
    if pid:
        for descriptor in (plan.stdout, plan.stderr, plan.link):  # else nobody ever reads their end
            os.close(descriptor)
        return pid
    try:
        _become_child(plan)
    except OSError as error:
        os.write(plan.stderr, f"the worker cannot start {plan.argv[0]}: {error}\n".encode())
    finally:
        os._exit(_CANNOT_START)


def _become_child(plan: ChildPlan) -> NoReturn:
    signal.set_wakeup_fd(-1)
    for name in _TO_DEFAULT:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if plan.cpus and sys.platform == "linux":
        os.sched_setaffinity(0, plan.cpus)
    os.chdir(plan.folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(plan.stdout, 1)
    os.dup2(plan.stderr, 2)
    os.set_inheritable(plan.link, True)
    os.execve(plan.argv[0], plan.argv, dict(plan.env))


def _end_all(namespaced: bool) -> None:
    if namespaced:
        isolation.kill_namespace()
    elif sys.platform == "linux":
        isolation.kill_descendants()
    else:
        os.killpg(os.getpgrp(), signal.SIGKILL)  # this process included
