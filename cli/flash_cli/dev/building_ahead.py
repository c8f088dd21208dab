"""Builds with an interpreter that waits for the next edit, so that an edit costs the project's own imports alone."""

import asyncio
from pathlib import Path
from typing import Final

from flash_cli.builds import building
from flash_cli.builds.building import BuildOptions, Built
from flash_cli.builds.discovery import Interpreter

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
        ready = await self._ready()
        if ready is not None:
            await ready.close()

    async def _ready(self) -> Interpreter | None:
        """The interpreter that waits; None where none has been started yet, or it could not be."""
        ahead, self._next = self._next, None
        if ahead is None:
            return None
        ahead.cancel()  # one that is there stays
        await asyncio.wait([ahead])
        return None if ahead.cancelled() or ahead.exception() is not None else ahead.result()

    async def _start(self) -> Interpreter:
        await asyncio.sleep(_QUIET_S)
        return await Interpreter.start(self._folder)
