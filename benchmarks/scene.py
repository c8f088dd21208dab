"""Where a row is measured: folders of its own, the programs that it starts there, and the end of all of them."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks import processes, settings
from benchmarks.driver import Driver
from benchmarks.sizes import Sizes

PEERS = Path(__file__).parent / "peers"
RUN_S, START_S, STOP_S = 180.0, 60.0, 30.0


class RowFailed(Exception):
    """A program that a row needs failed; the message has its last words."""


class NotMeasured(Exception):
    """A row cannot be measured on this machine; the message says why."""


class Plane(NamedTuple):
    """A running control plane, as HTTP clients find it."""

    pid: int
    port: int
    key: str


@dataclass(frozen=True)
class Home:
    """A state folder of a control plane, and programs that use it."""

    scene: "Scene"
    folder: Path

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of programs that use it."""
        return self.scene.env({"FLASH_HOME": str(self.folder), **(extra or {})})

    def flash(self, *arguments: str, folder: Path | None = None) -> str:
        """Run the command; what it prints."""
        return self.scene.run([self.scene.python, "-m", "flash_cli", *arguments], self.env(), folder)

    @contextlib.contextmanager
    def calls(
        self, function: str, least: int, most: int, name: str = "", env: Mapping[str, str] | None = None
    ) -> Iterator[Driver]:
        """A program that calls this function on so many workers, which are warm if there is a least number."""
        command = ["flash_calls.py", function, str(least), str(most), name]
        with self.scene.driver(command, self.env(env)) as driver:
            yield driver

    @contextlib.contextmanager
    def http_calls(self, function: str, least: int, most: int, name: str) -> Iterator[Driver]:
        """The same by a client that has HTTP over TCP alone; the control plane must run."""
        plane = self.plane()
        way = {"FLASH_TARGET": f"http://127.0.0.1:{plane.port}", "FLASH_API_KEY": plane.key}
        with self.calls(function, least, most, name, way) as driver:
            yield driver

    def plane(self) -> Plane:
        """The control plane that runs here.

        Raises:
            RowFailed: none does.
        """
        for record in self.folder.glob("planes/*/record.json"):
            known = json.loads(record.read_text())
            return Plane(known["pid"], known["port"], (record.parent / "key").read_text().strip())
        raise RowFailed(f"no control plane runs in {self.folder.name}")

    def log(self) -> str:
        """What control planes here have written to their log."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("planes/*/plane.log"))

    @contextlib.contextmanager
    def running(self, program: Sequence[str]) -> Iterator[None]:
        """This control plane, instead of the one that the first call would start.

        Raises:
            RowFailed: it does not start.
        """
        log = self.folder.with_suffix(".log")
        with log.open("wb") as output:
            plane = subprocess.Popen(program, cwd=self.scene.folder, env=self.env(), stdout=output, stderr=output)
        try:
            _wait(lambda: any(self.folder.glob("planes/*/record.json")), plane, log)
            if self.plane().pid != plane.pid:
                raise RowFailed("another control plane runs here")
            yield
        finally:
            for _ in range(2):  # at the second one running jobs get no time
                plane.terminate()
            plane.wait(STOP_S)

    def deploy(self) -> str:
        """Deploy the project of the benchmarks; the id of its one endpoint."""
        project = self.scene.folder / "deployed"
        shutil.copytree(PEERS / "project", project, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        (project / "pyproject.toml").touch()
        said = json.loads(self.flash("deploy", "--yes", "--json", folder=project))
        return str(said["endpoints"][0]["id"])

    def stop(self) -> None:
        """Stop what runs here."""
        with contextlib.suppress(RowFailed):
            self.flash("server", "stop", "--now")


class Scene:
    """Folders, programs and sizes of one row."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.python = sys.executable
        self.folder = Path(tempfile.mkdtemp(prefix="fb"))
        self.project = self.folder / "project"
        self.left: list[str] = []
        self._homes: list[Home] = []
        self._number = 0
        shutil.copytree(PEERS, self.project, ignore=shutil.ignore_patterns("__pycache__", "project"))
        (self.project / "pyproject.toml").touch()

    def __enter__(self) -> "Scene":
        return self

    def __exit__(self, *_: object) -> None:
        for home in self._homes:
            home.stop()
        self.left = processes.end_all(str(self.folder))
        shutil.rmtree(self.folder, ignore_errors=True)

    def env(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of programs here."""
        return settings.environment(extra)

    def number(self) -> int:
        """One that was not given before."""
        self._number += 1
        return self._number

    def home(self) -> Home:
        """A new state folder."""
        home = Home(self, self.folder / f"h{self.number()}")
        home.folder.mkdir()
        self._homes.append(home)
        return home

    @contextlib.contextmanager
    def driver(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Driver]:
        """A program of a peer, ready to be asked."""
        log = self.folder / f"driver{self.number()}.log"
        driver = Driver(
            [self.python, str(self.project / command[0]), *command[1:]], self.project, env or self.env(), log
        )
        try:
            driver.started()
            yield driver
        finally:
            driver.stop()

    @contextlib.contextmanager
    def ray(self, actors: int, store_mb: int = 500) -> Iterator[Driver]:
        """A cluster of Ray with so many actors, and the program that calls them."""
        folder = self.folder / f"r{self.number()}"
        with self.driver(["ray_calls.py", str(folder), str(actors), str(store_mb)]) as driver:
            yield driver

    @contextlib.contextmanager
    def runpod(self) -> Iterator[int]:
        """The local server of runpod; its port."""
        port, log = free_port(), self.folder / "runpod.log"
        command = [self.python, str(self.project / "runpod_handler.py"), "--rp_serve_api", "--rp_log_level", "ERROR"]
        command += ["--rp_api_host", "127.0.0.1", "--rp_api_port", str(port)]
        with log.open("wb") as output:
            server = subprocess.Popen(command, cwd=self.project, env=self.env(), stdout=output, stderr=output)
        try:
            _wait(lambda: listens(port), server, log)
            yield port
        finally:
            server.terminate()
            server.wait(10)

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
        """Run a program to its end; what it prints.

        Raises:
            RowFailed: it failed, or takes too long.
        """
        try:
            done = subprocess.run(
                command, cwd=folder or self.project, env=env or self.env(), capture_output=True, text=True,
                check=False, timeout=RUN_S, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise RowFailed(f"{_short(command)} took longer than {RUN_S:.0f} s") from None
        if done.returncode != 0:
            raise RowFailed(f"{_short(command)} failed: {(done.stderr.strip() or done.stdout.strip())[-600:]}")
        return done.stdout

    def tree(self, pid: int) -> list[psutil.Process]:
        """A process and all below it."""
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]

    def processes(self, mark: Path) -> list[psutil.Process]:
        """All that name this folder, and all below them."""
        return processes.belonging(str(mark))


def _short(command: Sequence[str]) -> str:
    return " ".join(Path(word).name for word in command[:5])


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    """Whether a server listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(
    is_there: Callable[[], bool], program: "subprocess.Popen[bytes]", log: Path, patience_s: float = 60.0
) -> None:
    """Wait for what a program does when it is ready. Raises RowFailed where it ends before, or does not."""
    end = time.monotonic() + START_S
    while not is_there():
        if program.poll() is not None or time.monotonic() > end:
            raise RowFailed(f"a program does not start: {log.read_text(errors='replace')[-600:]}")
        time.sleep(0.01)


def last_line(text: str, mark: str) -> Any:
    """What a program printed after this mark."""
    for line in reversed(text.splitlines()):
        if line.startswith(mark):
            return line.removeprefix(mark).strip()
    raise RowFailed(f"the program has not printed {mark!r}")
