"""The one bridge from blocking code to the async core: a daemon thread with an event loop, started on first use."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

from runpod_flash.errors import BackendUnavailable, CallError

T = TypeVar("T")

_CLOSE_S = 1.0


class Running(Generic[T]):
    """A coroutine that runs on the bridge."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._end: concurrent.futures.Future[T] = concurrent.futures.Future()

    def start(self) -> None:
        """Let it run."""
        self._loop.call_soon_threadsafe(self._begin)

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._end.done()

    def result(self, timeout: float | None = None) -> T:
        """Block until it has ended; its value or its exception.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds, and goes on.
            concurrent.futures.CancelledError: it was cancelled.
        """
        return self._end.result(timeout)

    def value(self) -> T:
        """`result`, for a caller who cannot have cancelled it.

        Raises:
            BackendUnavailable: it was cancelled all the same, since the program is ending.
        """
        try:
            return self.result()
        except concurrent.futures.CancelledError:
            raise BackendUnavailable("the program is ending, so nobody waits for this call any more") from None

    def wait(self, timeout: float) -> bool:
        """Block until it has ended or `timeout` seconds have passed; whether it has ended."""
        return bool(concurrent.futures.wait([self._end], timeout).done)

    def cancel(self) -> None:
        """Cancel it; it may take its time to end. One that was not started never will be."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self) -> None:
        if not self.ended:
            self._task = self._loop.create_task(self._coroutine)
            self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif not self.ended:
            self._coroutine.close()
            self._was_cancelled()

    def _was_cancelled(self) -> None:
        self._end.cancel()
        self._end.set_running_or_notify_cancel()

    def _finish(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self._was_cancelled()
            return
        error = task.exception()
        if error is not None:
            self._end.set_exception(error)
        else:
            self._end.set_result(task.result())


class Bridge:
    """Runs coroutines for code that has no event loop, on one thread; a forked child gets its own."""

    def __init__(self) -> None:
        self._renew()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine and block for its result; after `timeout` seconds it is cancelled and TimeoutError raised."""
        running = self.start(coroutine)
        try:
            return running.result(timeout)
        except BaseException:
            running.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Running[T]:
        """Run a coroutine in the background. Raises CallError as `prepare`."""
        running = self.prepare(coroutine)
        running.start()
        return running

    def prepare(self, coroutine: Coroutine[Any, Any, T]) -> Running[T]:
        """Get ready to run a coroutine, whose `Running` the caller then has before anything happens.

        Raises:
            CallError: this is the bridge's own thread, which would wait for itself.
        """
        if self._thread is threading.current_thread():
            coroutine.close()
            raise CallError(
                "a blocking call inside an async function on the same thread would wait for itself; use await"
            )
        return Running(self._running_loop(), coroutine)

    @property
    def alive(self) -> bool:
        """Whether the thread runs, in this process."""
        return self._owner == os.getpid() and self._thread is not None and self._thread.is_alive()

    def close(self) -> None:
        """Cancel what runs, end the loop and the thread; waits about a second at most."""
        if not self.alive or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSE_S)
        self._renew()

    def _renew(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._owner != os.getpid():
            self._renew()  # a fork: the thread stayed behind, and the lock may have been held
        with self._lock:
            if not self.alive:
                ready = threading.Event()
                self._thread = threading.Thread(target=self._serve, args=(ready,), name="runpod-flash", daemon=True)
                self._thread.start()
                ready.wait()
        return self._loop

    def _serve(self, ready: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self._stop.wait()

        asyncio.run(main())  # cancels what still runs and waits for it
