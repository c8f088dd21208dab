"""Tells when files of the project change: at once, by the system's own events, else by looking now and then."""

import asyncio
import contextlib
from collections.abc import Callable, Set
from pathlib import Path
from typing import Final

import watchfiles
from watchfiles import Change

_DEBOUNCE_MS: Final = 50
_STEP_MS: Final = 10
_LOOK_S: Final = 0.5  # where the system tells nothing


async def watch(project: Path, matters: Callable[[Path], bool], noticed: Callable[[], None]) -> None:
    """Call `noticed` after each change of a file that `matters`, until cancelled.

    Where the system cannot watch so many folders, `noticed` is called now and then: whoever hears it looks.
    """

    def relevant(change: Change, path: str) -> bool:
        return matters(Path(path))

    try:
        watching = watchfiles.awatch(project, watch_filter=relevant, debounce=_DEBOUNCE_MS, step=_STEP_MS)
        async with contextlib.aclosing(watching) as changes:
            async for found in changes:
                _tell(found, noticed)
    except OSError:  # the limit of watches, or a file system that tells nothing
        while True:
            await asyncio.sleep(_LOOK_S)
            noticed()


def _tell(found: Set[tuple[Change, str]], noticed: Callable[[], None]) -> None:
    if found:
        noticed()
