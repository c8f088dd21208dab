"""The worker link over a real socket: who is let in, what is handed on, how it ends."""

import asyncio
import contextlib
import json
import struct
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runpod_flash.control_plane import links
from runpod_flash.control_plane.fleet import Worker
from runpod_flash.control_plane.links import LinkServer, WorkerLink
from tests.support import framed
from tests.support.memory_fleet import Scene
from worker_runtime.wire import PROTOCOL, frames, messages

HELLO = {"type": messages.HELLO, "protocol": PROTOCOL, "worker": "w", "token": "tökén", "pid": 1}


@dataclass
class Heard:
    """Keeps what the link server reports."""

    worker: Worker
    heard: list[tuple[Any, ...]] = field(default_factory=list)
    link: WorkerLink | None = None
    lots: list[int] = field(default_factory=list)  # how many came together

    def expected(self, worker_id: str) -> Worker | None:
        return self.worker if worker_id == "w" and self.link is None else None

    def connected(self, worker: Worker, link: WorkerLink) -> None:
        self.link = link
        link.send({"type": messages.WELCOME})

    def ready(self, worker: Worker, python: str) -> None:
        self.heard.append(("ready", python))

    def beat(self, worker: Worker) -> None:
        self.heard.append(("beat",))

    def log(self, worker: Worker, job: str | None, stream: str, lines: list[str]) -> None:
        self.heard.append(("log", job, stream, lines))

    def finished(self, worker: Worker, job: str, attempt: int, error: dict[str, Any] | None, body: bytes) -> None:
        self.heard.append(("done", job, attempt, error, body))

    def unbegun(self, worker: Worker, jobs: list[str]) -> None:
        if jobs:
            self.heard.append(("unbegun", jobs))

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        before = len(self.heard)
        yield
        self.lots.append(len(self.heard) - before)

    def gave_back(self, worker: Worker, jobs: list[tuple[str, int]]) -> None:
        self.heard.append(("back", jobs))

    def hopeless(self, worker: Worker, reason: str, stderr: list[str]) -> None:
        self.heard.append(("hopeless", reason, stderr))

    def gone(self, worker: Worker, reason: str, stderr: list[str]) -> None:
        self.heard.append(("gone", reason, stderr))


@dataclass
class Line:
    """A worker's end of the socket."""

    events: Heard
    server: LinkServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, *headers: dict[str, Any], body: bytes = b"") -> None:
        for header in headers:
            self.writer.writelines(frames.encode(header, body))

    async def until(self, kind: str) -> tuple[Any, ...]:
        """Wait for a report of this kind."""
        while not any(report[0] == kind for report in self.events.heard):
            await asyncio.sleep(0.002)
        return next(report for report in self.events.heard if report[0] == kind)


