"""The remote objects that a program made: dropped when nobody has them any more, all of them when the program ends."""

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable

from runpod_flash.backends.base import Backend
from runpod_flash.blocking import Bridge
from runpod_flash.calls import RemoteObject
from runpod_flash.errors import BackendError, FlashError

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
        if self._owner != os.getpid() or instance_id not in self._used or sys.is_finalizing():
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with contextlib.suppress(RuntimeError):  # the program ends, and no thread can be started any more
                self._bridge.start(self.drop(instance_id))
        else:
            self._drop_on_loop(instance_id)

    def drop_doomed(self) -> None:
        """Drop on the running event loop what could not be dropped on an earlier one."""
        for instance_id in self._doomed:
            self._drop_on_loop(instance_id)

    def watch_exit(self) -> None:
        """Let the end of this process drop all objects and end the bridge."""
        if self._owner != os.getpid():
            if self._owner is not None:  # a fork: objects are the parent's, who drops them
                self._used.clear()
                self._doomed.clear()
            else:
                atexit.register(self._at_exit)
            self._owner = os.getpid()

    def close(self) -> None:
        """Do now what the end of the program would do."""
        if self._owner == os.getpid():
            atexit.unregister(self._at_exit)
            self._at_exit()
            self._owner = None

    def _drop_on_loop(self, instance_id: str) -> None:
        task = asyncio.get_running_loop().create_task(self.drop(instance_id))
        self._dropping.add(task)
        task.add_done_callback(self._dropping.discard)

    def _at_exit(self) -> None:
        if self._owner != os.getpid():
            return
        if self._used:
            with contextlib.suppress(FlashError, TimeoutError, RuntimeError, concurrent.futures.CancelledError):
                if self._bridge.alive:
                    self._bridge.run(self._drop_all(), _EXIT_S)
                else:
                    asyncio.run(self._drop_all())
        self._bridge.close()

    async def _drop_all(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_S):
                await asyncio.gather(*(self.drop(instance_id) for instance_id in list(self._used)))
