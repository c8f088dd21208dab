"""The worker whose child is a command: it starts when the worker is welcome and takes nothing from the control plane.

welcome → command starts → log … → it ends by itself, or drain: SIGTERM, then SIGKILL
"""

from worker_runtime.loop import DRAINED, End, Worker, unexpected
from worker_runtime.wire import messages
from worker_runtime.wire.frames import Header


class CommandWorker(Worker):
    """Runs one shell command line for as long as it lives."""

    async def _welcomed(self) -> None:
        self._start_child()

    def _take(self, header: Header, body: bytes) -> None:
        if header.get("type") != messages.DRAIN:
            raise unexpected(header)
        if not self._draining:
            self._draining = True
            self._keeper.terminate_child()
            self._end_within(self._launch.drain_s, DRAINED)

    def _ended_by_itself(self, code: int, reason: str) -> End:
        return End(reason, code=0 if code == 0 else 1)

    def _out_of_memory(self, message: str, code: int = 0) -> End:
        return End(message, code=code)
