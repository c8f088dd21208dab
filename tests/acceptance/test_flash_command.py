"""From a new folder to a deployed app, and back: the real command, in a real terminal and without one."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pexpect
import pytest

from tests.support.place import Place
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEXT = {"text": "to be or not to be"}
CALLER = """
    from cpu_worker import count_words

    if __name__ == "__main__":
        print(count_words.remote("b a b"))
"""


class Shell:
    """A project folder and the command, as a user has them in a terminal or in a pipe."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.terminals: list[pexpect.spawn[str]] = []
        programs = place.project.parent / "bin"
        programs.mkdir(exist_ok=True)
        command = programs / "flash"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flash_cli "$@"\n')
        command.chmod(0o755)
        self.env = {**place.env(), "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "xterm", "COLUMNS": "160"}

    def flash(self, *arguments: str, status: int = 0, timeout_s: float = 240.0) -> str:
        """Run the command without a terminal; both streams."""
        done = self.place.run(["-m", "flash_cli", *arguments], cwd=self.folder, timeout_s=timeout_s)
        assert done.status == status, f"{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def output(self, *arguments: str) -> str:
        """What the command gives: its standard output alone."""
        return self.place.run(["-m", "flash_cli", *arguments], cwd=self.folder, timeout_s=240.0).good().stdout

    def data(self, *arguments: str) -> Any:
        """What the command writes for programs."""
        return json.loads(self.output(*arguments))

    def terminal(self, *arguments: str) -> "pexpect.spawn[str]":
        """Start the command in a terminal of its own."""
        started = pexpect.spawn(
            "flash",
            list(arguments),
            cwd=str(self.folder),
            env=self.env,
            encoding="utf-8",
            timeout=120,
            dimensions=(40, 160),
        )
        self.terminals.append(started)
        return started

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file of the project."""
        file = self.folder / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def shell(place: Place) -> Iterator[Shell]:
    """The folder in which projects are made."""
    made = Shell(place, place.project)
    yield made
    for terminal in made.terminals:
        terminal.close(force=True)


def ended(program: "pexpect.spawn[str]") -> int | None:
    """The exit status of a program in a terminal, which has nothing more to say."""
    program.expect(pexpect.EOF)
    program.close()
    status: int | None = program.exitstatus
    return status


def post(url: str, body: object, key: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(url, json=body, headers=headers, timeout=120.0)


def test_from_a_new_folder_to_a_deployed_app_and_back(shell: Shell) -> None:
    make(shell)
    shell.folder = shell.folder / "shop"

    edit_and_call_again(shell)
    first, second = (shell.data("build", "--json") for _ in range(2))
    assert first["sha256"] == second["sha256"]
    planned = shell.flash("plan", "--env", "staging")
    assert len(re.findall(r"create +\w+_worker", planned)) == 3
    assert shell.data("app", "list", "--json")["apps"] == []

    deployed = shell.flash("deploy", "--env", "staging")
    curl = re.search(r"^ *(curl .*)$", deployed, re.MULTILINE)
    assert curl
    assert '"COMPLETED"' in pasted(curl[1], shell)
    shell.flash("deploy", "--env", "production")
    assert "nothing to change" in shell.flash("deploy", "--env", "production")
    assert json.loads(shell.output("call", "cpu_worker", "--env", "staging", "--json", json.dumps(TEXT)))["to"] == 2
    called = shell.place.run_script(CALLER, name="shop/caller.py", env={"FLASH_APP": "shop", "FLASH_ENV": "staging"})
    assert called.good().stdout.splitlines()[0] == "{'b': 2, 'a': 1}"

    change_under_load(shell)
    remove_a_file(shell)
    assert "production" in shell.flash("undeploy", "--all", status=1)
    shell.flash("undeploy", "--all", "--force")
    assert shell.data("undeploy", "list", "--json")["endpoints"] == []
    shell.flash("app", "delete", "shop", "--yes")
    assert shell.data("app", "list", "--json")["apps"] == []
    assert shell.data("gc", "--json")["removed"] == []
    assert shell.place.endpoints() == []


def make(shell: Shell) -> None:
    """`flash init`; again where a file differs, it asks, or is refused without a terminal."""
    assert ended(shell.terminal("init", "shop")) == 0
    changed = shell.folder / "shop" / "cpu_worker.py"
    made = changed.read_text()
    changed.write_text("mine = 1")
    again = shell.terminal("init", "shop")
    again.expect("cpu_worker.py")
    again.expect(r"\[y/N\]")
    again.sendline("n")
    assert ended(again) == 0  # as it was wanted
    assert "--force" in shell.flash("init", "shop", status=1)
    assert changed.read_text() == "mine = 1"
    shell.flash("init", "shop", "--force")
    assert changed.read_text() == made


def edit_and_call_again(shell: Shell) -> None:
    """`flash dev` in a terminal: a call, an edit, a call, Ctrl-C; nothing of it stays."""
    dev = shell.terminal("dev", "--port", "38000")
    dev.expect(r"http://localhost:(\d+)")
    assert dev.match
    url = f"http://localhost:{dev.match[1]}/cpu_worker/runsync"
    assert post(url, {"input": TEXT}).json()["output"]["to"] == 2
    shell.edit("cpu_worker.py", "text.lower()", "text.upper()")
    assert post(url, {"input": TEXT}).json()["output"]["TO"] == 2
    assert post(url, {"input": {"txt": "a"}}).status_code == 422
    shell.edit("cpu_worker.py", "text.upper()", "text.lower()")
    dev.kill(signal.SIGINT)
    assert ended(dev) == 0
    assert shell.place.endpoints() == []


def pasted(command: str, shell: Shell) -> str:
    """What a line gives that is pasted into a shell."""
    line = pexpect.spawn("sh", ["-c", command], cwd=str(shell.folder), env=shell.env, encoding="utf-8", timeout=120)
    line.expect(pexpect.EOF)
    line.close()
    assert line.exitstatus == 0
    return str(line.before)


def change_under_load(shell: Shell) -> None:
    """Both kinds of endpoints are called all the time while a new version comes; the other stage keeps the old one."""
    stage = shell.data("env", "get", "production", "--json")
    urls = {endpoint["name"]: endpoint["url"] for endpoint in stage["endpoints"]}
    key = shell.output("target", "key").strip()
    calls: dict[str, Callable[[], httpx.Response]] = {
        "cpu_worker": lambda: post(f"{urls['cpu_worker']}/runsync", {"input": TEXT}, key),
        "lb_worker": lambda: post(f"{urls['lb_worker']}/greet", {"name": "Ada"}, key),
    }
    shell.edit("cpu_worker.py", "text.lower()", "text.upper()")
    shell.edit("lb_worker.py", "Hello", "Good day")
    with Load(calls) as load:
        wait_until(lambda: all(len(load.seen[name]) > 5 for name in calls), 60.0, "calls")
        shell.flash("deploy", "--env", "production")
        switched = time.monotonic()
        wait_until(lambda: all(load.since(name, switched)[5:] for name in calls), 60.0, "calls after the switch")
    for name, old, new in (("cpu_worker", '"to"', '"TO"'), ("lb_worker", "Hello", "Good day")):
        assert load.failures(name) == []
        assert any(old in text for _, _, text in load.seen[name])
        assert all(new in text for text in load.since(name, switched)), name
    staging = shell.output("call", "cpu_worker", "--env", "staging", "--json", json.dumps(TEXT))
    assert json.loads(staging)["to"] == 2


class Load:
    """Calls without a pause, each kind from two threads, until it is left."""

    def __init__(self, calls: dict[str, Callable[[], httpx.Response]]) -> None:
        self.seen: dict[str, list[tuple[float, int, str]]] = {name: [] for name in calls}
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, call)) for name, call in calls.items() for _ in range(2)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, call: Callable[[], httpx.Response]) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                answer = call()
                self.seen[name].append((began, answer.status_code, answer.text))
            except httpx.HTTPError as error:
                self.seen[name].append((began, 0, repr(error)))

    def since(self, name: str, moment: float) -> list[str]:
        """The answers to calls that began after a moment."""
        return [text for began, _, text in list(self.seen[name]) if began > moment]

    def failures(self, name: str) -> list[str]:
        """The answers that are none."""
        return [text for _, status, text in self.seen[name] if status != 200 or '"FAILED"' in text]


def remove_a_file(shell: Shell) -> None:
    """What has left the code is named, and removed where that is wanted, after a question in a terminal."""
    (shell.folder / "lb_worker.py").unlink()
    shell.edit("main.py", "from lb_worker import api", "api = None")
    assert re.search(r"left +lb_worker", shell.flash("deploy", "--env", "production", "--no-smoke"))
    assert "--yes" in shell.flash("deploy", "--env", "production", "--prune", status=1)
    pruned = shell.terminal("deploy", "--env", "production", "--prune")
    pruned.expect(r"remove +lb_worker")
    pruned.expect(r"\[y/N\]")
    pruned.sendline("y")
    assert ended(pruned) == 0
    names = [endpoint["name"] for endpoint in shell.data("env", "get", "production", "--json")["endpoints"]]
    assert names == ["cpu_worker", "gpu_worker"]
