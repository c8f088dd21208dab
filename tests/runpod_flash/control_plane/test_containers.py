"""The engine that runs images: found, asked, swept. The whole way is in tests/acceptance/test_images.py."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_flash.control_plane import containers
from runpod_flash.control_plane.containers import Engine
from tests.support.waiting import wait_until
from worker_runtime.install import InstallFailed


def program(folder: Path, name: str, script: str) -> Path:
    """A program of this name on a PATH of its own, which notes how it was called."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$*" >> {folder}/calls\n{script}\n')
    path.chmod(0o755)
    return path


def engine(folder: Path, wanted: str = "", *, path: str | None = None) -> Engine:
    env = {"PATH": path or f"{folder}:/usr/bin:/bin"}
    return Engine.find(wanted, env, "p1", folder / "marker", for_everybody=False)


def prepare(found: Engine) -> list[str]:
    """What is heard while an image is prepared."""
    heard: list[str] = []
    asyncio.run(found.prepare("a/b", heard.append))
    return heard


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        (["docker", "podman"], "", "docker"),
        (["podman"], "", "podman"),
        (["docker", "podman"], "podman", "podman"),
        (["docker"], "no-such", None),
    ],
)
def test_the_program_is_looked_for(tmp_path: Path, there: list[str], wanted: str, found: str | None) -> None:
    for name in there:
        program(tmp_path / "bin", name, "exit 0")
    made = engine(tmp_path / "bin", wanted, path=str(tmp_path / "bin"))
    assert made.program == (None if found is None else str(tmp_path / "bin" / found))
    assert made.is_podman is (found == "podman")
    assert (made.missing("a/b") is None) is (found is not None)


def test_without_a_program_it_says_which_one(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match=r"needs a container engine .* docker or podman is not on its PATH"):
        prepare(engine(tmp_path, path=str(tmp_path)))


def test_an_image_that_is_there_is_not_fetched(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker", "exit 0")
    assert prepare(engine(tmp_path / "bin")) == []
    assert (tmp_path / "bin" / "calls").read_text().splitlines() == ["info", "image inspect a/b"]


def test_one_that_is_not_is_fetched_and_the_engines_words_are_told(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker", 'case "$1" in image) exit 1;; pull) echo denied >&2; exit 1;; esac')
    with pytest.raises(InstallFailed, match=r"(?s)cannot fetch it; .*it says:\ndenied"):
        prepare(engine(tmp_path / "bin"))
    program(tmp_path / "bin", "docker", '[ "$1" != image ]')
    assert prepare(engine(tmp_path / "bin")) == ["image a/b is fetched"]


def test_an_engine_that_is_silent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_ANSWER_S", 0.2)
    program(tmp_path / "bin", "docker", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    with pytest.raises(
        InstallFailed,
        match=r"its engine does not answer; start it \(dockerd\), .* by DOCKER_HOST, .* it was silent for 0.2 s",
    ):
        prepare(engine(tmp_path / "bin"))
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "the program that hung is ended")


def test_what_is_left_behind_is_swept_once(tmp_path: Path) -> None:
    program(tmp_path / "bin", "docker", '[ "$1" = ps ] && echo c1 c2; exit 0')
    found = engine(tmp_path / "bin")
    asyncio.run(found.sweep())  # there was none: nobody is asked
    found.marker.touch()
    asyncio.run(found.sweep())
    asyncio.run(found.sweep())
    assert (tmp_path / "bin" / "calls").read_text().splitlines() == [
        "ps --all --quiet --filter label=flash.plane=p1",
        "rm --force c1 c2",
    ]


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    path.chmod(0o600)
    yield
    path.chmod(0o755)


def test_a_program_that_cannot_be_run_does_not_keep_the_control_plane_from_starting(tmp_path: Path) -> None:
    path = program(tmp_path / "bin", "docker", "exit 0")
    found = engine(tmp_path / "bin")
    found.marker.touch()
    with unreadable(path):
        asyncio.run(found.sweep())
        asyncio.run(found.remove("w-1"))
    assert found.marker.exists()  # for the next start
    assert not os.path.exists(tmp_path / "bin" / "calls")
