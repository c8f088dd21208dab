"""Requests that wait for something: a future and a timer each, and nothing to do for them until one of both is due."""

import asyncio
from typing import Any


class Waiting:
    """Those who wait. `over`: nothing is waited for any more."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self.over = False

    async def until(self, done: "asyncio.Future[Any]", timeout_s: float) -> None:
        """Return when `done` is, after so many seconds, or at the end; `done` goes on, whoever stops waiting."""
        if self.over or done.done():
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake(_: object = None) -> None:
            if not waiter.done():
                waiter.set_result(None)

        timer = loop.call_later(timeout_s, wake)
        done.add_done_callback(wake)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            done.remove_done_callback(wake)
            self._waiters.discard(waiter)

    def end(self) -> None:
        """Let nobody wait any more."""
        self.over = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
