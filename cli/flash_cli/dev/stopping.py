"""What ends a session: Ctrl-C, SIGTERM, a closed terminal."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stops:
    """Signals that have come. The first one asks for the end; Ctrl-C after it does not wait for a farewell."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insisted = asyncio.Event()
        self._first = 0

    @property
    def exit_status(self) -> int:
        """0 after Ctrl-C, else what shells make of the signal."""
        return 0 if self._first in (0, signal.SIGINT) else 128 + self._first

    @contextlib.contextmanager
    def heard(self) -> Iterator["Stops"]:
        """While inside, signals come here."""
        loop = asyncio.get_running_loop()
        detached = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # by nohup: a closed terminal is no reason
        numbers = [number for number in _SIGNALS if not (detached and number == signal.SIGHUP)]
        for number in numbers:
            loop.add_signal_handler(number, self._hear, number)
        try:
            yield self
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _hear(self, number: int) -> None:
        if self.asked.is_set() and number == signal.SIGINT:
            self.insisted.set()
        self._first = self._first or number
        self.asked.set()
