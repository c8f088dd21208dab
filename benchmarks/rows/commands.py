"""How long the import takes, the help of the command, and the command in a project."""

import contextlib
import json
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measures import Figure, Goal
from benchmarks.scene import Home, RowFailed, Scene, free_port

PATIENCE_S, PAUSE_S, EDITS = 120.0, 0.002, 5


def timed_s(action: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def importing(scene: Scene) -> Iterator[Figure]:
    """`from runpod_flash import Endpoint` over an empty program, beside Modal's."""
    statements = ("pass", "from runpod_flash import Endpoint", "import modal")

    def run(statement: str) -> float:
        return 1e3 * timed_s(lambda: scene.run([scene.python, "-c", statement]))

    for statement in statements:  # byte code is written, files are in memory
        run(statement)
    turns = [[run(statement) for statement in statements] for _ in range(scene.sizes.turns + 1)]
    ours, theirs = (tuple(turn[which] - turn[0] for turn in turns) for which in (1, 2))
    note = "over an empty program in the same turn"
    what = "`from runpod_flash import Endpoint`"
    yield Figure(what, "ms", ours, goal=Goal(60.0), note=note)
    yield Figure(what, "ms", ours, "`import modal`", theirs, Goal(0.2), note)


def helping(scene: Scene) -> Iterator[Figure]:
    """`flash --help` beside Modal's."""
    folder = Path(scene.python).parent

    def run(name: str) -> float:
        return 1e3 * timed_s(lambda: scene.run([str(folder / name), "--help"]))

    for name in ("flash", "modal"):
        run(name)
    turns = [(run("flash"), run("modal")) for _ in range(scene.sizes.turns + 1)]
    ours, theirs = zip(*turns, strict=True)
    yield Figure("`flash --help`", "ms", ours, goal=Goal(150.0))
    yield Figure("`flash --help`", "ms", ours, "`modal --help`", theirs, Goal(0.35))


def project(scene: Scene) -> Iterator[Figure]:
    """The command in a project of `flash init`: builds, deploys, and from an edit to the first new answer."""
    home, folder = scene.home(), scene.folder / "demo"
    home.flash("init", "demo", folder=scene.folder)

    def flash(*arguments: str) -> float:
        return timed_s(lambda: home.flash(*arguments, folder=folder))

    rounds = range(scene.sizes.starts)
    yield Figure("`flash build`, cold", "s", (flash("build"),))
    yield Figure("`flash build`, again", "s", tuple(flash("build") for _ in rounds), goal=Goal(1.0))
    yield Figure("`flash deploy`, first", "s", (flash("deploy", "--yes"),))
    again = tuple(flash("deploy", "--yes") for _ in rounds)
    yield Figure("`flash deploy`, nothing has changed", "s", again, goal=Goal(2.0))
    edits = tuple(_edits(home, folder, min(EDITS, scene.sizes.starts)))
    yield Figure("`flash dev`: from an edit to the first new answer", "s", edits, goal=Goal(1.0))


def _edits(home: Home, folder: Path, number: int) -> Iterator[float]:
    """From the end of writing a file to the first answer of the new code."""
    _edit(folder, 0)
    with _dev(home, folder) as url:
        _until(url, {"number": 0})
        for each in range(1, number + 1):
            _edit(folder, each)
            start = time.perf_counter()
            _until(url, {"number": each})
            yield time.perf_counter() - start


@contextlib.contextmanager
def _dev(home: Home, folder: Path) -> Iterator[str]:
    """`flash dev`; the URL of its function."""
    port = free_port()
    command = [home.scene.python, "-m", "flash_cli", "dev", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=folder, env=home.env(), **quiet) as process:  # type: ignore[call-overload]
        try:
            yield f"http://127.0.0.1:{port}/cpu_worker/runsync"
        finally:
            process.send_signal(signal.SIGINT)


def _edit(folder: Path, number: int) -> None:
    """Let the function say another number."""
    path = folder / "cpu_worker.py"
    path.write_text(re.sub(r"return .*", f'return {{"number": {number}}}', path.read_text()))


def _until(url: str, wanted: object) -> None:
    """Ask until this is the answer."""
    end = time.monotonic() + PATIENCE_S
    while _asked(url) != wanted:
        if time.monotonic() > end:
            raise RowFailed(f"flash dev did not answer {wanted} within {PATIENCE_S:.0f} s")
        time.sleep(PAUSE_S)


def _asked(url: str) -> object:
    """What the function answers; None while it cannot be asked."""
    body = json.dumps({"input": {"text": "a"}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer).get("output")
    except OSError:
        return None
