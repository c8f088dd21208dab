"""Where interpreters are looked for, in which order, and what is said where there is none."""

import asyncio
import json
from pathlib import Path

import pytest

from runpod_flash.control_plane.environment_files import EnvironmentFiles
from runpod_flash.control_plane.interpreters import Interpreters
from runpod_flash.control_plane.python_search import PythonPlaces, PythonSearch
from tests.support.packages import base_env
from worker_runtime.install import InstallFailed, Uv


def make_python(path: Path, version: str) -> str:
    """A program that answers as an interpreter of this version does."""
    answer = {"version": [int(part) for part in version.split(".")], "prefix": "/usr", "path": [], "packages": []}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    path.chmod(0o755)
    return str(path)


class World:
    """Places with nothing in them, and a uv that knows no interpreter but what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = EnvironmentFiles(folder / "environments")
        self.files.prepare()
        self.uv_says("exit 2")

    def uv_says(self, text: str) -> None:
        (self.folder / "uv").write_text(f'#!/bin/sh\necho "$@" >> {self.folder}/asked\n{text}\n')
        (self.folder / "uv").chmod(0o755)

    def find(self, version: str = "3.13", *, named: tuple[str, ...] = (), download: bool = False) -> str:
        env = base_env(self.folder)
        places = PythonPlaces(
            named=named,
            path=(str(self.folder / "first"), str(self.folder / "second")),
            pyenv=self.folder / "pyenv",
            download=download,
        )
        uv = Uv(str(self.folder / "uv"), env, self.folder / "cache")
        search = PythonSearch(places, uv, Interpreters(env), self.files.folder / "pythons", self.files.lock)
        return asyncio.run(search.find(version, self.folder))

    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines() if (self.folder / "asked").exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_on_the_path(world: World) -> None:
    found = make_python(world.folder / "second" / "python3.13", "3.13.1")
    assert world.find() == found
    assert world.asked() == []


def test_a_shim_that_leads_nowhere_and_a_name_that_lies_are_passed_over(world: World) -> None:
    shim = world.folder / "first" / "python3.13"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    make_python(world.folder / "second" / "python3.13", "3.11.7")
    found = make_python(world.folder / "pyenv" / "versions" / "3.13.0" / "bin" / "python3.13", "3.13.0")
    assert world.find() == found


def test_the_newest_in_pyenv(world: World) -> None:
    for version in ("3.13.2", "3.13.10", "3.12.1"):
        make_python(world.folder / "pyenv" / "versions" / version / "bin" / f"python{version[:4]}", version)
    assert world.find() == str(world.folder / "pyenv" / "versions" / "3.13.10" / "bin" / "python3.13")


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ("any/thing", "any/thing"),
        ("bin", "bin/python3.13"),
        ("prefix", "prefix/bin/python3.13"),
        ("many", "many/3.13.0/bin/python3.13"),
        ("managed", "managed/cpython-3.13.0-linux-x86_64-gnu/bin/python3.13"),
    ],
)
def test_what_is_named_comes_first(world: World, named: str, place: str) -> None:
    make_python(world.folder / "first" / "python3.13", "3.13.9")
    found = make_python(world.folder / place, "3.13.0")
    assert world.find(named=("/nowhere", str(world.folder / named))) == found


def test_what_uv_knows_is_the_last_resort(world: World) -> None:
    found = make_python(world.folder / "elsewhere" / "python", "3.13.0")
    world.uv_says(f"echo {found}")
    assert world.find() == found
    assert world.asked() == ["python find --system 3.13"]


def test_where_there_is_none_it_is_said_where_was_looked_and_how_to_get_one(world: World) -> None:
    world.uv_says('test "$2" = list && echo "cpython-3.11.7-linux /usr/bin/python3.11" || exit 2')
    with pytest.raises(InstallFailed) as caught:
        world.find(named=("/opt/pythons",))
    said = str(caught.value)
    for part in (
        "there is no Python 3.13 on this machine",
        "FLASH_PYTHONS (/opt/pythons)",
        "as python3.13 on the PATH",
        f"in {world.folder}/pyenv/versions",
        "found: /usr/bin/python3.11 (cpython-3.11.7-linux)",
        "pyenv install 3.13",
        "uv python install 3.13",
        "FLASH_DOWNLOAD_PYTHON=1",
    ):
        assert part in said
    assert caught.value.holds_s == 0
    assert not any(asked.startswith("python install") for asked in world.asked())


def test_a_download_happens_only_where_it_was_asked_for_and_once(world: World) -> None:
    """uv is a stand-in: it puts an interpreter where it is told to, as `uv python install` does."""
    made = world.files.folder / "pythons" / "cpython-3.13.0-linux-x86_64-gnu" / "bin" / "python3.13"
    source = make_python(world.folder / "kept", "3.13.0")
    world.uv_says(
        f'if [ "$2" = install ]; then mkdir -p {made.parent}; cp {source} {made}; exit 0; fi\n'
        f'test -e {made} && test -n "$UV_PYTHON_INSTALL_DIR" && echo {made} || exit 2'
    )
    assert world.find(download=True) == str(made)
    assert world.find(download=True) == str(made)
    assert [asked for asked in world.asked() if asked.startswith("python install")] == ["python install 3.13"]


def test_the_installations_that_may_not_change_under_users(world: World) -> None:
    make_python(world.folder / "pyenv" / "versions" / "3.13.0" / "bin" / "python3.13", "3.13.0")
    make_python(world.folder / "opt" / "bin" / "python3.12", "3.12.0")
    make_python(world.folder / "usr" / "bin" / "python3.11", "3.11.0")
    (world.folder / "links").mkdir()
    (world.folder / "links" / "python3.11").symlink_to(world.folder / "usr" / "bin" / "python3.11")
    places = PythonPlaces((str(world.folder / "opt"),), (str(world.folder / "links"),), world.folder / "pyenv")
    assert places.folders() == [world.folder / name for name in ("opt", "pyenv/versions/3.13.0", "usr")]


def test_other_versions_are_refused_before_anything_is_run(world: World) -> None:
    for version in ("3.10", "3.14", "/bin/sh", "3.13 --flag", ""):
        with pytest.raises(InstallFailed, match=r"there are no workers for Python '.*', only for 3\.11, 3\.12, 3\.13"):
            world.find(version, download=True)
    assert world.asked() == []
