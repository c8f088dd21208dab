"""Commits in groups: what was asked for within one turn of the loop is written together, and told together.

    write(a) ─┐
    write(b) ─┼─ the loop has run all that was ready ─ BEGIN … COMMIT ─ all three hear of it
    write(c) ─┘

A timer instead would cost every lone write its window.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

from runpod_flash.control_plane.database import StoreError

logger = logging.getLogger(__name__)

Statement = tuple[str, Sequence[Any]]

Heard = Callable[[StoreError | None], None]
"""Is called after the commit: with None, or with why nothing of the group was written."""


class Saved(Protocol):
    """A write that is under way. It can be awaited: that raises StoreError or StoreFull where it was refused."""

    def __await__(self) -> Generator[Any, None, None]: ...

    def then(self, heard: Heard, /) -> None:
        """Be called when it is over; at once where it is."""


class Written:
    """A group's commit, as all who wait for it share it. A waiter that is cancelled takes nobody along.

    Attributes:
        error: why it was refused, once it is over.
    """

    __slots__ = ("_heard", "_over", "error")

    def __init__(self) -> None:
        self._heard: list[Heard] = []
        self._over = False
        self.error: StoreError | None = None

    @classmethod
    def at_once(cls, error: StoreError | None = None) -> "Written":
        """One that is over."""
        written = cls()
        written.resolve(error)
        return written

    def then(self, heard: Heard) -> None:
        """Be called when it is over; at once where it is."""
        if self._over:
            heard(self.error)
        else:
            self._heard.append(heard)

    def resolve(self, error: StoreError | None) -> None:
        """It is over."""
        self._over, self.error = True, error
        heard, self._heard = self._heard, []
        for each in heard:
            try:
                each(error)
            except Exception:  # a fault of one that is told; the others must hear it all the same
                logger.exception("somebody could not be told that the database has been written")

    def __await__(self) -> Generator[Any, None, None]:
        if not self._over:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._heard.append(lambda error: None if waiter.done() else waiter.set_result(None))
            yield from waiter
        if self.error is not None:
            raise self.error


class Group:
    """What the next commit writes: statements, each with the future of its row count, and who hears of it."""

    __slots__ = ("statements", "written")

    def __init__(self) -> None:
        self.statements: list[tuple[Sequence[Statement], asyncio.Future[int]]] = []
        self.written = Written()

    def add(self, statements: Sequence[Statement]) -> "asyncio.Future[int]":
        """Write these, too; resolves with the number of rows of the last one."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_retrieve)  # so that asyncio does not complain of a failure that nobody awaits
        self.statements.append((statements, future))
        return future

    def committed(self, counts: Sequence[int]) -> None:
        """Tell everybody. `counts`: the rows of each, in the order in which they were added."""
        for (_, future), count in zip(self.statements, counts, strict=True):
            if not future.done():  # the one who waited may have been cancelled
                future.set_result(count)
        self.written.resolve(None)

    def refused(self, error: StoreError) -> None:
        """Tell everybody that nothing was written."""
        for _, future in self.statements:
            if not future.done():
                future.set_exception(error)
        self.written.resolve(error)


def _retrieve(future: "asyncio.Future[int]") -> None:
    if not future.cancelled():
        future.exception()
