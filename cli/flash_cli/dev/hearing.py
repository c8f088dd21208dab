"""The target's event stream for what this server's requests do; tells, too, when the target goes away and is back."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from flash_cli.dev.upstream import FAULTS, Request, Upstream
from runpod_flash.backends.events import Lines
from runpod_flash.errors import FlashError

_SILENCE_S: Final = 45.0  # the target sends a beat every 15 s
_PAUSE_S: Final = (0.1, 2.0)


class Listener(Protocol):
    """Who is told."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """An event has come."""

    def lost(self, why: str) -> None:
        """The target has gone away, or is not there yet; said once for each time."""

    def back(self) -> None:
        """It is there again. Events may have been missed."""


class Hearing:
    """Listens for one client id, for ever."""

    def __init__(self, upstream: Upstream, client: str, listener: Listener) -> None:
        self._upstream, self._client, self._listener = upstream, client, listener
        self._away = False
        self.up = asyncio.Event()

    async def listen(self) -> None:
        """Read events until cancelled; a stream that ends is opened again."""
        pause = _PAUSE_S[0]
        while True:
            try:
                await self._read()
                why, pause = "it has ended its event stream", _PAUSE_S[0]
            except TimeoutError:
                why = f"nothing was heard of it for {_SILENCE_S:g} s"
            except (FlashError, *FAULTS) as error:
                why = str(error) or type(error).__name__
            if self.up.is_set():
                pause = _PAUSE_S[0]
            self.up.clear()
            if not self._away:
                self._away = True
                self._listener.lost(why)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_S[1])

    async def _read(self) -> None:
        lines = Lines()
        asked = Request("GET", f"/flash/v1/events?client={self._client}")
        async with asyncio.timeout(_SILENCE_S) as limit, self._upstream.request(asked) as answer:
            if answer.status != 200:
                text = (await answer.content.read(400)).decode(errors="replace")
                raise OSError(f"it answers {answer.status}: {text}")
            async for part in answer.content.iter_any():
                limit.reschedule(asyncio.get_running_loop().time() + _SILENCE_S)
                for event in lines.feed(part):
                    self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        if event.get("event") != "hello":
            self._listener.hear(event)
            return
        self.up.set()
        if self._away:
            self._away = False
            self._listener.back()
