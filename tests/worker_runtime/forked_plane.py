"""The scripted control plane with a worker that a fork server has forked."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runpod_flash.control_plane.launchers.fork_server import ForkedProcess, ForkServer, Kind
from tests.worker_runtime.scripted_plane import Plane, bundle
from worker_runtime.preloading import Packages


class Forked:
    """A forked process with what the scripted plane asks of one that it has started."""

    stderr = None

    def __init__(self, process: ForkedProcess) -> None:
        self._process = process
        self.pid, self.wait = process.pid, process.wait

    def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(9)


@dataclass
class ForkedPlane(Plane):
    """Use it as `Plane`, with a fork server that is ready."""

    server: ForkServer | None = None
    whole: bool = True

    async def _start(self) -> Any:
        assert self.server is not None
        return Forked(await self.server.fork(self.launch, whole=self.whole, isolate=self.isolate))


@asynccontextmanager
async def fork_server(
    folder: Path, *preload: str, overlay: Path | None = None, **env: str
) -> AsyncIterator[ForkServer]:
    """A fork server whose bundle is in a folder, for planes of the same folder; ready, or known to be unfit."""
    if not (folder / "bundle").exists():
        bundle(folder / "bundle")
    packages = Packages(None if overlay is None else str(overlay), preload)
    server = ForkServer.start(Kind(sys.executable, str(folder / "bundle"), packages, tuple(env.items())))
    try:
        await asyncio.wait_for(server.begun(), 60)
        yield server
    finally:
        server.end()
        await asyncio.wait_for(server.wait(), 10)
