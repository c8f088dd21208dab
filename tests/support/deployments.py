"""A project in a folder of its own that the `flash` command deploys, and how its endpoints are asked."""

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.place import Finished, Place
from tests.support.plane_api import plane_client

SHOP = """
    from runpod_flash import Endpoint

    @Endpoint(name="upper", cpu="cpu3c-1-2", workers=2)
    def upper(text: str) -> dict:
        return {"text": text.upper(), "version": 1}
"""


@dataclass(frozen=True)
class Project:
    """A project of a place. `env` goes to each command."""

    place: Place
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, place: Place, name: str, **files: str) -> "Project":
        """Make one with these modules."""
        project = cls(place, place.project / name)
        project.write(**files)
        (project.folder / "pyproject.toml").touch()
        return project

    def write(self, **files: str) -> None:
        """Write modules, by their names without .py."""
        for name, text in files.items():
            self.place.write(f"{self.folder.name}/{name}.py", text)

    def flash(self, *arguments: str, timeout_s: float = 90.0) -> Finished:
        """Run the command in the project's folder."""
        return self.place.run(["-m", "flash_cli", *arguments], env=self.env, cwd=self.folder, timeout_s=timeout_s)

    def start(self, *arguments: str, **env: str) -> "subprocess.Popen[str]":
        """Start the command there; the caller ends it."""
        return self.place.start(["-m", "flash_cli", *arguments], env={**self.env, **env}, cwd=self.folder)

    def json(self, *arguments: str, timeout_s: float = 90.0) -> Any:
        """What it says to programs."""
        return json.loads(self.flash(*arguments, "--json", timeout_s=timeout_s).good().stdout)

    def deploy(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """Deploy; the endpoints by their names."""
        return {each["name"]: each for each in self.json("deploy", *arguments)["endpoints"]}

    def call(self, endpoint: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """What a function of a deployed endpoint gives for this input."""
        with plane_client(self.place) as client:
            answer = client.post(f"/v2/{endpoint['id']}/runsync", json={"input": given})
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "COMPLETED", answer.text
        return answer.json()["output"]

    def get(self, endpoint: Mapping[str, Any], path: str) -> httpx.Response:
        """What a load-balanced one answers."""
        with plane_client(self.place) as client:
            return client.get(f"/lb/{endpoint['id']}{path}")


@dataclass(frozen=True)
class Asked:
    """A request that was answered: when it began, on the monotonic clock, and the version of the code that it met."""

    kind: str  # "job" or "request"
    began: float
    version: int


class Load:
    """Programs that ask two endpoints all the time, a job here, a request there."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: list[str] = []
        self._stop = threading.Event()

    @classmethod
    @contextlib.contextmanager
    def on(cls, place: Place, queue: str, balanced: str) -> "Iterator[Load]":
        """Ask until it is left."""
        load = cls()

        def job(client: httpx.Client) -> int:
            answer = client.post(f"/v2/{queue}/runsync", json={"input": {"text": "a"}})
            return int(answer.raise_for_status().json()["output"]["version"])

        def request(client: httpx.Client) -> int:
            return int(client.get(f"/lb/{balanced}/version").raise_for_status().json()["version"])

        ways: list[tuple[str, Callable[[httpx.Client], int]]] = [
            ("job", job),
            ("request", request),
            ("request", request),
        ]
        threads = [threading.Thread(target=load._ask, args=(place, kind, ask)) for kind, ask in ways]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load._stop.set()
            for thread in threads:
                thread.join()

    def kinds_since(self, moment: float) -> set[str]:
        """What has been answered that began after a moment."""
        return {asked.kind for asked in list(self.asked) if asked.began > moment}

    def _ask(self, place: Place, kind: str, ask: Callable[[httpx.Client], int]) -> None:
        with plane_client(place) as client:
            client.timeout = httpx.Timeout(60)
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    self.asked.append(Asked(kind, began, ask(client)))
                except Exception as error:  # noqa: BLE001 - every fault of any kind is one
                    self.faults.append(f"{kind}: {error!r}")


class Dam:
    """A way to a port that lets so many bytes of clients through in all, and then holds them."""

    def __init__(self, port: int, most: int) -> None:
        self._port, self._most = port, most
        self.passed = 0
        self.full = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []

    @classmethod
    @contextlib.contextmanager
    def before(cls, port: int, most: int) -> "Iterator[Dam]":
        """Build one, and take it away."""
        dam = cls(port, most)
        dam._thread(dam._accept)
        try:
            yield dam
        finally:
            for each in dam._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            for thread in dam._threads:
                thread.join(10)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _thread(self, target: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=args))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, there]
                self._thread(self._pipe, client, there, True)
                self._thread(self._pipe, there, client, False)

    def _pipe(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65_536):
                if counts:
                    self.passed += len(chunk)
                    if self.passed > self._most:
                        self.full.set()
                        return  # held: neither ended nor sent on
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
