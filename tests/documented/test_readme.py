"""The README, read whole by its own commands: each line that it tells a reader to type is run, or is run elsewhere."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.place import ROOT, Place

BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CUBE = """
    from runpod_flash import Endpoint

    @Endpoint(name="cube", cpu="cpu3c-1-2")
    def cube(x):
        return x ** 3

    if __name__ == "__main__":
        print(cube.spawn(3).id)
"""

ELSEWHERE = {
    "make demo": "CI runs it",
    "make test": "CI runs it",
    "pip install runpod": "tests/conformance/environments.py installs it",
    "curl URL/runsync": "tests/conformance/test_seed_examples.py sends it",
    "flash server start --listen": "tests/acceptance/test_server_for_others.py listens on loopback",
    "flash server keys create": "tests/acceptance/test_server_for_others.py makes keys",
    "flash target use": "tests/flash_cli/commands/test_target.py types the key",
    "python her_script.py": "tests/acceptance/test_server_for_others.py runs one",
}
"""How lines begin that are not run here, and who runs them."""


def lines() -> list[str]:
    """The lines of all shell blocks, in their order, without comments."""
    text = (ROOT / "README.md").read_text()
    found = [re.sub(r"\s+#.*$", "", line) for block in BLOCK.findall(text) for line in block.splitlines()]
    return [line for line in found if line.strip()]


class Reader:
    """Types lines into one shell, as a reader does; a server that runs until Ctrl-C has a shell of its own."""

    def __init__(self, place: Place) -> None:
        programs = place.project.parent / "bin"
        programs.mkdir()
        for name, module in (("flash", "-m flash_cli"), ("python", "")):
            file = programs / name
            file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            file.chmod(0o755)
        self._env = {**place.env(), "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb"}
        self._shell = pexpect.spawn(
            "bash", ["--norc"], cwd=str(place.project), env=self._env, encoding="utf-8", timeout=300, echo=False
        )
        self.type("PS1=; set +m")
        self._server: pexpect.spawn[str] | None = None
        self.port = ""

    def type(self, line: str) -> str:
        """Run a line to its end; what it has written. It must succeed."""
        self._shell.sendline(f"{line}\necho end=$?=")
        self._shell.expect(r"end=(\d+)=")
        assert self._shell.match
        assert self._shell.match[1] == "0", f"{line}\n{self._shell.before}"
        return str(self._shell.before)

    def serve(self, line: str) -> None:
        """Run a line that serves until `stop`, and wait until it does."""
        folder = self.type("pwd").strip().splitlines()[-1]
        self._server = pexpect.spawn(
            "bash", ["-c", f"exec {line}"], cwd=folder, env=self._env, encoding="utf-8", timeout=120
        )
        self._server.expect(r"http://localhost:(\d+)")
        assert self._server.match
        self.port = self._server.match[1]  # 8888, unless another program has it

    def stop(self) -> None:
        """Ctrl-C for what serves."""
        if self._server is not None:
            self._server.kill(signal.SIGINT)
            self._server.expect(pexpect.EOF)
            self._server.close()
            assert self._server.exitstatus == 0
            self._server = None

    def close(self) -> None:
        """Close the terminals."""
        if self._server is not None:
            self._server.close(force=True)
        self._shell.close(force=True)


@pytest.fixture
def reader(place: Place) -> Iterator[Reader]:
    found = Reader(place)
    yield found
    found.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_works_in_the_order_in_which_it_is_read(reader: Reader, place: Place) -> None:
    job, typed = "", []
    for line in lines():
        if any(line.startswith(beginning) for beginning in ELSEWHERE):
            continue
        typed.append(line)
        if line == "flash dev":
            reader.serve(line)
            continue
        if not line.startswith("curl "):
            reader.stop()
        if line.startswith("flash jobs attach --last"):
            job = place.run_script(CUBE, name="cube.py").good().stdout.strip()
        shown = reader.type(re.sub(r"\bJOB$", job, line.replace(":8888", f":{reader.port}")))
        if line.startswith("curl "):
            assert '"COMPLETED"' in shown
        if line.startswith("flash jobs attach"):
            assert "27" in shown
    assert {"flash init shop", "flash dev", "flash plan", "flash deploy", "flash jobs attach JOB"} <= set(typed)


def test_what_is_run_elsewhere_is_in_the_readme_and_there() -> None:
    for beginning, who in ELSEWHERE.items():
        assert any(line.startswith(beginning) for line in lines()), beginning
        for path in re.findall(r"tests/[\w/]+\.py", who):
            assert Path(ROOT / path).is_file(), path
