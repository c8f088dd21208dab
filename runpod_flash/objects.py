"""What a program has on a platform and does not leave there: remote objects, and jobs whose streams it reads.

Objects are dropped, and such jobs cancelled, when nobody has them any more; all of them when the program ends.
"""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from runpod_flash.backends.base import Backend
from runpod_flash.blocking import Bridge
from runpod_flash.calls import RemoteObject
from runpod_flash.errors import BackendError, BackendUnavailable, FlashError

OwnJob = tuple[str, str]
"""A job: the id of its endpoint and its own."""

_EXIT_S = 1.0  # how long the end of the program waits for objects to be dropped


class Objects:
    """Those that were used and not dropped, and what happens at the end: see `Keeper`. A forked child has none.

    Args:
        bridge: where drops run that no event loop is there for; ended with the program.
        backend: gives the platform of the running event loop.
    """

    def __init__(self, bridge: Bridge, backend: Callable[[], Awaitable[Backend]]) -> None:
        self._bridge, self._backend = bridge, backend
        self._used: set[str] = set()
        self._doomed: set[str] = set()  # those of them that nobody has any more
        self._jobs: set[OwnJob] = set()  # that shall be cancelled, and whose platform was not told yet
        self._dropping: set[asyncio.Task[None]] = set()
        self._owner: int | None = None  # the process that registered `_at_exit`

    def add(self, handle: RemoteObject) -> None:
        """An object was used for the first time, and is this program's own."""
        handle.session = self
        self._used.add(handle.id)

    async def drop(self, instance_id: str) -> None:
        """Drop a remote object; a platform that is gone is no error."""
        with contextlib.suppress(BackendError):
            self._doomed.add(instance_id)  # where this is cancelled, the next connection does it
            await (await self._backend()).drop_instance(instance_id)
            self._doomed.discard(instance_id)
            self._used.discard(instance_id)

    def drop_later(self, instance_id: str) -> None:
        """`drop` without waiting; called from anywhere, by the garbage collector too."""
        if self._owner == os.getpid() and instance_id in self._used:
            self._later(lambda: self.drop(instance_id))

    async def cancel(self, job: OwnJob) -> None:
        """Cancel a job that nobody reads. Where the platform cannot be reached, the end of the program tries again."""
        self._jobs.add(job)
        try:
            await (await self._backend()).cancel(*job)
        except BackendUnavailable:
            return
        except BackendError:  # it is not there any more
            pass
        self._jobs.discard(job)

    def cancel_later(self, job: OwnJob) -> None:
        """`cancel` without waiting, as `drop_later`."""
        if self._owner == os.getpid():
            self._jobs.add(job)
            self._later(lambda: self.cancel(job))

    def drop_doomed(self) -> None:
        """Do on the running event loop what could not be done on an earlier one."""
        for instance_id in self._doomed:
            self._on_loop(self.drop(instance_id))
        for job in self._jobs:
            self._on_loop(self.cancel(job))

    def watch_exit(self) -> None:
        """Let the end of this process drop all objects and end the bridge."""
        if self._owner != os.getpid():
            if self._owner is not None:  # a fork: objects are the parent's, who drops them
                self._used.clear()
                self._doomed.clear()
                self._jobs.clear()
            else:
                atexit.register(self._at_exit)
            self._owner = os.getpid()

    def close(self) -> None:
        """Do now what the end of the program would do."""
        if self._owner == os.getpid():
            atexit.unregister(self._at_exit)
            self._at_exit()
            self._owner = None

    def _later(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if sys.is_finalizing():
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with contextlib.suppress(RuntimeError):  # the program ends, and no thread can be started any more
                self._bridge.start(work())
        else:
            self._on_loop(work())

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    def _at_exit(self) -> None:
        if self._owner != os.getpid():
            return
        if self._used or self._jobs:
            with contextlib.suppress(FlashError, TimeoutError, RuntimeError, concurrent.futures.CancelledError):
                if self._bridge.alive:
                    self._bridge.run(self._drop_all(), _EXIT_S)
                else:
                    asyncio.run(self._drop_all())
        self._bridge.close()

    async def _drop_all(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_S):
                jobs = (self.cancel(job) for job in list(self._jobs))
                await asyncio.gather(*jobs, *(self.drop(instance_id) for instance_id in list(self._used)))
