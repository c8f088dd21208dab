"""The worker whose child is a command: it starts when the worker is welcome and takes nothing from the control plane.

welcome → command starts → log … → it ends by itself, or drain: SIGTERM, then SIGKILL → its farewell
"""

import asyncio
import contextlib

from worker_runtime.commands import run_command
from worker_runtime.loop import DRAINED, End, Worker, complain, unexpected
from worker_runtime.wire import messages
from worker_runtime.wire.frames import Body, Header

_FAREWELL_S = 10.0


class CommandWorker(Worker):
    """Runs one shell command line for as long as it lives."""

    async def _welcomed(self) -> None:
        self._start_child()

    def _take(self, header: Header, head: bytes, body: Body) -> None:
        if header.get("type") != messages.DRAIN:
            raise unexpected(header)
        if not self._draining:
            self._draining = True
            self._keeper.terminate_child()
            self._end_within(self._launch.drain_s, DRAINED)

    def _ended_by_itself(self, code: int, reason: str) -> End:
        return End(reason, code=0 if code == 0 else 1)

    async def _settle(self) -> None:
        """What the command has started elsewhere, a container for one, is ended by a program of its own."""
        if not self._launch.farewell:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                try:
                    await run_command(self._launch.farewell, env=self._launch.env)
                except OSError as error:
                    complain(f"{self._launch.farewell[0]} cannot be run: {error}")

    def _out_of_memory(self, message: str, code: int = 0) -> End:
        return End(message, code=code)
