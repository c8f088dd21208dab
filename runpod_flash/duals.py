"""Methods and iterators for both worlds: async code awaits them, blocking code calls them. Light to import."""

import functools
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")


class Runner(Protocol):
    """Lets blocking code run coroutines: a session."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it to its end and give its value."""
        ...


class OfSession(Protocol):
    """Something whose requests go through a session."""

    @property
    def _session(self) -> Runner: ...


S = TypeVar("S", bound=OfSession)


class Dual(Generic[P, V]):
    """A method for both worlds: calling it where an event loop runs in this thread gives a coroutine, elsewhere blocks.

    `method.blocking(…)` and `method.aio(…)` say which one is meant.
    """

    def __init__(self, make: Callable[P, Coroutine[Any, Any, V]], run: Callable[[Coroutine[Any, Any, V]], V]) -> None:
        self._make, self._run = make, run

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The value, or where an event loop runs in this thread, a coroutine that gives it."""
        return self.aio(*args, **kwargs) if loop_runs() else self.blocking(*args, **kwargs)

    def blocking(self, *args: P.args, **kwargs: P.kwargs) -> V:
        """Block until the value is there."""
        return self._run(self._make(*args, **kwargs))

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, V]:
        """A coroutine that gives the value."""
        return self._make(*args, **kwargs)


class dual(Generic[S, P, V]):
    """Makes an async method of something with a session a `Dual`."""

    def __init__(self, method: Callable[Concatenate[S, P], Coroutine[Any, Any, V]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, owner: None, kind: Any) -> "dual[S, P, V]": ...
    @overload
    def __get__(self, owner: S, kind: Any) -> Dual[P, V]: ...
    def __get__(self, owner: S | None, kind: Any) -> "dual[S, P, V] | Dual[P, V]":
        if owner is None:
            return self
        return Dual(functools.partial(self._method, owner), owner._session.run)


class DualIterator(Generic[V]):
    """Items that come one after another: `async for` in async code, a plain `for` in blocking code. Goes once."""

    def __init__(self, items: AsyncIterator[V], session: Runner) -> None:
        self._items, self._session = items, session

    def __aiter__(self) -> AsyncIterator[V]:
        return self._items

    def __iter__(self) -> Iterator[V]:
        """Blocks for each item. Raises CallError inside an async function on the session's own thread."""
        return self._blocking()

    async def aclose(self) -> None:
        """End early."""
        closing = getattr(self._items, "aclose", None)
        if closing is not None:
            await closing()

    def _blocking(self) -> Iterator[V]:
        nothing: Any = object()
        try:
            while (item := self._session.run(self._next(nothing))) is not nothing:
                yield item
        finally:
            self._session.run(self.aclose())

    async def _next(self, nothing: Any) -> Any:
        return await anext(self._items, nothing)


def loop_runs() -> bool:
    """Whether an event loop runs in this thread."""
    asyncio = sys.modules.get("asyncio")  # who has not loaded it, runs none
    return asyncio is not None and asyncio._get_running_loop() is not None
