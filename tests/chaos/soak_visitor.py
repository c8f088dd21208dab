"""A client program of the soak that comes and goes: `python -m tests.chaos.soak_visitor REVISION`.

Each one deploys the same endpoint with other code, every fourth with another environment and every fifth with another
local module, too: soak_module, which lies in its working directory. It makes a few calls, checks their values, says
"stays" and makes one more call that takes a while, during which it may be killed.
"""

import asyncio
import os
import sys
import time
from typing import Any

import soak_module  # type: ignore[import-not-found]

from runpod_flash import Endpoint

REVISION = int(sys.argv[1])
MODULE = soak_module.REVISION
CALLS = 5
STAY_S = 1.0

redeployed = Endpoint(
    "soak-redeployed", cpu="cpu3c-1-2", workers=(1, 1), idle_timeout=1, env={"EPOCH": str(REVISION // 4)}
)


@redeployed
def revision(number: int) -> tuple[int, str, int, int]:
    """Which code runs where."""
    return REVISION, os.environ["EPOCH"], soak_module.REVISION, number


@redeployed
def stay(seconds: float) -> int:
    """A call that takes a while."""
    time.sleep(seconds)
    return REVISION


class Note:
    """An object that is still there when its program ends, or is killed."""

    def __init__(self, text: str) -> None:
        self.text = text * 10_000

    def length(self) -> int:
        """A value to check."""
        return len(self.text)


RemoteNote = redeployed(Note)


async def main() -> None:
    """Make the calls."""
    for number in range(CALLS):
        found = await revision(number)
        assert found == (REVISION, str(REVISION // 4), MODULE, number), f"revision {REVISION}: {found}"
    note: Any = RemoteNote("note")
    assert await note.length() == 40_000
    print("stays", flush=True)
    assert await stay(STAY_S) == REVISION


if __name__ == "__main__":
    asyncio.run(main())
