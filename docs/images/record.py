"""Make the recordings of the README from real runs of the command: `python docs/images/record.py`.

A project is made in a temporary folder, served by `flash dev`, called, edited and called again, then deployed twice.
What a terminal shows at the end of each command is drawn as an SVG.
"""

import json
import os
import re
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
from terminal import draw

COLUMNS = 118
INPUT = {"input": {"text": "to be or not to be"}}


class Scene:
    """A folder, a state of its own, and the command in a terminal there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._env = {**os.environ, "FLASH_HOME": str(folder / "home"), "PATH": path, "TERM": "xterm-256color"}

    def start(self, command: str, inside: str = ".") -> "pexpect.spawn[str]":
        """Start a command in a terminal."""
        return pexpect.spawn(
            command,
            cwd=str(self.folder / inside),
            env=self._env,
            encoding="utf-8",
            timeout=300,
            dimensions=(60, COLUMNS),
        )

    def run(self, command: str, inside: str = ".") -> str:
        """What a command has written to its terminal."""
        program = self.start(command, inside)
        program.expect(pexpect.EOF)
        program.close()
        if program.exitstatus:
            sys.exit(f"`{command}` failed with exit status {program.exitstatus}:\n{program.before}")
        return str(program.before)


def main() -> None:
    """Record `flash dev`, `flash deploy` and `flash status`."""
    with scene() as place:
        place.run("flash init shop")
        shown("dev", dev(place))
        shown("deploy", place.run("flash deploy", "shop"))
        place.run("flash deploy --env staging", "shop")
        place.run("""flash call cpu_worker --env staging --json '{"text": "to be or not to be"}'""", "shop")
        shown("status", place.run("flash status", "shop"))


@contextmanager
def scene() -> Iterator[Scene]:
    """A scene whose control plane ends with it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Scene(Path(folder))
        try:
            yield place
        finally:
            place.run("flash server stop --now")


def dev(place: Scene) -> str:
    """What `flash dev` shows over two calls and an edit between them."""
    program = place.start("flash dev", "shop")
    program.expect(r"job API by name: http://localhost:(\d+)")
    assert program.match
    written, url = program.before + program.after, f"http://localhost:{program.match[1]}/cpu_worker/runsync"
    post(url)
    file = place.folder / "shop" / "cpu_worker.py"
    before = file.read_text()
    file.write_text(before.replace("text.lower()", "text.upper()"))
    post(url)
    program.expect("(?s)✓ 200.*✓ 200")
    written += program.before + program.after
    file.write_text(before)
    program.sendintr()
    program.expect(pexpect.EOF)
    return str(written)


def post(url: str) -> None:
    """Call the function."""
    request = urllib.request.Request(url, json.dumps(INPUT).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer.read()


def shown(command: str, written: str) -> None:
    """Draw what a terminal shows when a command has ended."""
    draw(command, f"$ flash {command}\n{at_the_end(written).strip()}", COLUMNS)


def at_the_end(written: str) -> str:
    """The lines of a terminal when a program has ended: what was written over is gone."""
    return "\n".join(map(_last_of_line, written.replace("\r\n", "\n").split("\n")))


def _last_of_line(line: str) -> str:
    seen = ""
    for piece in re.sub(r"^.*\x1b\[2K", "", line).split("\r"):
        if piece:
            seen = piece if "\x1b" in piece else piece + seen[len(piece) :]
    return seen.rstrip()


if __name__ == "__main__":
    main()
