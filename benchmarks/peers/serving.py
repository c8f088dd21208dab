"""The side of the program that makes the calls: reads what is asked, does it on its event loop, writes the answer."""

import asyncio
import json
import sys
import traceback
from pathlib import Path
from typing import Any

ANSWER = "ANSWER "


async def serve(peer: Any) -> None:
    """Answer until nothing more is asked. Each method of the peer is something that can be asked."""
    _say(value=None)
    while line := await asyncio.to_thread(sys.stdin.readline):
        asked = json.loads(line)
        try:
            _say(value=await getattr(peer, asked["what"])(**asked["given"]))
        except Exception as error:  # noqa: BLE001 whatever a peer raises is told, and the row ends
            traceback.print_exc()
            _say(error=f"{type(error).__name__}: {error}"[:600])


def _say(**answer: Any) -> None:
    print(ANSWER + json.dumps(answer), flush=True)


def memory_begins() -> float:
    """Let the highest memory count from now on; the resident megabytes of this process."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def memory_peak() -> float:
    """The most resident megabytes since then."""
    return _status("VmHWM")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(name)
