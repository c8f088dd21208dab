"""Who lends workers to clients, as those see it who have workers and jobs: see `loans`."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from runpod_flash.control_plane.fleet import Pool, Worker
from worker_runtime.wire.frames import Body


class Lender(Protocol):
    """What must be said to it."""

    @property
    def out(self) -> "list[asyncio.Future[None]]":
        """What resolves when each of those that are lent is the pool's own again."""

    def wanted(self, pool: Pool) -> None:
        """Somebody waits for a worker of this pool."""

    def end(self, worker: Worker, late: Callable[[Worker], None] | None = None) -> None:
        """Ask for a worker's loan to end, if it is lent; `late` is called where it is not back in time."""

    def heard(self, worker: Worker, header: dict[str, Any], body: Body) -> None:
        """A worker says something of its loan."""

    def lost(self, worker: Worker, message: str) -> None:
        """A worker has gone."""

    def hold(self) -> None:
        """Lend nothing any more, and end all."""


class NoLoans:
    """Where none is lent."""

    def __init__(self) -> None:
        self.out: list[asyncio.Future[None]] = []

    def wanted(self, pool: Pool) -> None: ...

    def end(self, worker: Worker, late: Callable[[Worker], None] | None = None) -> None: ...

    def heard(self, worker: Worker, header: dict[str, Any], body: Body) -> None: ...

    def lost(self, worker: Worker, message: str) -> None: ...

    def hold(self) -> None: ...
