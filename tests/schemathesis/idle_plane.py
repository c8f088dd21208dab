"""A control plane without workers and with short waits: `python -m tests.schemathesis.idle_plane FOLDER`.

FOLDER/workers has what each worker that it would have started needs to know, a JSON object a line. At its end it writes
FOLDER/summary.json: how many answers of each status it gave, and which routes it served.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runpod_flash.control_plane import server
from runpod_flash.control_plane.__main__ import main
from runpod_flash.control_plane.api.app import Services
from runpod_flash.control_plane.api.openapi.document import routes_of
from runpod_flash.control_plane.events import EventHub
from runpod_flash.control_plane.platform import Sees
from runpod_flash.control_plane.platform_core import PlatformCore
from runpod_flash.control_plane.prompt_intake import Begun
from runpod_flash.control_plane.records import JobRecord
from runpod_flash.control_plane.store import StoreError
from runpod_flash.control_plane.webhook_sender import WebhookSender
from tests.support.place import Place
from tests.support.plane_api import plane_record
from tests.support.waiting import wait_until
from worker_runtime.wire.specs import WorkerLaunch

WAIT_S = 0.02
WAITS = ("FLASH_TAKE_HOLD_S", "FLASH_STREAM_HOLD_S", "FLASH_BALANCED_WAIT_S", "FLASH_AFFINITY_WAIT_S")
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
        told = {name: launch.env[name] for name in ("RUNPOD_AI_API_KEY",) if name in launch.env}
        with WORKERS.open("a") as file:
            file.write(json.dumps({"endpoint": launch.endpoint, "worker": launch.worker, **told}) + "\n")
        return IdleProcess()


def shorten_waits() -> None:
    """Let what waits for a job come back soon, and let a stream of events end with its first one."""
    wait, chunks, items, events = PlatformCore.wait, PlatformCore.stream, PlatformCore.items, EventHub.stream

    async def short_wait(self: PlatformCore, job_id: str, timeout_s: float) -> JobRecord:
        return await wait(self, job_id, min(timeout_s, WAIT_S))

    async def short_chunks(self: PlatformCore, endpoint: str, job_id: str, hold_s: float) -> Any:
        return await chunks(self, endpoint, job_id, min(hold_s, WAIT_S))

    async def short_items(self: PlatformCore, job_id: str, after: int, hold_s: float, sees: Sees) -> Any:
        return await items(self, job_id, after, min(hold_s, WAIT_S), sees)

    async def first_event(self: EventHub, client: str, *, framed: bool = False) -> AsyncIterator[bytes]:
        async with contextlib.aclosing(events(self, client, framed=framed)) as lines:  # type: ignore[type-var]
            async for line in lines:
                yield line
                return

    def soon_ended(
        self: PlatformCore, begun: Begun, timeout_s: float, heard: Callable[[StoreError | None], None]
    ) -> None:
        when_ended(self, begun, min(timeout_s, WAIT_S), heard)

    when_ended = PlatformCore.when_ended
    PlatformCore.when_ended = soon_ended  # type: ignore[method-assign]
    PlatformCore.wait, PlatformCore.stream = short_wait, short_chunks  # type: ignore[method-assign]
    PlatformCore.items = short_items  # type: ignore[method-assign, assignment]
    EventHub.stream = first_event  # type: ignore[method-assign]


def keep_workers(worker: object, *rest: object) -> None:
    """What is done when a worker asks for its end, or has been idle: nothing, so that its key stays good."""


def tell_nobody() -> None:
    """Send no webhook anywhere."""

    async def told(self: WebhookSender, url: str, body: bytes, *, trace: str) -> None:
        return None

    WebhookSender.post = told  # type: ignore[assignment]


class Counted:
    """An application that counts its answers to schemathesis by status."""

    def __init__(self, app: ASGIApp, counts: Counter[int]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not any(name == b"user-agent" and value.startswith(b"schemathesis") for name, value in scope["headers"]):
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts[message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)


def watch(counts: Counter[int], routes: set[tuple[str, str]]) -> None:
    """Let the application that is served be one that counts, and note its routes."""
    build = server.build_app

    def counted(services: Services, *others: Any) -> Counted:
        app = build(services, *others)
        routes.update(routes_of(app.routes))
        return Counted(app, counts)

    server.build_app = counted  # type: ignore[assignment]


@contextlib.contextmanager
def running(place: Place, folder: Path) -> Iterator[None]:
    """Such a control plane in this place; drained and ended at the end, when the summary is in `folder`."""
    chosen = {"FLASH_FORK": "0", "FLASH_IDLE_EXIT_S": "0", "FLASH_DRAIN_S": "1"}
    with (place.project / "plane.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.schemathesis.idle_plane", str(folder)],
            env=place.env({**chosen, **dict.fromkeys(WAITS, str(WAIT_S))}),
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
    FOLDER = Path(sys.argv[1])
    WORKERS = FOLDER / "workers"
    answers: Counter[int] = Counter()
    served: set[tuple[str, str]] = set()
    server.ProcessLauncher = IdleLauncher  # type: ignore[assignment, misc]
    server.FORKS = False
    server.Supervisor.retire = keep_workers  # type: ignore[assignment]
    shorten_waits()
    tell_nobody()
    watch(answers, served)
    status = main()
    (FOLDER / "summary.json").write_text(json.dumps({"answers": answers, "routes": sorted(served)}))
    sys.exit(status)
