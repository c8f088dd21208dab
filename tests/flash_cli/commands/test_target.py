"""`flash target`: choosing a platform, with a real one behind the URL, and what goes wrong."""

import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from tests.support.fake_platform import KEY, FakePlatform
from tests.support.place import Place
from tests.support.waiting import wait_until


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A place without a control plane."""
    return Place.below(tmp_path)


def noted(place: Place) -> dict[str, object]:
    found: dict[str, object] = json.loads((place.home / "targets.json").read_text())
    return found


@pytest.mark.slow
def test_a_platform_is_chosen_and_left_again(here: Place, url: str, platform: FakePlatform) -> None:
    assert here.flash("target", "show").good().stdout == "local (nothing else was chosen)\n"
    used = here.flash("target", "use", f"{url}/", "--key", KEY).good()
    assert used.stdout == f"calls go to {url}\n"
    assert platform.requests["GET serverless"] == 1
    assert noted(here) == {"version": 1, "current": url, "targets": [{"url": url, "key": KEY, "name": None}]}
    shown = here.flash("target", "show").good().stdout
    assert shown == f"{url} ({here.home / 'targets.json'})\nkey: from {here.home / 'targets.json'}\n"
    assert here.flash("target", "use", "local").good().stdout == "calls go to this machine\n"
    listed = here.flash("target", "list").good().stdout
    rows = [["TARGET", "NAME", "KEY"], ["*", "local", "-", "-"], [url, "-", "noted"]]
    assert [line.split() for line in listed.splitlines()] == rows
    assert here.flash("target", "use", url).good().stdout == f"calls go to {url}\n", "its key is known"
    told = json.loads(here.flash("target", "list", "--json").good().stdout)
    assert told == {"current": url, "chosen": url, "targets": [{"url": url, "name": None, "has_key": True}]}


def test_calls_go_there(here: Place, url: str, platform: FakePlatform) -> None:
    here.flash("target", "use", url, "--key", KEY).good()
    script = """
    from runpod_flash import Endpoint
    @Endpoint(name="f", cpu="cpu3c-1-2")
    def f(x): return x
    print(f.spawn(1).id)
    """
    assert here.run_script(script).good().stdout == "job-0\n"
    assert here.run_script(script, env={"FLASH_API_KEY": "other"}).status == 1, "the environment goes first"
    refused = here.run_script(script, env={"FLASH_API_KEY": "other"}).stderr
    assert "it was sent the one from FLASH_API_KEY" in refused


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_key_that_is_refused_is_not_noted(here: Place, url: str, key: str | None) -> None:
    done = here.flash("target", "use", url, *(["--key", key] if key else []))
    assert done.status == 1
    assert f"error: {url} refuses the key (the key is wrong); " in done.stderr
    assert ("the one from --key" in done.stderr) == bool(key)
    assert "Traceback" not in done.stderr
    assert not (here.home / "targets.json").exists()


def test_who_does_not_answer_or_is_no_platform_is_not_noted(here: Place, url: str, platform: FakePlatform) -> None:
    absent = here.flash("target", "use", "http://127.0.0.1:9", "--key", "k")
    assert absent.status == 1
    assert "error: http://127.0.0.1:9 cannot be reached" in absent.stderr
    platform.refuse = lambda request: PlainTextResponse("<html>hello</html>")
    other = here.flash("target", "use", url, "--key", KEY)
    assert other.status == 1
    assert f"error: {url} is no platform for calls: " in other.stderr
    assert "--no-check" in other.stderr
    assert not (here.home / "targets.json").exists()
    here.flash("target", "use", "http://127.0.0.1:9", "--key", "k", "--no-check").good()
    assert noted(here)["current"] == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["lab"], 1, "'lab' is no URL of a platform"),
        (["http://h", "--key", "k", "--key-stdin"], 2, "not by both"),
        (["http://h", "--key", "ä", "--no-check"], 1, "characters that no key has"),
        ([], 2, "NAME|URL|local"),
    ],
)
def test_wrong_use(here: Place, arguments: list[str], status: int, said: str) -> None:
    done = here.flash("target", "use", *arguments)
    assert done.status == status
    assert said in done.stderr
    assert not (here.home / "targets.json").exists()


def test_a_key_comes_by_standard_input(here: Place, url: str) -> None:
    here.run(["-m", "flash_cli", "target", "use", url, "--key-stdin"], stdin=f"{KEY}\n").good()
    assert KEY in (here.home / "targets.json").read_text()


def test_a_person_is_asked_for_the_key_which_is_not_shown(here: Place, url: str) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "flash_cli", "target", "use", url]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), follower)
    with subprocess.Popen(command, cwd=here.project, env=here.env(), start_new_session=True, **streams) as process:
        try:
            os.close(follower)
            wait_until(lambda: not termios.tcgetattr(leader)[3] & termios.ECHO, 30, "the key is asked for")
            os.write(leader, f"{KEY}\n".encode())
            shown = b""
            while b"calls go to" not in shown:
                shown += os.read(leader, 1000)
            assert process.wait(20) == 0
        finally:
            process.kill()
            os.close(leader)
    assert b"Key for http://127" in shown
    assert KEY.encode() not in shown
    assert KEY in (here.home / "targets.json").read_text()


def test_what_the_environment_says_is_named(here: Place) -> None:
    done = here.flash("target", "use", "local", env={"FLASH_TARGET": "inline"}).good()
    assert "FLASH_TARGET is set to inline" in done.stdout
    assert here.flash("target", "show", env={"FLASH_TARGET": "inline"}).good().stdout == "inline (FLASH_TARGET)\n"


def test_a_key_that_would_travel_in_clear_is_told(here: Place) -> None:
    done = here.flash("target", "use", "http://lab.example", "--key", "k", "--no-check").good()
    assert "unencrypted" in done.stdout
    assert "unencrypted" not in here.flash("target", "use", "http://[::1]:9", "--key", "k", "--no-check").stdout


@pytest.mark.slow
def test_a_platform_is_noted_chosen_by_name_and_forgotten(here: Place, url: str) -> None:
    added = here.flash("target", "add", url, "--name", "lab", "--key", KEY).good()
    assert added.stdout == f"{url} is noted; choose it: flash target use lab\n"
    assert noted(here) == {"version": 1, "current": None, "targets": [{"url": url, "key": KEY, "name": "lab"}]}
    assert here.flash("target", "show").good().stdout == "local (nothing else was chosen)\n"
    assert here.flash("target", "use", "lab").good().stdout == f"calls go to {url}\n"
    unknown = here.flash("target", "remove", "lib")
    assert (unknown.status, "did you mean lab?" in unknown.stderr) == (1, True)
    other = here.flash("target", "remove", "http://other")
    assert (other.status, "http://other is not noted; noted are: lab" in other.stderr) == (1, True)
    assert here.flash("target", "remove", "lab").good().stdout == f"{url} is forgotten; calls go to this machine\n"
    assert noted(here) == {"version": 1, "current": None, "targets": []}


def test_a_platform_that_refuses_the_key_is_not_noted(here: Place, url: str) -> None:
    refused = here.flash("target", "add", url, "--name", "lab", "--key", "wrong")
    assert (refused.status, "refuses the key" in refused.stderr) == (1, True)
    misnamed = here.flash("target", "add", url, "--name", "my lab", "--key", KEY)
    assert (misnamed.status, "cannot be called 'my lab'" in misnamed.stderr) == (1, True)
    assert not (here.home / "targets.json").exists()
