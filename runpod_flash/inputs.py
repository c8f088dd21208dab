"""Where the inputs of a `map` come from: plain and async iterables, pulled one at a time, when there is room.

Plain iterables of blocking code are pulled on a thread of their own: neither a slow one nor one that makes blocking
calls itself holds up results that are there.
"""

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from runpod_flash.errors import CallError

END: Final = object()
"""What a source gives when there is nothing more."""

_AT_HAND = (list, tuple, range, dict, set, frozenset, str, bytes)  # pulling from these runs no code of the user's


@dataclass(frozen=True, slots=True)
class Raised:
    """What a source gives when its iterable raised."""

    error: BaseException


class Source(Protocol):
    """One iterable. The coroutine of `next` belongs to one event loop."""

    async def next(self) -> Any:
        """The next item, `END` or `Raised`."""

    def stop(self) -> None:
        """Nothing will be asked for any more."""


Open = Callable[[bool], Source]
"""Makes the source of an iterable; the argument says whether blocking code reads the results."""


def opener(iterable: Any, form: str) -> Open:
    """Check an iterable that was given to `form` ("f.map"). Nothing is pulled yet.

    Raises:
        CallError: it is no iterable.
    """
    if hasattr(type(iterable), "__aiter__"):
        from_async: AsyncIterator[Any] = aiter(iterable)
        return lambda blocking: _Async(from_async)
    try:
        plain: Iterator[Any] = iter(iterable)
    except TypeError:
        shown = f"{iterable!r:.80}"
        raise CallError(
            f"{form}() was given {shown}, of type {type(iterable).__name__}; it must be an iterable of inputs, plain "
            "or async; nothing was sent"
        ) from None
    at_hand = isinstance(iterable, _AT_HAND)
    return lambda blocking: _Aside(plain) if blocking and not at_hand else _Here(plain)


class Together:
    """Several sources side by side, as `zip` has them: gives tuples, and ends with the first that ends."""

    def __init__(self, sources: list[Source]) -> None:
        self._sources = sources

    async def next(self) -> Any:
        """The next tuple, `END` or `Raised`."""
        items = []
        for source in self._sources:
            item = await source.next()
            if item is END or isinstance(item, Raised):
                return item
            items.append(item)
        return tuple(items)

    def stop(self) -> None:
        """Nothing will be asked for any more."""
        for source in self._sources:
            source.stop()


class _Async:
    def __init__(self, iterator: AsyncIterator[Any]) -> None:
        self._iterator = iterator

    async def next(self) -> Any:
        try:
            return await anext(self._iterator, END)
        except Exception as error:  # noqa: BLE001 - the user's iterable may raise anything
            return Raised(error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return Raised(error)  # not we are cancelled, but something that the iterable awaits

    def stop(self) -> None: ...


class _Here:
    """A plain iterable that is pulled on the event loop."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator

    async def next(self) -> Any:
        await asyncio.sleep(0)  # a long one leaves others their turn
        try:
            return next(self._iterator, END)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the user's iterable may raise anything
            return Raised(error)

    def stop(self) -> None: ...


class _Aside:
    """A plain iterable that is pulled on a daemon thread, which ends when it is stopped."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._context = contextvars.copy_context()
        self._wanted: queue.SimpleQueue[asyncio.Future[Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def next(self) -> Any:
        if self._thread is None:
            serve = self._context.run
            self._thread = threading.Thread(target=serve, args=(self._serve,), name="runpod-flash-inputs", daemon=True)
            self._thread.start()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._wanted.put(future)
        return await future

    def stop(self) -> None:
        self._wanted.put(None)

    def _serve(self) -> None:
        while (future := self._wanted.get()) is not None:
            try:
                item = next(self._iterator, END)
            except BaseException as error:  # noqa: BLE001 - it is raised where the results are read
                item = Raised(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(_give, future, item)
            del item, future


def _give(future: "asyncio.Future[Any]", item: Any) -> None:
    if not future.done():
        future.set_result(item)
