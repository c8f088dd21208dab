"""Container engines for tests: a stand-in, and the real one of this machine where one answers."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.support.place import ROOT
from tests.support.waiting import wait_until

IMAGE = "flash-test/worker:1"
"""The image of both engines: `tests/support/image_worker.py`, which wants "queue" or "web" as its argument."""

_STAND_IN = ROOT / "tests/support/stand_in_engine.py"
WORKER = ROOT / "tests/support/image_worker.py"
ENTRY = [os.path.realpath(sys.executable), "/app/image_worker.py"]
"""The program of the image, and the words that start it in a real container."""

_LEFT_OUT = re.compile(r"/(site-packages|test|tests|idlelib|tkinter|ensurepip|__pycache__|lib2to3|config-[^/]*)(/|$)")


@dataclass(frozen=True, slots=True)
class TestEngine:
    """How a control plane finds the engine (`env`), and its command line for the test itself."""

    __test__ = False

    program: str
    env: Mapping[str, str]
    folder: Path | None = None  # of the stand-in
    options: tuple[str, ...] = ()  # before each command

    def ask(self, *words: str) -> str:
        """What `docker WORDS…` prints."""
        done = subprocess.run(
            [self.program, *self.options, *words], env={**os.environ, **self.env}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def containers(self, label: str = "flash.plane") -> list[str]:
        """Those of control planes that exist now."""
        return self.ask("ps", "--all", "--quiet", "--filter", f"label={label}").split()

    def runs(self) -> list[dict[str, object]]:
        """How containers of the stand-in were started, the oldest first."""
        assert self.folder is not None
        log = self.folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@dataclass(slots=True)
class StandIn:
    """The stand-in: its daemon can be ended and started."""

    folder: Path
    engine: TestEngine
    daemon: "subprocess.Popen[bytes] | None" = field(default=None)

    @classmethod
    def below(cls, folder: Path) -> "StandIn":
        """Make one, with the image on it; its daemon does not run yet."""
        for name in ("images", "registry"):
            (folder / name).mkdir(parents=True)
        program = folder / "docker"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {_STAND_IN} cli {folder} "$@"\n')
        program.chmod(0o755)
        made = cls(folder, TestEngine(str(program), {"FLASH_CONTAINER_ENGINE": str(program)}, folder))
        made.add(IMAGE, sys.executable, str(WORKER))
        return made

    def add(self, image: str, *words: str) -> None:
        """One more image, which stands for a program of this machine."""
        (self.folder / "images" / quote(image, safe="")).write_text(json.dumps(words))

    def start(self) -> None:
        """Start its daemon, and wait until it answers."""
        self.daemon = subprocess.Popen([sys.executable, str(_STAND_IN), "daemon", str(self.folder)])
        wait_until(lambda: (self.folder / "engine.sock").exists(), 10, "the stand-in engine")

    def stop(self) -> None:
        """End its daemon and its containers."""
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(10)
            self.daemon = None


@contextlib.contextmanager
def stand_in(folder: Path) -> Iterator[StandIn]:
    """A stand-in engine that answers."""
    made = StandIn.below(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def real_engine() -> TestEngine | None:
    """docker or podman of this machine, where its engine answers; the image is made on it."""
    for name, options in (("docker", ()), ("podman", ("--remote",))):
        program = shutil.which(name)
        if program is None or subprocess.run([program, *options, "info"], capture_output=True).returncode:
            continue
        kept = {key: value for key, value in os.environ.items() if key.startswith(("DOCKER_", "CONTAINER_HOST"))}
        engine = TestEngine(program, {**kept, "FLASH_CONTAINER_ENGINE": program}, options=options)
        if subprocess.run([program, *options, "image", "inspect", IMAGE], capture_output=True).returncode:
            _make_image(engine)
        return engine
    return None


def _make_image(engine: TestEngine) -> None:
    """The image from this machine's own interpreter, since no registry can be counted on."""
    python = os.path.realpath(sys.executable)
    library = Path(os.__file__).parent
    needed = {python, "/bin/sh", *_libraries(python), *_libraries("/bin/sh")}
    for module in (library / "lib-dynload").glob("*.so"):
        needed |= _libraries(str(module))
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for path in sorted(needed):
                archive.add(os.path.realpath(path), path, recursive=False)
            archive.add(library, str(library), filter=_slim)
            archive.add(WORKER, ENTRY[1])
        file.flush()
        engine.ask("import", "--change", f"ENTRYPOINT {json.dumps(ENTRY)}", file.name, IMAGE)


def _libraries(path: str) -> set[str]:
    """The shared libraries that a program needs."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return set(re.findall(r"(/\S+) \(0x", listed))


def _slim(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT.search("/" + member.name) else member
