"""The parent's view of a loan: which calls of the client it knows of, and whose lines it reads meanwhile."""

import asyncio
from collections.abc import Callable
from typing import Final

from worker_runtime.wire.frames import Header

_HELD_S: Final = 0.1  # calls of which nothing is heard for so long have not written what was read

Log = Callable[[str | None, str, list[str]], None]
"""Takes (job or None, stream, lines)."""


class Lending:
    """Holds lines back whose call is not known yet, while the child is lent. `log` gets them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._settled = 0  # the number of the last call that has ended
        self._loan: str | None = None
        self._held: list[tuple[str, list[str]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def lent(self, loan: str) -> None:
        """The child is lent from now on; the calls' numbers begin anew."""
        self._loan, self._settled = loan, 0

    def over(self, loan: str) -> None:
        """This loan is over."""
        if loan == self._loan:
            self._loan = None
            self.release(None)

    def recorded(self, header: Header) -> list[str]:
        """Calls were answered; gives the keys of their frames' entries."""
        for number, *_ in header["calls"]:
            self._settled = max(self._settled, number)
        return [key for _, key, *_ in header["calls"]]

    def ended(self, number: int) -> None:
        """A call has ended."""
        self._settled = max(self._settled, number)

    def runs(self, loan: str, number: int) -> bool:
        """Whether a call of which the control plane has heard runs still."""
        return loan == self._loan and number > self._settled

    def hold(self, stream: str, lines: list[str]) -> bool:
        """Lines of no known call were read; whether they are kept until it is known."""
        if self._loan is None:
            return False
        self._held.append((stream, lines))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_HELD_S, self.release, None)
        return True

    def release(self, job: str | None) -> None:
        """They belong to this job; None: to none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, []
        for stream, lines in held:
            self._log(job, stream, lines)
