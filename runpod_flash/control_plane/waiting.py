"""Requests that wait for something: a timer each, and nothing to do for them until they are woken or it is due."""

import asyncio
from collections.abc import Callable
from typing import Any


class Waiter:
    """One who waits. It hears once that this is over, for whatever reason."""

    __slots__ = ("_everybody", "_heard", "_timer")

    def __init__(self, everybody: "set[Waiter]", timeout_s: float, heard: Callable[[], None]) -> None:
        """Use `Waiting.wait`."""
        self._everybody = everybody
        self._heard: Callable[[], None] | None = heard
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self.wake)
        everybody.add(self)

    def wake(self) -> None:
        """What was waited for is there."""
        heard = self._heard
        if heard is not None:
            self.leave()
            heard()

    def leave(self) -> None:
        """Wait no more, and hear nothing."""
        self._heard = None
        self._timer.cancel()
        self._everybody.discard(self)


class Waiting:
    """Those who wait. `over`: nothing is waited for any more."""

    def __init__(self) -> None:
        self._waiters: set[Waiter] = set()
        self.over = False

    def wait(self, timeout_s: float, heard: Callable[[], None]) -> Waiter:
        """Call `heard` when the waiter is woken, after so many seconds, or at the end."""
        return Waiter(self._waiters, timeout_s, heard)

    async def until(self, done: "asyncio.Future[Any]", timeout_s: float) -> None:
        """Return when `done` is, after so many seconds, or at the end; `done` goes on, whoever stops waiting."""
        if self.over or done.done():
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = self.wait(timeout_s, lambda: None if over.done() else over.set_result(None))

        def wake(_: object) -> None:
            waiter.wake()

        done.add_done_callback(wake)
        try:
            await over
        finally:
            waiter.leave()
            done.remove_done_callback(wake)

    def end(self) -> None:
        """Let nobody wait any more."""
        self.over = True
        for waiter in list(self._waiters):
            waiter.wake()
