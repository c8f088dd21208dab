"""Objects of remote classes that live on this worker between calls."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

LIMIT = 100
"""How many instances of callers one worker holds at most."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The object of an artifact's class that plain calls share. No caller can name it, and the limit is not for it."""

    artifact: str


Name = str | Shared
"""What an instance is known by: the id that its caller gave it, or that nobody has given it."""


class TooManyInstances(RuntimeError):
    """The worker holds as many instances as it may."""


@dataclass(slots=True)
class _Entry:
    """An instance, or its construction that goes on in `thread`."""

    object: "Future[Any]" = field(default_factory=Future)
    thread: int = field(default_factory=threading.get_ident)


class Instances:
    """Instances by id. Each is constructed once, by its first call; others that come meanwhile wait for that."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._entries: dict[Name, _Entry] = {}
        self._lock = threading.Lock()

    def get(self, instance: Name, construct: Callable[[], Any]) -> Any:
        """The instance, constructed in this thread where it does not exist.

        Raises:
            TooManyInstances: it would be one too many.
            BaseException: what `construct` raised; waiting calls get the same, a later call tries again.
        """
        entry, mine = self._claim(instance)
        return self._construct(instance, entry, construct) if mine else entry.object.result()

    async def get_async(self, instance: Name, construct: Callable[[], Any]) -> Any:
        """As `get`, but waits for a construction in another thread without blocking the loop."""
        entry, mine = self._claim(instance)
        if mine:
            return self._construct(instance, entry, construct)
        return await asyncio.wrap_future(entry.object) if not entry.object.done() else entry.object.result()

    def remove(self, instance: Name) -> list[Any]:
        """Forget an instance; gives it (or nothing) to be closed."""
        with self._lock:
            entry = self._entries.pop(instance, None)
        return [entry.object.result()] if entry is not None and _finished(entry) else []

    def remove_all(self) -> list[Any]:
        """Forget all instances; gives them to be closed."""
        with self._lock:
            entries, self._entries = self._entries, {}
        return [entry.object.result() for entry in entries.values() if _finished(entry)]

    @property
    def _count(self) -> int:
        return sum(isinstance(name, str) for name in self._entries)

    def _claim(self, instance: Name) -> tuple[_Entry, bool]:
        with self._lock:
            entry = self._entries.get(instance)
            # A construction that an interrupt ended before it could say so: its own thread would wait for itself.
            stale = entry is not None and not entry.object.done() and entry.thread == threading.get_ident()
            if entry is not None and not stale:
                return entry, False
            if entry is None and isinstance(instance, str) and self._count >= self._limit:
                raise TooManyInstances(
                    f"this worker already holds {self._limit} instances, which is its limit; close some of them, "
                    "or keep many small objects inside one instance"
                )
            self._entries[instance] = entry = _Entry()
            return entry, True

    def _construct(self, instance: Name, entry: _Entry, construct: Callable[[], Any]) -> Any:
        try:
            made = construct()
        except BaseException as error:
            with self._lock:
                if self._entries.get(instance) is entry:
                    del self._entries[instance]
            entry.object.set_exception(error)
            raise
        entry.object.set_result(made)
        return made


def close(instance: Any) -> Any:
    """Call the instance's own way to close, if it has one: close, aclose, __exit__, __aexit__, the first of them.

    Gives what the call gave, which is a coroutine for the asynchronous ones. Raises what the call raises.
    """
    kind = type(instance)
    for name in ("close", "aclose"):
        if callable(getattr(kind, name, None)):
            return getattr(instance, name)()
    for name in ("__exit__", "__aexit__"):
        if callable(getattr(kind, name, None)):
            return getattr(kind, name)(instance, None, None, None)
    return None


def _finished(entry: _Entry) -> bool:
    return entry.object.done() and entry.object.exception() is None
