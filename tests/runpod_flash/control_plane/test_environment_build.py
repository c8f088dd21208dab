"""Which environment a request gets: the caller's own, an overlay, or a separate one."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from runpod_flash.control_plane.environment_build import Builder
from runpod_flash.control_plane.environment_files import Environment, EnvironmentFiles
from runpod_flash.control_plane.interpreters import Interpreters
from tests.support.packages import UV, base_env, make_broken_source, make_caller, make_wheel, snapshot
from worker_runtime.install import InstallFailed, NoSolution, Uv
from worker_runtime.pip import Pip
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LOOK = """
import importlib, json, sys
if sys.argv[1]:
    sys.path.insert(0, sys.argv[1])
found = {}
for name in sys.argv[2:]:
    try:
        found[name] = importlib.import_module(name).VERSION
    except ImportError:
        found[name] = None
print(json.dumps(found))
"""


class World:
    """A wheel folder, callers, and a builder with a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels = folder, folder / "wheels"
        self.env = base_env(folder)
        self.files = EnvironmentFiles(folder / "environments")
        self.files.prepare()
        self.interpreters = Interpreters(self.env)
        self.builder = Builder(self.files, Uv(UV, self.env, folder / "cache"), self.interpreters, Pip(self.env))
        self.said: list[str] = []
        for version in ("1.0", "2.0"):
            make_wheel(self.wheels, "leaf", version, script="leaf-command")
        make_wheel(self.wheels, "old-top", "1.0", ["leaf<2"])
        make_wheel(self.wheels, "new-top", "1.0", ["leaf>=2"])
        make_wheel(self.wheels, "any-top", "1.0", ["leaf"])

    def caller(self, *wheels: Path) -> str:
        return make_caller(self.folder / "caller", sys.executable, wheels)

    def leaf(self, version: str) -> Path:
        return self.wheels / f"leaf-{version}-py3-none-any.whl"

    def build(
        self, caller: str | None, *dependencies: str, python: str = PYTHON, accelerate: bool = True
    ) -> Environment:
        index = PackageIndex(find_links=(str(self.wheels),), no_index=True)
        request = EnvironmentRequest(python, dependencies, caller=caller, index=index, accelerate=accelerate)

        async def main() -> Environment:
            interpreter = await self.interpreters.inspect(caller) if caller else None
            return await self.builder.build(request, interpreter, self.said.append)

        return asyncio.run(main())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def versions(environment: Environment, *names: str) -> dict[str, str | None]:
    """What code in this environment gets when it imports these modules."""
    command = [environment.python, "-B", "-c", LOOK, environment.overlay or "", *names]
    found: dict[str, str | None] = json.loads(subprocess.run(command, capture_output=True, check=True, cwd="/").stdout)
    return found


def test_no_dependencies_are_the_callers_packages(world: World) -> None:
    caller = world.caller(world.leaf("1.0"))

    environment = world.build(caller)

    assert (environment.python, environment.overlay, environment.packages) == (caller, None, 0)
    assert environment.path_entries == (str(Path(caller).parent),)


def test_satisfied_dependencies_are_the_callers_packages(world: World) -> None:
    caller = world.caller(world.leaf("1.0"))

    environment = world.build(caller, "leaf", "leaf<2")

    assert (environment.python, environment.overlay, environment.notices) == (caller, None, ())
    assert world.said == []


def test_a_missing_package_lies_in_front(world: World) -> None:
    environment = world.build(world.caller(), "leaf")

    assert versions(environment, "leaf") == {"leaf": "2.0"}
    assert (environment.packages, world.said) == (1, ["1 package"])
    command = [f"{environment.path_entries[0]}/leaf-command"]
    assert subprocess.run(command, env={"PYTHONPATH": environment.overlay or ""}, stdout=-1).stdout == b"2.0\n"


def test_what_the_caller_has_keeps_its_version_and_is_not_installed_again(world: World) -> None:
    environment = world.build(world.caller(world.leaf("1.0")), "any-top")

    assert versions(environment, "any_top", "leaf") == {"any_top": "1.0", "leaf": "1.0"}
    assert environment.packages == 1
    assert not (Path(environment.overlay or "") / "leaf.py").exists()


def test_a_conflict_with_the_callers_packages_gives_a_separate_environment_and_says_so(world: World) -> None:
    caller = world.caller(world.leaf("1.0"), make_wheel(world.folder, "mine", "1.0"))

    environment = world.build(caller, "new-top")

    assert environment.python != caller
    assert environment.overlay is None
    assert versions(environment, "new_top", "leaf", "mine") == {"new_top": "1.0", "leaf": "2.0", "mine": None}
    (notice,) = environment.notices
    assert "new-top" in notice
    assert "separate environment" in notice
    assert caller in notice
    assert world.said == ["2 packages"]


def test_sources_that_do_not_build_beside_the_callers_packages_give_a_separate_environment(world: World) -> None:
    """Held at old versions, a resolver goes back to old sources."""
    make_wheel(world.wheels, "picky", "2.0", ["leaf>=2"])
    make_broken_source(world.wheels, "picky", "1.0")

    environment = world.build(world.caller(world.leaf("1.0")), "picky")

    assert versions(environment, "picky", "leaf") == {"picky": "2.0", "leaf": "2.0"}


