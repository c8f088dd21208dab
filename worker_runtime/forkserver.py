"""The fork server of an environment: an interpreter that has imported what workers need, and becomes them.

python … -c BOOT bundle control packages        `control` is a socket of whole messages, which nobody else can reach

    server → control plane   {"ready": true} or {"unfit": reason}, with "failed": modules that could not be imported
    control plane → server   {"whole": bool, "isolate": bool} with two descriptors: a launch, where its token comes from
    server → control plane   {"forked": pid} with a descriptor of that process; or {"stale": path} and its end
                             {"ended": pid, "code": code} for each that was forked

It is one thread without an event loop, and ends when the control plane has: the socket is closed then. What it forks
goes on without it. It never reads a launch: what one worker is told is in the memory of no other.

With "whole" the worker's child goes on in this interpreter too; without, it starts a program as ever.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NoReturn

from worker_runtime import child, isolation, launch_command, preloading, renewal
from worker_runtime.__main__ import run_forked
from worker_runtime.init import ChildBegins, ChildPlan, ending_process, poll_with_children
from worker_runtime.preloading import LONGEST, Files, Packages, Preloaded

_TOKEN_LIMIT = 4096


def main(own: Collection[str]) -> None:
    """Serve until the control plane ends; in a process that becomes a worker's child, be that.

    `own` are the modules that a child has when it starts.
    """
    bundle, control, packages = sys.argv[1], int(sys.argv[2]), Packages.from_json(sys.argv[3])
    renewal.make_room()
    isolation.forbid_inspection()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the control plane's to handle
    child.set_package_paths(packages.overlay, bundle)
    preloaded = preloading.preload(packages)
    try:
        _Server(socket.socket(fileno=control), preloaded).run()
    except ChildBegins as begins:
        plan = begins.plan
    _be_child(plan, preloaded, own)


def _be_child(plan: ChildPlan, preloaded: Preloaded, own: Collection[str]) -> None:
    setup = json.loads(plan.argv[-1])
    for name, value in preloaded.env.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - as the import would have done it here
    for number, text in enumerate(preloaded.said, 1):
        os.write(number, text)
    sys.path.insert(0, setup["code"])
    importlib.invalidate_caches()
    preloading.drop_shadowed(setup["code"], own)
    for name in ("own", "forkserver"):
        vars(sys.modules["__main__"]).pop(name, None)
    child.live(setup)


@dataclass(slots=True)
class _Server:
    control: socket.socket
    preloaded: Preloaded

    def run(self) -> NoReturn:
        """Do what the control plane says until it has gone, then end. Raises ChildBegins in a worker's child."""
        files = Files.now()
        gc.collect()
        gc.freeze()  # what is shared stays shared: collecting would write to every object
        gc.disable()
        self._say(failed=dict(self.preloaded.failed), **self._state())
        poll, woken = poll_with_children(self.control)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if self.control.fileno() in ready:
                self._obey(files)

    def _state(self) -> dict[str, Any]:
        return {"unfit": self.preloaded.unfit} if self.preloaded.unfit else {"ready": True}

    def _say(self, *descriptors: int, **message: Any) -> None:
        try:
            socket.send_fds(self.control, [json.dumps(message).encode()], descriptors)
        except OSError:
            os._exit(0)

    def _obey(self, files: Files) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, LONGEST, 2)
        except OSError:
            os._exit(0)
        if not data:
            os._exit(0)
        if changed := files.changed():
            self._say(stale=changed)
            os._exit(0)
        asked, (launch, token) = json.loads(data), descriptors
        pid = os.fork()
        if not pid:
            _be_worker(self.control, launch, token, asked)
        handle = os.pidfd_open(pid)  # before it can be reaped, so that it is no other's
        self._say(handle, forked=pid)
        for descriptor in (handle, launch, token):
            os.close(descriptor)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._say(ended=ended[0], code=os.waitstatus_to_exitcode(ended[1]))


def _be_worker(control: socket.socket, launch: int, token: int, asked: dict[str, Any]) -> NoReturn:
    """In a forked process: be a worker's parent to its end. Raises ChildBegins in its child, and nothing else."""
    with ending_process(1):
        control.detach()
        os.setsid()
        renewal.set_environment({})
        renewal.show_as(launch_command(sys.executable, sys.argv[1]), {})
        renewal.reset_signals()
        renewal.close_all_but((launch, token))
        isolation.allow_inspection()  # as a started worker until it has its token: else it maps no users of a namespace
        gc.enable()
        code = run_forked(_whole(launch), _asking(token), isolate=asked["isolate"], child_forks=asked["whole"])
        sys.stderr.flush()
        os._exit(code)
    raise AssertionError("unreachable")


def _whole(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def _asking(descriptor: int) -> Callable[[], str]:
    def ask() -> str:
        with open(descriptor, "rb", buffering=0) as file:
            return (file.read(_TOKEN_LIMIT) or b"").decode()

    return ask
