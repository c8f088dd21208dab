"""Environments on disk: only what is whole is found."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from runpod_flash.control_plane.environment_files import LEFT_OVER_S, Answer, Environment, EnvironmentFiles

KEY = "ab" * 32


@pytest.fixture
def files(tmp_path: Path) -> EnvironmentFiles:
    files = EnvironmentFiles(tmp_path / "environments")
    files.prepare()
    return files


def build(files: EnvironmentFiles, *, complete: bool = True) -> Environment:
    folder = files.new(KEY)
    (folder / "overlay").mkdir()
    environment = Environment(KEY, sys.executable, str(folder / "overlay"), ("said",), ("/bin",), 2)
    if complete:
        files.complete(folder, environment, ("a==1", "b==2"))
    return environment


def test_a_whole_environment_is_found_by_its_key(files: EnvironmentFiles) -> None:
    assert files.built(KEY) is None
    environment = build(files)
    assert files.built(KEY) == environment
    assert files.built("cd" * 32) is None


def test_half_of_one_is_not_found_and_is_removed(files: EnvironmentFiles) -> None:
    half = build(files, complete=False)
    assert files.built(KEY) is None

    files.clear(KEY)

    assert not Path(half.overlay or "").exists()


def test_a_whole_one_beside_half_of_one_is_found(files: EnvironmentFiles) -> None:
    for _ in range(3):
        build(files, complete=False)
    whole = build(files)

    assert files.built(KEY) == whole


def test_an_answer_outlives_the_process(files: EnvironmentFiles) -> None:
    answer = Answer(build(files), ("hello",))
    files.record("request", answer)

    assert files.answer("request") == answer
    assert EnvironmentFiles(files.folder).answer("request") == answer
    assert files.answer("other") is None


def test_an_answer_whose_files_are_gone_is_none(files: EnvironmentFiles) -> None:
    environment = build(files)
    files.record("request", Answer(environment))
    assert files.answer("request") is not None

    Path(environment.overlay or "").rmdir()

    assert files.answer("request") is None
    assert files.built(KEY) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"environment": 3}', '{"environment": {"key": "x"}}'])
def test_an_answer_that_cannot_be_read_is_none(files: EnvironmentFiles, text: str) -> None:
    (files.folder / "requests" / "request.json").write_text(text)

    assert files.answer("request") is None


def test_a_mark_says_what_was_installed(files: EnvironmentFiles) -> None:
    environment = build(files)

    mark = json.loads((Path(environment.overlay or "").parent / "complete.json").read_text())

    assert mark["contents"] == ["a==1", "b==2"]


def test_working_folders_are_private_and_go(files: EnvironmentFiles) -> None:
    with files.work() as folder:
        assert folder.stat().st_mode & 0o077 == 0
        (folder / "file").touch()
    assert not folder.exists()


def test_old_working_folders_of_dead_processes_go(files: EnvironmentFiles) -> None:
    old, new = files.folder / "work" / "old", files.folder / "work" / "new"
    old.mkdir()
    new.mkdir()
    long_ago = time.time() - LEFT_OVER_S - 60
    os.utime(old, (long_ago, long_ago))

    files.prepare()

    assert (old.exists(), new.exists()) == (False, True)


def test_locks_of_different_names_do_not_meet(files: EnvironmentFiles) -> None:
    async def main() -> None:
        async with files.lock("a"), files.lock("b"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2), files.lock("a"):
                    pass

    asyncio.run(main())
