"""Marks at the borders that a call crosses: `make profile` listens to them (`tracing`), else nobody does.

Without a listener a mark is one comparison, and this module loads nothing.
"""

from collections.abc import Callable

BORDERS = (
    "CALLED", "SUBMITTED", "ARRIVED", "COMMITTED", "GIVEN", "PARENT_GOT", "PARENT_PASSED", "CHILD_GOT", "BEGUN",
    "ENDED", "CHILD_TOLD", "PARENT_HEARD", "PARENT_TOLD", "HEARD", "END_COMMITTED", "TOLD", "CLIENT_HEARD", "VALUE",
)  # fmt: skip
"""What a call crosses, in the order in which it does; a border is its place here."""

(
    CALLED, SUBMITTED, ARRIVED, COMMITTED, GIVEN, PARENT_GOT, PARENT_PASSED, CHILD_GOT, BEGUN,
    ENDED, CHILD_TOLD, PARENT_HEARD, PARENT_TOLD, HEARD, END_COMMITTED, TOLD, CLIENT_HEARD, VALUE,
) = range(len(BORDERS))  # fmt: skip

# One for each process, as its clock is: what crosses a border knows of neither settings nor listeners.
_listeners: list[Callable[[int], None]] = []


def mark(border: int) -> None:
    """A call crosses this border now."""
    if _listeners:
        _listeners[0](border)


def is_heard() -> bool:
    """Whether somebody is told of the marks of this process."""
    return bool(_listeners)


def tell(listener: Callable[[int], None] | None) -> None:
    """Who is told of each mark of this process; None: nobody."""
    _listeners[:] = [] if listener is None else [listener]
