"""`flash login`: the owner of a real control plane lets somebody in; keys that are piped and typed; Runpod's file."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from tests.support.fake_platform import KEY, FakePlatform
from tests.support.place import Finished, Place
from tests.support.plane_api import plane_record
from tests.support.waiting import wait_until

CODE = re.compile(r"[A-Z]{4}-[A-Z]{4}")


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A place without a control plane."""
    return Place.below(tmp_path)


@pytest.fixture
def owner(shared_place: Place) -> Place:
    """The place of the control plane that others log in to."""
    shared_place.serve()
    return shared_place


@contextmanager
def asking(here: Place, owner: Place, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`flash login` that waits for the owner, and its code."""
    address = f"http://127.0.0.1:{plane_record(owner)['port']}"
    process = here.start(["-m", "flash_cli", "login", address, *arguments])
    try:
        assert process.stderr is not None
        code = next(found[0] for line in process.stderr if (found := CODE.search(line)))
        yield process, code
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> Finished:
    stdout, stderr = process.communicate(timeout=60)
    return Finished(process.returncode, stdout, stderr)


def key_of(here: Place) -> str:
    (target,) = json.loads((here.home / "targets.json").read_text())["targets"]
    return str(target["key"])


@pytest.mark.slow
def test_the_owner_lets_somebody_in(here: Place, owner: Place) -> None:
    with asking(here, owner) as (process, code):
        listed = json.loads(owner.flash("server", "keys", "requests", "--json").good().stdout)["logins"]
        assert next(each["label"] for each in listed if each["code"] == code).endswith(os.uname().nodename)
        approved = owner.flash("server", "keys", "approve", code, "--user", "ada", "--scope", "read-only").good()
        assert approved.stdout.endswith("gets a key of user ada\n")
        done = ended(process).good()
    assert done.stdout.startswith("logged in: calls go to http://127.0.0.1:")
    assert (here.home / "targets.json").stat().st_mode & 0o777 == 0o600
    keys = json.loads(owner.flash("server", "keys", "list", "--json").good().stdout)["keys"]
    (made,) = (key for key in keys if key["id"] in key_of(here))
    assert (made["user"], made["scope"]) == ("ada", "read-only")
    assert key_of(here) not in done.stdout + done.stderr
    log = next(owner.home.rglob("plane.log")).read_text()
    assert key_of(here) not in log
    assert code not in owner.flash("server", "keys", "requests").good().stdout


@pytest.mark.slow
def test_the_owner_keeps_somebody_out(here: Place, owner: Place) -> None:
    with asking(here, owner) as (process, code):
        assert owner.flash("server", "keys", "deny", code).good().stdout == f"{code} is denied\n"
        done = ended(process)
    assert (done.status, done.stdout) == (1, "")
    assert "error: the owner of the control plane has denied this login" in done.stderr
    assert not (here.home / "targets.json").exists()
    again = owner.flash("server", "keys", "deny", code)
    assert (again.status, "no login waits" in again.stderr) == (1, True)


def test_nobody_answers(here: Place, owner: Place) -> None:
    with asking(here, owner, "--timeout", "1") as (process, code):
        done = ended(process)
    assert (done.status, f"error: nobody let you in with {code} within 1 s" in done.stderr) == (1, True)


def test_ctrl_c_leaves_at_once(here: Place, owner: Place) -> None:
    with asking(here, owner) as (process, _):
        process.send_signal(signal.SIGINT)
        done = ended(process)
    assert done.status == 130
    assert "Traceback" not in done.stderr


def piped(here: Place, text: str, *arguments: str, env: dict[str, str] | None = None) -> Finished:
    return here.run(["-m", "flash_cli", "login", *arguments, "--key-stdin"], stdin=text, env=env)


@pytest.mark.slow
def test_a_key_is_piped_and_tried(here: Place, url: str) -> None:
    refused = piped(here, "wrong\n", url)
    assert (refused.status, "refuses the key" in refused.stderr) == (1, True)
    empty = piped(here, "\n", url)
    assert (empty.status, "standard input has no key" in empty.stderr) == (1, True)
    assert not (here.home / "targets.json").exists()
    assert piped(here, f"{KEY}\n", url).good().stdout == f"logged in: calls go to {url}\n"
    assert key_of(here) == KEY
    assert piped(here, KEY).good().stdout == f"logged in: calls go to {url}\n", "the chosen platform"


def test_variables_that_go_before_the_new_key_are_named(here: Place, url: str) -> None:
    done = piped(here, KEY, url, env={"FLASH_API_KEY": "stale", "FLASH_TARGET": "http://other"}).good()
    assert "warning: FLASH_TARGET is set to http://other" in done.stdout
    assert "warning: FLASH_API_KEY is set to another key" in done.stdout
    assert "stale" not in done.stdout


def test_a_key_is_typed_and_not_shown(here: Place, url: str) -> None:
    shown = typed(here, KEY, "login", url)
    assert f"logged in: calls go to {url}" in shown
    assert KEY not in shown
    assert key_of(here) == KEY


def typed(here: Place, text: str, *arguments: str, env: dict[str, str] | None = None) -> str:
    """What a terminal shows of a command that is answered with a line."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "flash_cli", *arguments]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), follower)
    with subprocess.Popen(command, cwd=here.project, env=here.env(env), start_new_session=True, **streams) as process:
        os.close(follower)
        try:
            wait_until(lambda: not termios.tcgetattr(leader)[3] & termios.ECHO, 30, "the key is asked for")
            os.write(leader, f"{text}\n".encode())
            wait_until(lambda: process.poll() is not None, 60, "it ends")
            shown = os.read(leader, 10_000)
        finally:
            process.kill()
            os.close(leader)
    return shown.decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "calls go to this machine, which needs no login"),
        (["lab"], "'lab' is no URL of a platform"),
        (["http://127.0.0.1:9"], "http://127.0.0.1:9 cannot be reached"),
        (["runpod"], "pipe it: flash login runpod --key-stdin"),
    ],
)
def test_what_is_no_platform_is_named(here: Place, arguments: list[str], said: str) -> None:
    done = here.flash("login", *arguments)
    assert (done.status, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_a_platform_without_logins_says_what_to_do(here: Place, url: str, platform: FakePlatform) -> None:
    done = here.flash("login", url)
    assert (done.status, "gives no keys this way (status 404)" in done.stderr) == (1, True)


def test_a_key_for_runpod_is_tried_and_kept_where_its_tools_find_it(
    here: Place, url: str, platform: FakePlatform
) -> None:
    env = {"HOME": str(here.home), "RUNPOD_API_BASE_URL": url}
    path = here.home / ".runpod" / "config.toml"
    refused = piped(here, "wrong", "runpod", env=env)
    assert (refused.status, f"{url} refuses the key from standard input" in refused.stderr) == (1, True)
    assert not path.exists()
    kept = piped(here, KEY, "runpod", env={**env, "RUNPOD_API_KEY": "stale"}).good()
    assert kept.stdout.startswith(f"logged in: the key is kept in {path}\n")
    assert "warning: RUNPOD_API_KEY is set to another key" in kept.stdout
    assert path.read_text() == f'[default]\napi_key = "{KEY}"\n'
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"a key for Runpod's cloud, from {path}" in here.flash("target", "show", env=env).good().stderr
    platform.refuse = lambda request: PlainTextResponse("down", 503)
    down = piped(here, KEY, "runpod", env=env)
    assert (down.status, "answers with status 503" in down.stderr) == (1, True)


def test_the_page_of_keys_is_opened_unless_it_is_not_wanted(here: Place, url: str) -> None:
    opened = here.project / "opened"
    browser = here.write("browser", f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    env = {"HOME": str(here.home), "RUNPOD_API_BASE_URL": url, "RUNPOD_CONSOLE_URL": url, "BROWSER": f"{browser} %s"}
    assert f"Keys are made at {url}/user/settings" in typed(here, KEY, "login", "runpod", "--no-open", env=env)
    assert not opened.exists()
    typed(here, KEY, "login", "runpod", env=env)
    wait_until(opened.exists, 20, "the browser is started")
    assert opened.read_text() == f"{url}/user/settings\n"
