"""A control plane whose workers never start and whose waits are short: `python -m tests.schemathesis.idle_plane FILE`.

At its end it writes into FILE how many answers of each status it gave, as JSON.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runpod_flash.control_plane import server
from runpod_flash.control_plane.__main__ import main
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.platform_core import PlatformCore
from runpod_flash.control_plane.records import JobRecord
from tests.support.place import Place
from tests.support.plane_api import plane_record
from tests.support.waiting import wait_until
from worker_runtime.wire.specs import WorkerLaunch

WAIT_S = 0.02
NO_PROCESS = 2**22 + 1  # above the highest id that Linux gives


class IdleProcess:
    """Something that was started and does nothing. It ends when it is asked to."""

    pid = NO_PROCESS

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def terminate(self) -> None:
        self._ended.set()

    kill = terminate


class IdleLauncher:
    """Starts no process, whatever the command."""

    async def start(self, launch: WorkerLaunch) -> IdleProcess:
        return IdleProcess()


def shorten_waits() -> None:
    """Let what waits for a job's end, and streams of events, come back soon."""
    wait, stream = PlatformCore.wait, EventHub.stream

    async def short_wait(self: PlatformCore, job_id: str, timeout_s: float) -> JobRecord:
        return await wait(self, job_id, min(timeout_s, WAIT_S))

    async def short_stream(self: EventHub, client: str) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(stream(self, client)) as lines:  # type: ignore[type-var]
            async for line in lines:
                yield line
                return

    PlatformCore.wait = short_wait  # type: ignore[method-assign]
    EventHub.stream = short_stream  # type: ignore[method-assign]


class Counted:
    """An application that counts its answers by status."""

    def __init__(self, app: ASGIApp, counts: Counter[int]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)


def count_answers(counts: Counter[int]) -> None:
    """Let the application that is served be one that counts."""
    build = server.build_app
    server.build_app = lambda services: Counted(build(services), counts)  # type: ignore[assignment, return-value]


@contextlib.contextmanager
def running(place: Place, counts: Path) -> Iterator[None]:
    """Such a control plane in this place; drained and ended at the end, when `counts` is there."""
    with (place.project / "plane.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.schemathesis.idle_plane", str(counts)],
            env=place.env({"FLASH_IDLE_EXIT_S": "0", "FLASH_DRAIN_S": "1"}),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place.project,
        )  # fmt: skip
    with process:
        try:
            wait_until(lambda: _serves(place), 30, "the idle control plane serves")
            yield
            process.terminate()
            assert process.wait(40) == 0
        finally:
            process.kill()


def _serves(place: Place) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return bool(plane_record(place)["state"] == "serving")
    return False


if __name__ == "__main__":
    answers: Counter[int] = Counter()
    server.ProcessLauncher = IdleLauncher  # type: ignore[assignment, misc]
    shorten_waits()
    count_answers(answers)
    status = main()
    Path(sys.argv[1]).write_text(json.dumps(answers))
    sys.exit(status)
