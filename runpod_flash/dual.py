"""One method for blocking code and for code with an event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
V = TypeVar("V")


class Dual(Generic[P, V]):
    """A method for both worlds: calling it where an event loop runs in this thread gives a coroutine, elsewhere blocks.

    `method.blocking(…)` and `method.aio(…)` say which one is meant.
    """

    def __init__(self, make: Callable[P, Coroutine[Any, Any, V]], run: Callable[[Coroutine[Any, Any, V]], V]) -> None:
        self._make, self._run = make, run

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The value, or where an event loop runs in this thread, a coroutine that gives it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.blocking(*args, **kwargs)
        return self.aio(*args, **kwargs)

    def blocking(self, *args: P.args, **kwargs: P.kwargs) -> V:
        """Block until the value is there."""
        return self._run(self._make(*args, **kwargs))

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, V]:
        """A coroutine that gives the value."""
        return self._make(*args, **kwargs)
