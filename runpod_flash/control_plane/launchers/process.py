"""Starts workers as processes of this machine."""

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path

from worker_runtime import launch_command
from worker_runtime.wire.specs import WorkerLaunch


class LocalProcess:
    """A worker on this machine."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        return await self._process.wait()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

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
