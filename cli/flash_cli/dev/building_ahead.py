"""Builds with an interpreter that waits for the next edit, so that an edit costs the project's own imports alone."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from flash_cli import building
from flash_cli.building import BuildOptions, Built
from flash_cli.discovery import Interpreter

_QUIET_S: Final = 1.0  # after a build, workers start: they go first


class BuildingAhead:
    """Builds one project again and again."""

    def __init__(self, folder: Path, options: BuildOptions) -> None:
        self._folder, self._options = folder, options
        self._next: asyncio.Task[Interpreter] | None = None

    async def build(self, known: Built | None) -> Built:
        """See `building.build`."""
        try:
            return await building.build(self._folder, self._options, known, await self._ready())
        finally:
            self._next = asyncio.create_task(self._start(), name="dev-next-interpreter")

    async def close(self) -> None:
        """End the interpreter that waits."""
        ahead, self._next = self._next, None
        if ahead is not None:
            ahead.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await (await ahead).close()

    async def _ready(self) -> Interpreter | None:
        """The interpreter that waits; None where none has been started yet."""
        ahead, self._next = self._next, None
        if ahead is None:
            return None
        if not ahead.done():
            ahead.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            return await ahead
        return None

    async def _start(self) -> Interpreter:
        await asyncio.sleep(_QUIET_S)
        return await Interpreter.start(self._folder)
