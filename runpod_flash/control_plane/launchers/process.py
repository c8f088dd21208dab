"""Starts workers as processes of this machine."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from worker_runtime import launch_command
from worker_runtime.wire.specs import WorkerLaunch

_INIT_S = 5.0  # for the worker's init process to end what is below it


class Held(Protocol):
    """A process of this machine, as asyncio has its children."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def send_signal(self, signal: int) -> None: ...


class LocalProcess:
    """A worker on this machine."""

    def __init__(self, process: Held) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker and all it started, stopped processes (SIGSTOP) too."""
        if self._process.returncode is not None:
            return
        children, below = _tree(self._process.pid)
        self._signal(signal.SIGKILL)
        _each(below, psutil.Process.kill)
        # The worker's init process is left to end the rest: without it, what is forked meanwhile would have no parent
        # here. Only where it does not, as when user code has killed it, the rest is ended from here.
        _each(children, psutil.Process.resume)
        asyncio.get_running_loop().call_later(_INIT_S, _end_rest, [*children, *below])

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class ProcessLauncher:
    """Starts the worker's parent with the control plane's own interpreter; the child runs the environment's."""

    async def start(self, launch: WorkerLaunch) -> LocalProcess:
        Path(launch.folder).mkdir(parents=True, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            *launch_command(sys.executable, launch.bundle),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, start_new_session=True, env={},
        )  # fmt: skip
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it ended at once: wait() tells
            process.stdin.write(json.dumps(launch.to_json()).encode() + b"\n")
            await process.stdin.drain()
            process.stdin.close()
        return LocalProcess(process)


def _tree(pid: int) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The children of a process, and all that is below those."""
    try:
        parent = psutil.Process(pid)
        children, everything = parent.children(), parent.children(recursive=True)
    except psutil.Error:  # it has just ended
        return [], []
    return children, [process for process in everything if process not in children]


def _end_rest(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            _each([*process.children(recursive=True), process], psutil.Process.kill)


def _each(processes: Iterable[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it has ended, or become another user's
            do(process)
