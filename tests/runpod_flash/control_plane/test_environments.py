"""One environment for one request, built once, whoever asks; failures are remembered for a while."""

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runpod_flash.control_plane.environments import Environment, Environments, InstallFailed
from runpod_flash.package_index import read
from tests.support.packages import UV, base_env, make_caller, make_wheel
from tests.support.waiting import wait_until
from worker_runtime.wire.specs import EnvironmentRequest, PackageIndex

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
ROOT = Path(__file__).parents[3]

GET = """
import asyncio, json, pathlib, sys
from runpod_flash.control_plane.environments import Environments
from worker_runtime.wire.specs import EnvironmentRequest
folder, uv, env, request = json.loads(sys.argv[1])
environments = Environments(pathlib.Path(folder), uv=uv, allow_apt=False, base_env=env)
print(asyncio.run(environments.get(EnvironmentRequest.from_json(request))).python)
"""


class World:
    """A wheel folder, a caller, and a uv that writes down each of its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels, self.now = folder, folder / "wheels", 1000.0
        self.runs, self.uv = folder / "runs", folder / "uv"
        self.environ = base_env(folder)
        self.uv_does("")
        for version in ("1.0", "2.0"):
            make_wheel(self.wheels, "leaf", version)
        self.caller = make_caller(folder / "caller", sys.executable, [self.wheels / "leaf-1.0-py3-none-any.whl"])
        make_wheel(self.wheels, "missing", "1.0")

    def uv_does(self, before: str) -> None:
        """Let uv run the shell text `before` first."""
        self.uv.write_text(f'#!/bin/sh\necho "$@" >> {self.runs}\n{before}\nexec {UV} "$@"\n')
        self.uv.chmod(0o755)

    def uv_runs(self) -> int:
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0

    def environments(self, folder: Path | None = None, failure_memory_s: float = 120.0) -> Environments:
        return Environments(
            folder or self.folder / "environments",
            uv=str(self.uv),
            allow_apt=False,
            base_env=self.environ,
            failure_memory_s=failure_memory_s,
            clock=lambda: self.now,
        )

    def request(self, *dependencies: str, **more: object) -> EnvironmentRequest:
        index = PackageIndex(find_links=(str(self.wheels),), no_index=True)
        request = EnvironmentRequest(PYTHON, dependencies, caller=self.caller, index=index)
        return replace(request, **more)  # type: ignore[arg-type]

    def process(self, request: EnvironmentRequest) -> subprocess.Popen[str]:
        """Another process that asks for the same."""
        data = {
            "python": request.python,
            "dependencies": request.dependencies,
            "caller": request.caller,
            "index": {"find_links": request.index.find_links, "no_index": True},
        }
        argument = json.dumps([str(self.folder / "environments"), str(self.uv), self.environ, data])
        return subprocess.Popen([sys.executable, "-c", GET, argument], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def get(environments: Environments, request: EnvironmentRequest) -> Environment:
    return asyncio.run(environments.get(request))


def key(environments: Environments, request: EnvironmentRequest) -> str:
    return asyncio.run(environments.key(request))


def hashed(wheel: Path) -> str:
    """The line of a lock for a wheel."""
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def installed(python: str) -> list[str]:
    """What an interpreter has, but for what it came with."""
    code = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
    output = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return sorted(output.split())


# ---- keys


def test_the_key_does_not_depend_on_the_order(world: World) -> None:
    environments = world.environments()

    assert key(environments, world.request("leaf", "missing")) == key(environments, world.request("missing", " leaf"))


def test_the_key_depends_on_everything_else(world: World) -> None:
    environments, other = world.environments(), PackageIndex(index_url="https://other/")
    requests = [
        world.request("leaf"),
        world.request("leaf>=1"),
        world.request("leaf", system_dependencies=("hello",)),
        world.request("leaf", index=other),
        world.request("leaf", index=PackageIndex(index_url="https://you:secret@other/")),
        world.request("leaf", caller=None),
        world.request("leaf", caller=None, python="3.99"),
    ]

    assert len({key(environments, request) for request in requests}) == len(requests)


def test_a_lock_is_installed_as_it_is_beside_the_callers_packages(world: World) -> None:
    top = make_wheel(world.wheels, "top", "1.0", ["leaf"])
    lock = (hashed(top), hashed(world.wheels / "leaf-1.0-py3-none-any.whl"))
    for lines in (lock, lock[:1]):  # what a package needs is installed if the lock has it
        environment = get(world.environments(), world.request("top", lock=lines))
        assert environment.overlay is None
        assert environment.packages == len(lines)
        assert installed(environment.python) == sorted(line.partition(" ")[0] for line in lines)


@pytest.mark.parametrize("accelerate", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_what_is_not_as_locked_is_not_installed(world: World, accelerate: bool) -> None:
    good = hashed(world.wheels / "leaf-1.0-py3-none-any.whl")
    wrong = good[:-64] + "0" * 64
    environments = world.environments()
    with pytest.raises(InstallFailed, match=r"(?s)not the one that was locked: .* says:.*leaf"):
        get(environments, world.request(lock=(wrong,), caller=None, accelerate=accelerate))
    repository = world.wheels / "missing-1.0-py3-none-any.whl"
    lock = (good, f"missing @ {repository.as_uri()}", f"other==1 ; sys_platform == 'win32' {good[-78:]}")
    environment = get(environments, world.request(lock=lock, caller=None, accelerate=accelerate))
    assert installed(environment.python) == ["leaf==1.0", "missing==1.0"]


def test_the_key_depends_on_the_lock(world: World) -> None:
    environments, lock = world.environments(), (hashed(world.wheels / "leaf-1.0-py3-none-any.whl"),)
    requests = [world.request("leaf"), world.request("leaf", lock=lock), world.request("leaf", lock=lock * 2)]
    assert len({key(environments, request) for request in requests}) == 3


def test_without_dependencies_the_index_does_not_matter(world: World) -> None:
    environments = world.environments()

    assert key(environments, world.request()) == key(environments, world.request(index=PackageIndex()))


def test_the_key_runs_no_uv_and_follows_the_callers_packages(world: World) -> None:
    environments = world.environments()
    before = key(environments, world.request("leaf"))
    assert key(environments, world.request("leaf")) == before
    assert world.uv_runs() == 0

    shutil.rmtree(world.folder / "caller")
    make_caller(world.folder / "caller", sys.executable, [make_wheel(world.folder, "mine", "1.0")])

    assert key(environments, world.request("leaf")) != before


def test_another_python_at_the_callers_path_is_said(world: World) -> None:
    environments = world.environments()

    with pytest.raises(InstallFailed, match=rf"is Python {PYTHON} by now, and the code comes from Python 3\.99"):
        key(environments, world.request(python="3.99"))


# ---- get and ready


def test_ready_only_after_it_was_built(world: World) -> None:
    environments, request = world.environments(), world.request("missing")
    assert environments.ready(key(environments, request)) is None

    environment = get(environments, request)

    assert environments.ready(key(environments, request)) == environment
    assert environment.packages == 1


def test_what_was_built_is_ready_in_the_next_process(world: World) -> None:
    environment, request = get(world.environments(), world.request("missing")), world.request("missing")
    runs, next_one = world.uv_runs(), world.environments()

    assert next_one.ready(key(next_one, request)) == environment
    assert get(next_one, request) == environment
    assert world.uv_runs() == runs


def test_a_notice_is_kept_with_the_answer(world: World) -> None:
    request = world.request("leaf>=2")
    environment = get(world.environments(), request)

    assert environment.notices
    assert get(world.environments(), request) == environment


def test_an_environment_that_was_removed_is_built_again(world: World) -> None:
    environments, request = world.environments(), world.request("missing")
    first = get(environments, request)
    shutil.rmtree(first.overlay or "")

    second = get(environments, request)

    assert Path(second.overlay or "", "missing.py").exists()


def test_many_who_ask_at_once_share_one_build(world: World) -> None:
    environments, details = world.environments(), []

    async def main() -> list[Environment]:
        request = world.request("missing")
        return await asyncio.gather(*(environments.get(request, on_stage=details.append) for _ in range(20)))

    found = asyncio.run(main())

    assert len(set(found)) == 1
    assert world.uv_runs() == 2  # one plan, one installation
    assert details == ["1 package"] * 20


def test_one_who_comes_late_hears_how_far_it_is(world: World, tmp_path: Path) -> None:
    go_on, details = tmp_path / "go-on", []
    world.uv_does(f'case "$*" in *--no-deps*) while [ ! -e {go_on} ]; do sleep 0.02; done;; esac')

    async def main() -> None:
        environments, request = world.environments(), world.request("missing")
        started = asyncio.Event()
        first = asyncio.create_task(environments.get(request, on_stage=lambda _: started.set()))
        await started.wait()
        second = asyncio.create_task(environments.get(request, on_stage=details.append))
        while not details:
            await asyncio.sleep(0)
        go_on.touch()
        assert await first == await second

    asyncio.run(main())

    assert details == ["1 package"]


def test_two_processes_at_once_build_once(world: World) -> None:
    processes = [world.process(world.request("missing")) for _ in range(2)]
    for process in processes:
        process.communicate()

    assert [process.returncode for process in processes] == [0, 0]
    assert len(list((world.folder / "environments" / "built").iterdir())) == 1
    assert sum("--no-deps" in line for line in world.runs.read_text().splitlines()) == 1


def test_after_a_crash_in_the_middle_it_is_built_again(world: World, tmp_path: Path) -> None:
    request, hanging = world.request("missing"), tmp_path / "hanging"
    wait = f'case "$*" in *--no-deps*) {UV} "$@"; echo $$ > {hanging}; exec sleep 600;; esac'
    world.uv_does(wait)
    crashed = world.process(request)
    wait_until(lambda: hanging.exists() and hanging.read_text(), 30)
    crashed.kill()
    crashed.communicate()
    (half,) = (world.folder / "environments" / "built").iterdir()
    assert (half / "overlay" / "missing.py").exists()
    world.uv_does("")

    environment = get(world.environments(), request)  # while the dead process' installer still lives

    os.kill(int(hanging.read_text()), signal.SIGKILL)
    assert Path(environment.overlay or "", "missing.py").exists()
    assert not half.exists()


# ---- cancelling


def hang(world: World, at: Path) -> None:
    world.uv_does(f"echo $$ > {at}; sleep 600 & wait")


def ended(process_id: int) -> bool:
    return not psutil.pid_exists(process_id) or psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_the_last_who_goes_ends_the_build_with_its_children(world: World, tmp_path: Path) -> None:
    at = tmp_path / "pid"
    hang(world, at)
    children: list[psutil.Process] = []

    async def main() -> None:
        environments, request = world.environments(), world.request("missing")
        tasks = [asyncio.create_task(environments.get(request)) for _ in range(2)]
        await until(lambda: at.exists() and at.read_text())
        await until(lambda: psutil.Process(int(at.read_text())).children())
        children.extend(psutil.Process(int(at.read_text())).children())
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert not ended(int(at.read_text()))  # somebody still waits
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        world.uv_does("")
        assert (await environments.get(request)).packages == 1  # and it can be asked for again

    asyncio.run(main())

    assert ended(int(at.read_text()))
    wait_until(lambda: all(ended(child.pid) for child in children), 10)
    assert len(list((world.folder / "environments" / "built").iterdir())) == 1


# ---- failures


def test_a_failure_is_answered_from_memory_for_a_while(world: World) -> None:
    environments, request = world.environments(failure_memory_s=60), world.request("nowhere")
    with pytest.raises(InstallFailed, match="nowhere was not found") as first:
        get(environments, request)
    runs = world.uv_runs()

    world.now += 59
    with pytest.raises(InstallFailed) as second:
        get(environments, request)
    assert (str(second.value), world.uv_runs()) == (str(first.value), runs)

    world.now += 2
    with pytest.raises(InstallFailed):
        get(environments, request)
    assert world.uv_runs() > runs


def test_a_wheel_put_into_the_folder_ends_a_failure(world: World) -> None:
    environments, request = world.environments(), world.request("nowhere")
    with pytest.raises(InstallFailed):
        get(environments, request)

    make_wheel(world.wheels, "nowhere", "1.0")

    assert get(environments, request).packages == 1


def test_all_who_wait_hear_the_failure(world: World) -> None:
    environments = world.environments()

    async def main() -> list[Environment | BaseException]:
        request = world.request("nowhere")
        return await asyncio.gather(*(environments.get(request) for _ in range(5)), return_exceptions=True)

    assert {str(error)[:25] for error in asyncio.run(main())} == {"no versions satisfy nowhe"}


def test_what_the_user_can_mend_is_not_remembered(world: World) -> None:
    environments, request = world.environments(), world.request("missing")
    world.uv_does("echo 'error: No space left on device (os error 28)' >&2; exit 2")
    with pytest.raises(InstallFailed, match="disk is full"):
        get(environments, request)

    world.uv_does("")

    assert get(environments, request).packages == 1


def test_a_dependency_that_is_an_option_is_refused(world: World) -> None:
    with pytest.raises(InstallFailed, match="is no requirement"):
        get(world.environments(), world.request("--index-url=https://evil/"))


def test_a_folder_that_cannot_be_written_is_named(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(InstallFailed, match=r"the folder of environments .*/file/environments cannot be used"):
        get(world.environments(tmp_path / "file" / "environments"), world.request("missing"))


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no apt on this system")
def test_system_packages_are_looked_at_once_in_each_process(world: World) -> None:
    request = world.request("missing", system_dependencies=("libc6",))
    first = world.environments()
    environment = get(first, request)
    assert first.ready(key(first, request)) == environment

    later = world.environments()

    assert later.ready(key(later, request)) is None
    assert get(later, request) == environment
    assert later.ready(key(later, request)) == environment


def test_a_system_package_without_a_valid_name_is_refused(world: World) -> None:
    with pytest.raises(InstallFailed, match="apt"):
        get(world.environments(), world.request(system_dependencies=("-y",)))


# ---- a real index


@pytest.mark.slow
def test_a_package_from_the_index_that_pip_would_use(world: World) -> None:
    environ = dict(os.environ)
    request = world.request("six", index=read(environ, Path(sys.prefix)))
    world.environ = base_env(world.folder) | {name: value for name, value in environ.items() if "PROXY" in name.upper()}

    environment = get(world.environments(), request)

    assert Path(environment.overlay or "", "six.py").exists()
