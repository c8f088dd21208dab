"""A control plane that has inherited peculiar things; prints what a child is that it starts, and one that is forked.

python -m tests.worker_runtime.comparing FOLDER
"""

import asyncio
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from tests.worker_runtime.forked_plane import ForkedPlane, fork_server
from tests.worker_runtime.scripted_plane import Plane, by_name

STATE_CODE = Path(__file__).with_name("state_code.py")


def of_state(name: str) -> tuple[str, bytes]:
    """A function of `state_code.py`."""
    return by_name(f"state_code:{name}", more={"state_code.py": STATE_CODE.read_bytes()})


def become_peculiar() -> None:
    """What a shell, a service manager or `nohup` may have set for all that is started from here."""
    os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, 600))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for ignored in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)


async def states(folder: Path) -> list[Any]:
    """What both say of themselves: the started one, the forked one."""
    async with asyncio.timeout(60):
        async with Plane(folder) as plane:
            started = await plane.call(of_state("state"))
            await plane.send({"type": "drain"})
            await plane.process.wait()
        async with fork_server(folder) as server, ForkedPlane(folder, server=server) as plane:
            forked = await plane.call(of_state("state"))
            await plane.send({"type": "drain"})
            await plane.process.wait()
    return [started, forked]


if __name__ == "__main__":
    become_peculiar()
    print(json.dumps(asyncio.run(states(Path(sys.argv[1]))), default=str))
