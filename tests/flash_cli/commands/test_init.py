"""`flash init`: a project that runs at once, and nothing that was there is lost."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flash_cli.commands.init import init
from flash_cli.templating import FILES
from runpod_flash.errors import ConfigError
from tests.support.place import Place
from tests.support.waiting import wait_until


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A place without a control plane."""
    return Place.below(tmp_path)


def test_a_project_is_made_and_what_to_do_next_is_said(here: Place) -> None:
    done = here.flash("init", "the sub/demo").good()
    assert sorted(os.listdir(here.project / "the sub" / "demo")) == sorted(FILES)
    assert "python main.py" in done.stdout
    assert "cd 'the sub/demo'" in done.stdout
    assert 'app = "demo"' in (here.project / "the sub/demo/pyproject.toml").read_text()


def test_without_a_name_there_is_help(here: Place) -> None:
    assert here.flash("init").good().stdout == here.flash("init", "--help").good().stdout
    assert os.listdir(here.project) == []


def test_here_keeps_what_is_there(here: Place) -> None:
    here.write("main.py", "mine\n")
    here.write("notes.txt", "mine\n")
    refused = here.flash("init", ".")
    assert refused.status == 1
    assert "has files of these names: main.py; nothing was written, --force replaces them" in refused.stderr
    assert sorted(os.listdir(here.project)) == ["main.py", "notes.txt"]
    done = here.flash("init", ".", "--force").good()
    assert "cd " not in done.stdout
    assert (here.project / "main.py").read_text() != "mine\n"
    assert (here.project / "notes.txt").read_text() == "mine\n"
    here.flash("init", ".").good()


@pytest.mark.parametrize(("answer", "replaced"), [("n", False), ("y", True)])
def test_a_person_is_asked(here: Place, answer: str, replaced: bool) -> None:
    here.write("main.py", "mine\n")
    leader, follower = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), follower)
    command = [sys.executable, "-m", "flash_cli", "init", "."]
    with subprocess.Popen(command, cwd=here.project, env=here.env(), start_new_session=True, **streams) as process:
        os.close(follower)
        try:
            shown = b""
            while b"Replace them?" not in shown:
                shown += os.read(leader, 1000)
            os.write(leader, f"{answer}\n".encode())
            wait_until(lambda: process.poll() is not None, 30, "it ends")
        finally:
            process.kill()
            os.close(leader)
    assert process.returncode == 0
    assert b"main.py" in shown
    assert ((here.project / "main.py").read_text() != "mine\n") == replaced
    assert (len(os.listdir(here.project)) == len(FILES)) == replaced


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my app", "did you mean my-app?"),
        ("été", "did you mean t?"),
        ("..", "no project can be called '..'"),
        ("", "no project can be called ''"),
        ("a" * 64, f"did you mean {'a' * 63}?"),
        ("taken", "is no folder"),
    ],
)
def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError) as error:
        init(name, force=True)
    assert said in str(error.value)
    assert os.listdir(tmp_path) == ["taken"]


def test_an_odd_folder_gives_the_app_the_nearest_name(here: Place) -> None:
    folder = here.project / "my shop"
    folder.mkdir()
    done = here.run(["-m", "flash_cli", "init", "."], cwd=folder).good()
    assert "the app is called my-shop" in done.stderr
    assert 'app = "my-shop"' in (folder / "pyproject.toml").read_text()


def lines_of(readme: str, start: str) -> list[str]:
    """The command lines of a README that begin so."""
    return [line for line in readme.splitlines() if line.startswith(start)]


@contextmanager
def dev(place: Place, folder: Path) -> Iterator[str]:
    """`flash dev` in a folder; where it is found."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"localhost:{free.getsockname()[1]}"
    process = place.start(["-m", "flash_cli", "dev", "--port", address.partition(":")[2]], cwd=folder)
    try:
        assert process.stdout is not None
        assert any(address in line for line in process.stdout)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the README calls with curl")
def test_what_its_readme_says_works(place: Place) -> None:
    place.flash("init", "demo").good()
    folder = place.project / "demo"
    readme = (folder / "README.md").read_text()
    with dev(place, folder) as address:
        answers = [
            subprocess.run(
                ["sh", "-c", line.replace("localhost:8888", address)], capture_output=True, text=True, check=True
            ).stdout
            for line in lines_of(readme, "curl ")
        ]
    assert ['"to":2' in answers[0], '"mood":"good"' in answers[1], "Hello Ada!" in answers[2]] == [True] * 3, answers
    for line in lines_of(readme, "flash deploy") + lines_of(readme, "flash call"):
        done = place.run(["-m", "flash_cli", *shlex.split(line)[1:]], cwd=folder, timeout_s=170).good()
    assert json.loads(done.stdout) == {"to": 2, "be": 2, "or": 1}
    place.run(["-m", "flash_cli", "app", "delete", "demo", "--yes"], cwd=folder).good()
    assert place.endpoints() == []


@pytest.mark.slow
def test_the_project_runs_at_once(place: Place) -> None:
    place.flash("init", "demo").good()
    folder = place.project / "demo"
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "."]
    checked = subprocess.run(ruff, cwd=folder, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    done = place.run(["main.py"], cwd=folder, timeout_s=170).good()
    answers = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert re.fullmatch(r"\{'mood': 'good', 'sure': 0\.\d+\}", answers["gpu_worker"])
    assert answers["cpu_worker"] == "{'to': 2, 'be': 2}"
    assert answers["lb_worker"].strip() == "{'greeting': 'Hello Ada!'}"
    names = {(endpoint["name"], Path(endpoint["project"]).name) for endpoint in place.endpoints()}
    assert names == {("gpu_worker", "demo"), ("cpu_worker", "demo"), ("lb_worker", "demo")}
