"""A real `flash dev` in a project of its own: its events, calls to it, and its end."""

import contextlib
import fcntl
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import termios
import textwrap
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from tests.support.place import Place
from tests.support.processes import signal_all
from tests.support.waiting import wait_until

ADD = textwrap.dedent("""
    from runpod_flash import Endpoint

    @Endpoint(name="add", cpu="cpu3c-1-2")
    async def add(a: int, b: int = 1):
        print("adding", a)
        return a + b
""")
MODEL = textwrap.dedent("""
    from runpod_flash import Endpoint

    @Endpoint(name="model", cpu="cpu3c-1-2")
    class Model:
        def __init__(self):
            self.calls = 0
        def predict(self, x: int):
            self.calls += 1
            return [x, self.calls]
        def fail(self):
            raise ValueError("no such model")
""")
OUTER = textwrap.dedent("""
    from runpod_flash import Endpoint
    from maths.add import add

    @Endpoint(name="outer", cpu="cpu3c-1-2")
    async def outer(n: int):
        return 10 * await add(n)
""")
WEB = textwrap.dedent("""
    from runpod_flash import Endpoint

    api = Endpoint(name="web", cpu="cpu3c-1-2")

    @api.get("/hello/{name}")
    async def hello(name: str):
        return {"hello": name}
""")


@dataclass
class Answer:
    """What a request was answered with."""

    status: int
    body: Any


@dataclass
class DevProject:
    """A folder with a project of its own, below a place's."""

    place: Place
    folder: Path

    @classmethod
    def below(cls, place: Place, name: str) -> "DevProject":
        """Make it; `name` is its app, too."""
        project = cls(place, place.project / name)
        project.write("pyproject.toml", f"[project]\nname = '{name}'\nversion = '0'\n")
        return project

    def write(self, name: str, text: str) -> None:
        """Write a file in one step, as editors do."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(textwrap.dedent(text))
        new.replace(path)

    def stages(self) -> list[str]:
        """The stages of its app that are on the platform now, those that expire included."""
        return sorted(
            {each.get("stage") or "" for each in self.place.endpoints() if each.get("app") == self.folder.name}
        )


@dataclass
class Dev:
    """A session that runs. `url` is where it serves."""

    process: "subprocess.Popen[str]"
    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    terminal: int = -1
    _lines: "queue.Queue[str | None]" = field(default_factory=queue.Queue)

    def call(self, path: str, body: Any = None, method: str = "POST", **headers: str) -> Answer:
        """Make a request to it."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        request = urllib.request.Request(self.url + path, data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, json.loads(answer.read() or b"null"))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.loads(error.read() or b"null"))

    def output(self, path: str, **given: Any) -> Any:
        """The output of a call with plain input, which must go well."""
        answer = self.call(path, {"input": given})
        assert answer.status == 200, answer
        assert answer.body["status"] == "COMPLETED", answer
        return answer.body["output"]

    def wait_for(self, kind: str, deadline_s: float = 60.0, **fields: Any) -> dict[str, Any]:
        """The first event of a kind, past or to come, that has these fields."""

        def found() -> dict[str, Any] | None:
            self._take()
            matching = (event for event in self.events if event["event"] == kind)
            return next((event for event in matching if fields.items() <= event.items()), None)

        return wait_until(found, deadline_s, f"event {kind} {fields}; there were {self.events}")  # type: ignore[return-value]

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal; gives the exit status when it has ended and all its children with it."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        os.kill(self.process.pid, number)
        return self.ended(family)

    def ended(self, family: list[psutil.Process]) -> int:
        """Wait for its end; `family`: its children, which must end, too."""
        status = self.process.wait(60)
        _, left = psutil.wait_procs(family, timeout=10)
        assert not left, left
        return status

    def _take(self) -> None:
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get_nowait()) is not None:
                self.events.append(json.loads(line))


@contextlib.contextmanager
def flash_dev(project: DevProject, *arguments: str) -> Iterator[Dev]:
    """`flash dev --json` in the project, when it serves; killed at the end if it still runs."""
    process = project.place.start(
        ["-m", "flash_cli", "dev", "--json", "--port", str(_free_port()), *arguments], cwd=project.folder
    )
    dev = Dev(process)
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, dev._lines), daemon=True)
    reader.start()
    try:
        dev.url = dev.wait_for("serving")["url"]
        yield dev
    finally:
        _finish(process)
        reader.join(10)


@contextlib.contextmanager
def flash_dev_in_terminal(project: DevProject, *arguments: str) -> Iterator[Dev]:
    """`flash dev` with a terminal of its own, whose other end is `terminal`."""
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "flash_cli", "dev", "--port", str(port), *arguments],
        cwd=project.folder,
        env={**project.place.env(), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        text=True,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    try:
        yield Dev(process, f"http://localhost:{port}", terminal=ours)
    finally:
        _finish(process)
        with contextlib.suppress(OSError):
            os.close(ours)


def read_terminal(dev: Dev, until: str, deadline_s: float = 60.0) -> str:
    """What a terminal shows, up to this text."""
    os.set_blocking(dev.terminal, False)
    seen = bytearray()

    def found() -> bool:
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(dev.terminal, 65_536):
                seen.extend(piece)
        return until.encode() in seen

    wait_until(found, deadline_s, f"{until!r} on the terminal, which shows {seen!r}")
    return seen.decode(errors="replace")


def _finish(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        signal_all(psutil.Process(process.pid).children(recursive=True))
        process.kill()
    process.wait(10)
    if process.stderr is not None:
        sys.stderr.write(process.stderr.read())
    for stream in (process.stdout, process.stderr):
        if stream is not None and not isinstance(stream, int):
            stream.close()


def _read(stream: IO[str], lines: "queue.Queue[str | None]") -> None:
    with contextlib.suppress(ValueError):
        for line in stream:
            lines.put(line)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
