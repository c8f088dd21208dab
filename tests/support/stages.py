"""Calls that stay at one stage of their way until they are let go, in a session of the test's own process.

with Scene.open(place) as scene:
    held = scene.prepare("starting", "an-endpoint")
    job = held.spawn()
    held.wait()                                         # now it is there
    ...                                                 # what shall happen to it
    held.go()
"""

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runpod_flash import Endpoint, EndpointJob, settings
from runpod_flash.calls import AS_USUAL, JobOptions
from runpod_flash.remote import RemoteFunction
from runpod_flash.session import Session, use
from tests.support.packages import make_slow_source
from tests.support.place import Place
from tests.support.waiting import wait_until

STREAMS = ("streaming", "half read")
"""The stages of generators: nobody reads, or somebody has read an item."""

DEADLINE_S = 30.0

LARGE = 9_000_000  # as much as jobs carry by the published API alone, with room to spare
CODE = f"""
LARGE = {LARGE}"""
CODE += """
import time
from pathlib import Path
from runpod_flash import Endpoint

def hold(folder, stage):
    (Path(folder) / stage).touch()
    while not (Path(folder) / "go").exists(): time.sleep(0.01)

class Slow:
    "Becomes its number when it is let go to travel."
    def __init__(self, folder, number): self.folder, self.number = folder, number
    def __reduce__(self):
        hold(self.folder, "returning")
        return int, (self.number,)

def flow(folder, number, stage):
    with open(Path(folder) / "starts", "a") as file: file.write(f"{number} ")
    yield 0
    if stage in ("streaming", "half read"): hold(folder, stage)
    yield number

def work(folder, number, stage):
    with open(Path(folder) / "starts", "a") as file: file.write(f"{number} ")
    if stage == "running": hold(folder, stage)
    if stage == "large": return str(number) * LARGE
    return Slow(folder, number) if stage == "returning" else number
"""

WAIT_TO_START = """#!/bin/sh
case "$1" in -I) touch {folder}/starting; while [ ! -e {folder}/go ]; do sleep 0.02; done;; esac
exec {python} "$@"
"""


PROGRAM = """
import sys
sys.executable, name, folder, stage, *dependencies = sys.argv[1:]
on = Endpoint(name=name, cpu="cpu3c-1-2", workers=1, idle_timeout=300, dependencies=dependencies)
print([*on(flow).stream(folder, 7, stage)] if "stream" in stage else on(work).remote(folder, 7, stage))
"""


@dataclass(frozen=True)
class Scene:
    """A place with a session in this process, and how to get calls to a stage there."""

    place: Place
    session: Session

    @classmethod
    @contextlib.contextmanager
    def open(cls, place: Place, **env: str) -> "Iterator[Scene]":
        """Calls of this process go to the control plane of the place, which starts with this environment.

        It is started here: a call whose interpreter is held would start it by that.
        """
        place.flash("server", "start", env=env).good()
        chosen = settings.load(place.env({"FLASH_LOGS": "off", **env}), place.project)
        with use(Session(chosen, project=place.project)) as session:
            yield cls(place, session)

    def prepare(self, stage: str, name: str, **options: Any) -> "Held":
        """A call of an endpoint of its own that will stay at a stage."""
        folder = self.place.project / name
        folder.mkdir()
        if stage == "building":
            source = make_slow_source(folder, f"slow-{name}", "1.0", folder / stage, folder / "go")
            options["dependencies"] = [f"slow-{name} @ {source.as_uri()}"]
        namespace: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(CODE, "script.py", "exec"), namespace)
        function = Endpoint(name=name, cpu="cpu3c-1-2", workers=1, idle_timeout=300, **options)(
            namespace["flow" if stage in STREAMS else "work"]
        )
        held = Held(self, function, folder, stage)
        if stage == "queued":
            function.spawn(str(folder), 1, "running")
            wait_until((folder / "running").exists, DEADLINE_S, "the only worker is busy")
        return held


@dataclass(frozen=True)
class Held:
    """The call that will stay at a stage; its value is 7. `folder` is its own."""

    scene: Scene
    function: RemoteFunction[..., int]
    folder: Path
    stage: str
    reading: dict[str, Iterator[int]] = dataclasses.field(default_factory=dict)

    def spawn(self, options: JobOptions = AS_USUAL) -> EndpointJob[int]:
        """Submit the call, with these options."""
        request = self.function._request((str(self.folder), 7, self.stage), {})
        with self._caller():
            ticket = self.scene.session.submit_blocking(dataclasses.replace(request, options=options))
        return EndpointJob(ticket, self.scene.session)

    def value(self, job: EndpointJob[int]) -> int:
        """The value of a call, of a generator the last item; or what ended it is raised."""
        if self.stage in STREAMS:
            return int([*self.reading.get(job.id, job.stream())][-1])
        return job.result.blocking(DEADLINE_S)

    def lead(self) -> None:
        """Let another call get the endpoint to the stage, so that the next one is there from its beginning."""
        with self._caller():
            self.function.spawn(str(self.folder), 1, "")
        self.wait()

    async def call(self) -> int:
        """Make the call, as `await f(…)`."""
        with self._caller():
            if self.stage in STREAMS:
                return [int(item) async for item in self.function.stream(str(self.folder), 7, self.stage)][-1]
            return await self.function(str(self.folder), 7, self.stage)

    def program(self) -> "subprocess.Popen[str]":
        """A program that makes the call, blocking."""
        with self._caller():
            path = self.scene.place.write(f"{self.folder.name}.py", CODE + PROGRAM)
            spec = self.function.spec
            arguments = [str(path), sys.executable, spec.name, str(self.folder), self.stage, *spec.dependencies]
        return self.scene.place.start(arguments, env={"FLASH_PROJECT": str(self.scene.place.project)})

    def next(self) -> int:
        """The value of another call of the endpoint, which is held nowhere: 8."""
        with self._caller():
            return self.value(self.function.spawn(str(self.folder), 8, ""))

    def wait(self, job: EndpointJob[int] | None = None) -> None:
        """Wait until the call is at its stage; where that is so, its first item is read."""
        if self.stage == "queued":
            wait_until(lambda: self.submitted()[-1].status.blocking() == "IN_QUEUE", DEADLINE_S, "the call is queued")
        else:
            wait_until((self.folder / self.stage).exists, DEADLINE_S, f"the call is {self.stage}")

        if self.stage == "half read" and job is not None:
            self.reading[job.id] = iter(job.stream())
            assert next(self.reading[job.id]) == 0

    def submitted(self) -> list[EndpointJob[int]]:
        """The jobs of the endpoint, the last one submitted at the end."""
        return self.function.recover.blocking()

    def go(self) -> None:
        """Let go what is held."""
        (self.folder / "go").touch()

    @property
    def starts(self) -> int:
        """How often the function was started for this call."""
        path = self.folder / "starts"
        return path.read_text().split().count("7") if path.exists() else 0

    @contextlib.contextmanager
    def _caller(self) -> Iterator[None]:
        """Calls inside come from an interpreter that is slow to start, where the call is held while it starts."""
        before = sys.executable
        if self.stage == "starting":
            path = self.folder / "python"
            path.write_text(WAIT_TO_START.format(folder=self.folder, python=before))
            path.chmod(0o755)
            sys.executable = str(path)
        try:
            yield
        finally:
            sys.executable = before
