"""What Tab offers, as the shells ask for it: names of the chosen target, and nothing where it cannot be asked."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flash_cli.commands import complete
from tests.support.fake_platform import KEY, FakePlatform
from tests.support.place import Place
from tests.support.processes import processes_of

STAGES = [{"name": "production", "version": 3}, {"name": "staging", "version": 0}]


@pytest.fixture
def here(tmp_path: Path) -> Place:
    """A place without a control plane."""
    return Place.below(tmp_path)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch, url: str, platform: FakePlatform) -> Iterator[FakePlatform]:
    """A platform that this process has chosen."""
    monkeypatch.setenv("FLASH_TARGET", url)
    monkeypatch.setenv("FLASH_API_KEY", KEY)
    monkeypatch.setattr(complete, "PATIENCE_S", 30.0)
    platform.listed_apps = [{"name": "shop", "stages": STAGES}, {"name": "blog", "stages": []}]
    platform.endpoints = {f"ep{i}": {"id": f"ep{i}", "name": name} for i, name in enumerate(["resize", "infer"])}
    return platform


def tab(place: Place, line: str, env: dict[str, str] | None = None) -> list[str]:
    """What bash is offered at the end of a line."""
    asked = {"_FLASH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), **(env or {})}
    finished = place.run(["-m", "flash_cli"], env=asked).good()
    assert finished.stderr == ""
    return finished.stdout.split()


def test_names_come_from_the_chosen_target(chosen: FakePlatform) -> None:
    assert complete.names("endpoints") == [("infer", "ep1"), ("resize", "ep0")]
    assert complete.names("apps") == [("blog", "no environment"), ("shop", "production, staging")]
    assert complete.names("stages") == [("production", "of shop"), ("staging", "of shop")]
    assert complete.names("stages", "shop") == [("production", "version 3"), ("staging", "version 0")]
    assert complete.names("stages", "blog") == []


def test_stages_are_those_of_the_projects_app_where_it_is_there(
    chosen: FakePlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen.listed_apps is not None
    chosen.listed_apps.append({"name": "game", "stages": [{"name": "beta", "version": 1}]})
    (tmp_path / "pyproject.toml").write_text('[tool.flash]\napp = "game"\n')
    monkeypatch.chdir(tmp_path)
    assert complete.names("stages") == [("beta", "version 1")]
    (tmp_path / "pyproject.toml").write_text('[tool.flash]\napp = "another"\n')
    assert [name for name, _ in complete.names("stages")] == ["beta", "production", "staging"]
    monkeypatch.setenv("FLASH_APP", "shop")
    assert [name for name, _ in complete.names("stages")] == ["production", "staging"]


def test_an_answer_that_is_none_offers_nothing(chosen: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen.listed_apps = [{"title": "shop"}]
    assert complete.names("apps") == []
    monkeypatch.setenv("FLASH_API_KEY", "wrong")
    assert complete.names("endpoints") == []
    monkeypatch.setenv("FLASH_TARGET", "nonsense")
    assert complete.names("endpoints") == []


def test_who_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("FLASH_TARGET", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert complete.names("endpoints") == []


def test_no_control_plane_is_started(here: Place) -> None:
    assert tab(here, "flash server remove ") == []
    assert processes_of(here.home) == []


def test_commands_options_and_targets_are_offered(here: Place) -> None:
    assert tab(here, "flash ta") == ["target"]
    assert tab(here, "flash target l") == ["list"]
    assert "--name" in tab(here, "flash target add --")
    here.flash("target", "add", "http://lab.example", "--name", "lab", "--no-check").good()
    assert tab(here, "flash target use ") == ["local", "lab", "http://lab.example"]
    assert tab(here, "flash target use la") == ["lab"]


@pytest.mark.slow
def test_endpoints_of_this_machine_are_offered(shared_place: Place) -> None:
    shared_place.flash("server", "add", "--name", "offered", "--command", "python handler.py").good()
    assert "offered" in tab(shared_place, "flash server remove off")
    shared_place.flash("server", "remove", "offered").good()
    assert tab(shared_place, "flash server remove off") == []


@pytest.mark.slow
def test_apps_and_their_environments_are_offered(shared_place: Place) -> None:
    shared_place.flash("env", "create", "staging", "--app", "offered-app").good()
    assert tab(shared_place, "flash app get off") == ["offered-app"]
    assert tab(shared_place, "flash deploy --app offered-app --env ") == ["staging"]
    shared_place.flash("app", "delete", "offered-app", "--yes").good()
    assert tab(shared_place, "flash app get off") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(here: Place, shell: str) -> None:
    script = here.flash(env={"_FLASH_COMPLETE": f"source_{shell}"}).good().stdout
    assert f"complete_{shell}" in script
    if program := shutil.which(shell):
        checked = subprocess.run([program, "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes_once_it_is_installed(here: Place) -> None:
    here.write("bin/flash", f'#!/bin/sh\nexec {sys.executable} -m flash_cli "$@"\n').chmod(0o755)
    env = here.env({"HOME": str(here.home), "PATH": f"{here.project / 'bin'}:{os.environ['PATH']}"})
    asked = (
        "flash --install-completion >/dev/null; . ~/.bashrc; COMP_WORDS=(flash ta); COMP_CWORD=1; "
        'function=$(complete -p flash | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); "$function" flash; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", asked], env=env, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "target\n", "")