def played(test: Callable[[Line], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test with a server and a connection to it."""

    async def with_a_line(path: str) -> None:
        worker = Scene().start(ready=False).worker
        worker.token = "tökén"
        events = Heard(worker)
        server = LinkServer(events)
        await server.start(path)
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            async with asyncio.timeout(10):
                await test(Line(events, server, reader, writer))
        finally:
            writer.close()
            await server.close()

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(with_a_line(str(Path(folder) / "w.sock")))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@played
async def test_what_a_worker_says_is_handed_on_in_order(line: Line) -> None:
    line.say(HELLO)
    assert (await framed.read(line.reader))[0] == {"type": messages.WELCOME}
    line.say({"type": messages.READY, "python": "3.12.1"}, {"type": messages.BEAT})
    line.say({"type": messages.STARTED, "job": "j", "attempt": 1})
    line.say({"type": messages.LOG, "job": None, "stream": "stderr", "lines": ["x"]})
    line.say({"type": messages.DONE, "job": "j", "attempt": 1}, body=b"result")
    line.say({"type": messages.BACK, "jobs": [["k", 2]]})
    line.say({"type": messages.GONE, "reason": "exited with code 3", "stderr": ["bye"], "unbegun": ["l"]})
    await line.until("gone")
    assert line.events.heard == [
        ("ready", "3.12.1"),
        ("beat",),
        ("log", None, "stderr", ["x"]),
        ("done", "j", 1, None, b"result"),
        ("back", [("k", 2)]),
        ("unbegun", ["l"]),
        ("gone", "exited with code 3", ["bye"]),
    ]
    assert await line.reader.read() == b""


@played
async def test_what_comes_together_is_handed_on_together(line: Line) -> None:
    line.say(HELLO)
    await framed.read(line.reader)
    done = [{"type": messages.DONE, "job": f"j{number}", "attempt": 1} for number in range(4)]
    line.say(done[0])
    await line.until("done")
    assert line.events.lots == []
    line.writer.write(b"".join(piece for header in done[1:] for piece in frames.encode(header)))
    while len(line.events.heard) < 4:
        await asyncio.sleep(0.002)
    assert line.events.lots == [3]


@played
async def test_that_another_worker_would_end_in_the_same_way_is_handed_on_first(line: Line) -> None:
    line.say(HELLO)
    line.say({"type": messages.GONE, "reason": "no routes", "stderr": ["why"], "hopeless": True})
    await line.until("gone")
    assert line.events.heard == [("hopeless", "no routes", ["why"]), ("gone", "no routes", ["why"])]


@pytest.mark.parametrize(
    "hello",
    [
        {**HELLO, "token": "guess"},
        {**HELLO, "token": "gu\u00e9ss"},
        {**HELLO, "token": None},
        {**HELLO, "worker": "another"},
        {**HELLO, "protocol": PROTOCOL + 1},
        {"type": messages.BEAT},
        {},
    ],
)
def test_others_are_sent_away(hello: dict[str, Any]) -> None:
    async def stranger(line: Line) -> None:
        line.say(hello)
        assert await line.reader.read() == b""
        assert line.events.heard == []

    played(stranger)()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", struct.pack(">II", 5, 0) + b"no js", b"\xff" * 64])
def test_bytes_of_another_protocol_are_sent_away(data: bytes) -> None:
    async def stranger(line: Line) -> None:
        line.writer.write(data)
        line.writer.write_eof()
        assert await line.reader.read() == b""
        assert line.events.heard == []

    played(stranger)()


def test_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_HELLO_TIMEOUT_S", 0.1)

    async def silent(line: Line) -> None:
        assert await line.reader.read() == b""

    played(silent)()


@played
async def test_a_second_connection_of_a_worker_is_refused(line: Line) -> None:
    line.say(HELLO)
    await framed.read(line.reader)
    sock = line.writer.get_extra_info("peername")
    reader, writer = await asyncio.open_unix_connection(sock)
    writer.writelines(frames.encode(HELLO))
    assert await reader.read() == b""
    writer.close()
    assert line.events.heard == []


@played
async def test_a_link_that_breaks_is_a_worker_that_is_gone(line: Line) -> None:
    line.say(HELLO)
    await framed.read(line.reader)
    line.writer.close()
    assert await line.until("gone") == ("gone", "its link broke", [])


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "unheard-of"},
        {"type": messages.LOG},
        {"type": messages.DONE, "job": "j"},
        {"type": messages.GONE, "reason": "x", "stderr": 5},
    ],
)
def test_frames_of_another_form_end_the_worker_and_nothing_else(frame: dict[str, Any]) -> None:
    async def forger(line: Line) -> None:
        line.say(HELLO)
        await framed.read(line.reader)
        line.say(frame)
        kind, reason, _ = await line.until("gone")
        assert (kind, "frame" in reason or reason == "x") == ("gone", True), json.dumps(frame)
        assert await line.reader.read() == b""

    played(forger)()


@played
async def test_closing_ends_every_link(line: Line) -> None:
    line.say(HELLO)
    await framed.read(line.reader)
    await line.server.close()
    assert await line.reader.read() == b""
    assert line.events.link is not None
    line.events.link.send({"type": messages.BEAT})  # swallowed
    assert await line.until("gone") == ("gone", "its link broke", [])
