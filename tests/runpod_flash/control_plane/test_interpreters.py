"""What an interpreter has: asked once, seen again when it changes."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runpod_flash.control_plane.interpreters import KEPT, Interpreter, Interpreters, ask_ahead
from tests.support.packages import UV, base_env, make_caller, make_wheel, snapshot
from worker_runtime.install import InstallFailed

ENV = {"PATH": os.environ["PATH"]}


def inspect(python: str, interpreters: Interpreters | None = None) -> Interpreter:
    return asyncio.run((interpreters or Interpreters(ENV)).inspect(python))


def versions(interpreter: Interpreter) -> dict[str, str]:
    return {package.name: package.version for package in interpreter.packages}


@pytest.fixture
def python(tmp_path: Path) -> str:
    return make_caller(tmp_path / "caller", sys.executable, [make_wheel(tmp_path, "Some.Thing", "1.0", ["leaf>=1"])])


def test_version_prefix_and_packages(python: str, tmp_path: Path) -> None:
    found = inspect(python)

    assert found.path == python
    assert found.version == "{}.{}.{}".format(*sys.version_info)
    assert found.minor == "{}.{}".format(*sys.version_info)
    assert versions(found) == {"some-thing": "1.0"}
    assert found.pins() == ["some-thing==1.0"]
    assert found.bin_folders() == (str(tmp_path / "caller" / "bin"),)


def test_asking_writes_nothing(python: str, tmp_path: Path) -> None:
    before = snapshot(tmp_path / "caller")

    inspect(python)

    assert snapshot(tmp_path / "caller") == before


def test_a_new_package_changes_the_digest_and_nothing_else_does(python: str, tmp_path: Path) -> None:
    interpreters = Interpreters(ENV)
    first = inspect(python, interpreters)
    assert inspect(python).digest == first.digest

    site = next((tmp_path / "caller").glob("lib/python*/site-packages"))
    (site / "leftover.txt").write_text("")
    assert inspect(python, interpreters).digest == first.digest

    wheel = make_wheel(tmp_path, "leaf", "1.0")
    env = base_env(tmp_path) | {"UV_NO_CONFIG": "1"}
    subprocess.run([UV, "pip", "install", "-q", "--offline", "--python", python, wheel], env=env, check=True)
    changed = inspect(python, interpreters)
    assert changed.digest != first.digest
    assert versions(changed) == {"leaf": "1.0", "some-thing": "1.0"}


def test_is_asked_once_while_nothing_changes(python: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    counting = tmp_path / "counting"
    counting.write_text(f'#!/bin/sh\necho x >> {calls}\nexec {python} "$@"\n')
    counting.chmod(0o755)
    interpreters = Interpreters(ENV)

    async def main() -> None:
        await asyncio.gather(*(interpreters.inspect(str(counting)) for _ in range(5)))
        await interpreters.inspect(str(counting))

    asyncio.run(main())

    assert calls.read_text() == "x\n"


def test_what_was_asked_ahead_is_not_asked_again(python: str, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    counting = tmp_path / "counting"
    counting.write_text(f'#!/bin/sh\necho x >> {calls}\nexec {python} "$@"\n')
    counting.chmod(0o755)
    environments = tmp_path / "environments"

    ask_ahead(str(counting), ENV, environments)
    found = inspect(str(counting), Interpreters(ENV, environments / KEPT))

    assert calls.read_text() == "x\n"
    assert versions(found) == versions(inspect(python))


def test_asking_ahead_of_one_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    ask_ahead(str(tmp_path / "none"), ENV, tmp_path / "environments")
    assert not (tmp_path / "environments").exists()


def test_two_environments_with_the_same_packages_have_two_digests(python: str, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "caller", tmp_path / "copy", symlinks=True)

    assert inspect(python).digest != inspect(str(tmp_path / "copy" / "bin" / "python")).digest


def test_metadata_is_what_a_resolver_needs(python: str, tmp_path: Path) -> None:
    inspect(python).write_metadata(tmp_path / "seen")

    text = (tmp_path / "seen" / "some_thing-1.0.dist-info" / "METADATA").read_text()
    assert "Requires-Dist: leaf>=1\n" in text
    assert "A description" not in text


def test_eggs_direct_urls_and_relics(python: str, tmp_path: Path) -> None:
    site = next((tmp_path / "caller").glob("lib/python*/site-packages"))
    egg = site / "old_egg-2.0-py3.11.egg-info"
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 1.1\nName: old-egg\nVersion: 2.0\n")
    (egg / "requires.txt").write_text("leaf\n")
    relic = site / "relic-2004d.dist-info"
    relic.mkdir()
    (relic / "METADATA").write_text("Metadata-Version: 1.1\nName: relic\nVersion: 2004d-odd\n")
    (site / "empty-1.dist-info").mkdir()
    (site / "some_thing-1.0.dist-info" / "direct_url.json").write_text('{"url": "file:///x"}')

    found = inspect(python)

    assert versions(found) == {"old-egg": "2.0", "some-thing": "1.0"}
    packages = {package.name: package for package in found.packages}
    assert "Requires-Dist: leaf" in packages["old-egg"].header
    assert packages["some-thing"].origin == '{"url": "file:///x"}'
    found.write_metadata(tmp_path / "seen")
    assert (tmp_path / "seen" / "some_thing-1.0.dist-info" / "direct_url.json").exists()


def test_the_packages_of_the_system_are_seen_through_a_venv_that_shows_them(tmp_path: Path) -> None:
    below = make_caller(tmp_path / "caller", sys.executable, [make_wheel(tmp_path, "leaf", "1.0")])
    site = next((tmp_path / "caller").glob("lib/python*/site-packages"))
    upper = make_caller(tmp_path / "upper", below)
    (next((tmp_path / "upper").glob("lib/python*/site-packages")) / "more.pth").write_text(f"{site}\n")

    assert versions(inspect(upper)) == {"leaf": "1.0"}


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("#!/bin/sh\necho broken >&2; exit 3\n", "broken")])
def test_what_cannot_be_run_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "python"
    if text is not None:
        path.write_text(text)
        path.chmod(0o755)

    with pytest.raises(InstallFailed, match=said) as caught:
        inspect(str(path))
    assert str(path) in str(caught.value)


def test_what_came_with_the_virtual_environment_is_not_held(tmp_path: Path) -> None:
    wheels = [make_wheel(tmp_path, "setuptools", "65.5.0"), make_wheel(tmp_path, "chosen", "1.0")]
    found = inspect(make_caller(tmp_path / "caller", sys.executable, wheels))

    assert versions(found) == {"chosen": "1.0", "setuptools": "65.5.0"}
    assert found.pins() == ["chosen==1.0"]