def test_no_solution_at_all_fails_with_the_words_of_the_last_resolution(world: World) -> None:
    with pytest.raises(NoSolution, match="unsatisfiable") as caught:
        world.build(world.caller(world.leaf("1.0")), "old-top", "new-top")
    assert "old-top" in str(caught.value)
    assert list((world.files.folder / "built").iterdir()) == []
    assert list((world.files.folder / "work").iterdir()) == []


def test_a_version_that_no_index_has_hinders_nothing(world: World) -> None:
    """As torch 2.13.0+cpu, or a package installed from a folder or in editable mode."""
    local = make_wheel(world.folder, "leaf", "1.5+cpu")
    caller = world.caller(local)

    assert world.build(caller, "leaf").python == caller
    environment = world.build(caller, "any-top")

    assert versions(environment, "any_top", "leaf") == {"any_top": "1.0", "leaf": "1.5+cpu"}
    assert environment.notices == ()


def test_the_caller_is_never_written_to(world: World) -> None:
    caller = world.caller(world.leaf("1.0"))
    before = snapshot(world.folder / "caller")

    world.build(caller, "leaf")
    world.build(caller, "any-top")
    world.build(caller, "new-top")

    assert snapshot(world.folder / "caller") == before


def test_packages_are_copies_that_user_code_may_change(world: World) -> None:
    environment = world.build(world.caller(), "leaf")
    module = Path(environment.overlay or "") / "leaf.py"
    module.write_text("VERSION = 'changed'")

    other = World(world.folder / "other")
    other.wheels = world.wheels
    uv = Uv(UV, world.env, world.folder)  # the same cache
    other.builder = Builder(other.files, uv, other.interpreters, Pip(world.env))
    again = other.build(other.caller(), "leaf")

    assert versions(again, "leaf") == {"leaf": "2.0"}


def installer_of(environment: Environment, name: str) -> str:
    """Which program says that it installed a package."""
    look = "import importlib.metadata as m, sys; sys.path.insert(0, sys.argv[1])\n"
    look += f"print(m.distribution({name!r}).read_text('INSTALLER'))"
    command = [environment.python, "-B", "-c", look, environment.overlay or ""]
    return subprocess.run(command, capture_output=True, check=True, cwd="/", text=True).stdout.strip()


@pytest.mark.slow
def test_pip_installs_where_the_fast_way_is_not_wanted(world: World) -> None:
    caller = world.caller(world.leaf("1.0"))
    fast, slow = (world.build(caller, "any-top", accelerate=accelerate) for accelerate in (True, False))
    assert [installer_of(each, "any-top") for each in (fast, slow)] == ["uv", "pip"]
    assert world.said == ["1 package", "1 package by pip"]
    assert versions(slow, "any_top", "leaf") == {"any_top": "1.0", "leaf": "1.0"}  # what the caller has is kept
    held = world.build(caller, "new-top", accelerate=False)  # and where that has no solution, it has its own
    assert (held.overlay, len(held.notices)) == (None, 1)
    assert versions(held, "new_top", "leaf") == {"new_top": "1.0", "leaf": "2.0"}
    alone = world.build(None, "any-top", accelerate=False)
    assert versions(alone, "any_top", "leaf") == {"any_top": "1.0", "leaf": "2.0"}
    assert installer_of(alone, "leaf") == "pip"
    assert world.build(caller, "leaf", accelerate=False).packages == 0


def test_requests_that_resolve_alike_share_an_environment(world: World) -> None:
    caller = world.caller()

    first, second = world.build(caller, "leaf"), world.build(caller, "leaf>=1")

    assert first == second
    assert world.said == ["1 package"]


def test_other_packages_of_the_caller_mean_another_environment(world: World) -> None:
    caller = world.caller()
    first = world.build(caller, "leaf")
    subprocess.run(["rm", "-r", str(world.folder / "caller")], check=True)

    second = world.build(world.caller(make_wheel(world.folder, "mine", "1.0")), "leaf")

    assert first.key != second.key


def test_without_a_caller_everything_is_separate(world: World) -> None:
    environment = world.build(None, "any-top")

    assert versions(environment, "any_top", "leaf") == {"any_top": "1.0", "leaf": "2.0"}
    assert environment.notices == ()
    assert subprocess.run([f"{environment.path_entries[0]}/leaf-command"], stdout=-1).stdout == b"2.0\n"


def test_without_a_caller_and_dependencies_there_is_a_bare_environment(world: World) -> None:
    environment = world.build(None)

    assert Path(environment.python).exists()
    assert versions(environment, "leaf") == {"leaf": None}


def test_a_python_that_is_not_there_is_said(world: World) -> None:
    with pytest.raises(InstallFailed, match=r"no workers for Python '3\.99', only for 3\.11, 3\.12, 3\.13"):
        world.build(None, "leaf", python="3.99")


def test_a_failed_installation_leaves_nothing(world: World) -> None:
    wheel = make_wheel(world.wheels, "rotten", "1.0")
    caller = world.caller()
    world.build(caller, "leaf")

    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(InstallFailed, match="rotten"):
        world.build(caller, "rotten")

    assert len(list((world.files.folder / "built").iterdir())) == 1
