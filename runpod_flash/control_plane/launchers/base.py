"""The contract of a launcher."""

from typing import Protocol

from worker_runtime.wire.specs import WorkerLaunch


class WorkerProcess(Protocol):
    """A started worker."""

    @property
    def pid(self) -> int:
        """Its process id on its machine."""

    async def wait(self) -> int:
        """Wait for its end and return the exit code (negative: killed by that signal)."""

    def terminate(self) -> None:
        """Ask it to end; what it runs dies with it. No error where it has ended already."""

    def kill(self) -> None:
        """End it without asking."""


class Launcher(Protocol):
    """Starts workers somewhere."""

    async def start(self, launch: WorkerLaunch) -> WorkerProcess:
        """Start one worker. Raises OSError where that is impossible."""
