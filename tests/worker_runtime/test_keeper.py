"""What the child sees of the machine, and that it works for root, for others, with and without namespaces."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.worker_runtime.scripted_plane import ROOT, Plane, by_name, is_error
from worker_runtime import memory
from worker_runtime.wire.jobs import ErrorKind

NOBODY = 65534

both = pytest.mark.parametrize("isolate", [True, False], ids=["namespaces", "plain"])
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


def _python_for_nobody() -> str:
    """An interpreter of our version that nobody may run; this one may live in a private folder."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            subprocess.run([python, "-I", "-c", ""], user=NOBODY, group=NOBODY, extra_groups=[], check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"there is no Python {version} here that the user nobody may run")


def _namespaces(user: int | None = None) -> bool:
    """Whether the kernel lets such a user have namespaces."""
    code = "from worker_runtime import isolation; isolation.enter_namespaces()"
    account = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    python = sys.executable if user is None else _python_for_nobody()
    done = subprocess.run([python, "-c", code], cwd=ROOT, check=False, stderr=subprocess.DEVNULL, **account)
    return done.returncode == 0


needs_namespaces = pytest.mark.skipif(not _namespaces(), reason="no namespaces on this kernel")


@both
def test_the_child_has_exactly_what_its_launch_says(short_folder: Path, isolate: bool) -> None:
    async def main() -> None:
        async with Plane(short_folder, isolate=isolate, settings={"cpus": (0,)}) as plane:
            seen = await plane.call(by_name("myself"))
            assert {name: value for name, value in seen["env"].items() if name != "LC_CTYPE"} == plane.launch.env
            assert seen["cwd"] == f"{plane.launch.folder}/run"
            assert (seen["argv"], seen["stdin"], seen["cpus"]) == (["endpoint"], "", [0])
            assert seen["path"][0] == f"{plane.launch.folder}/code"
            assert seen["path"][-1] == plane.launch.bundle
            assert seen["pid"] == seen["proc"]
            assert await plane.call(by_name("on_main_thread"))
            assert await plane.call(by_name("add"), 1) == 3

    asyncio.run(main())


@needs_namespaces
def test_in_namespaces_the_child_sees_only_its_own_processes(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            seen = await plane.call(by_name("myself"))
            assert seen["pids"] == ["1", str(seen["pid"])]

    asyncio.run(main())


@both
def test_psutil_finds_its_own_process(short_folder: Path, isolate: bool) -> None:
    overlay = short_folder / "overlay"
    overlay.mkdir()
    (overlay / "psutil").symlink_to(Path(psutil.__file__).parent)

    async def main() -> None:
        async with Plane(short_folder, isolate=isolate, settings={"overlay": str(overlay)}) as plane:
            name, parent, getppid = await plane.call(by_name("use_psutil"))
            assert name.startswith("python")
            assert parent == getppid

    asyncio.run(main())


def test_the_overlay_stands_before_the_interpreters_packages_and_its_pth_files_count(short_folder: Path) -> None:
    overlay, linked = short_folder / "overlay", short_folder / "linked"
    for folder in (overlay, linked):
        folder.mkdir()
    (overlay / "cloudpickle.py").write_text("'not the one that the runtime uses'")
    (overlay / "pip.py").write_text("'shadows what the interpreter has'")
    (overlay / "linked.pth").write_text(f"{linked}\n")
    (linked / "far_away.py").write_text("")

    async def main() -> None:
        async with Plane(short_folder, settings={"overlay": str(overlay)}) as plane:
            assert await plane.call(by_name("imports"), "pip") == f"{overlay}/pip.py"
            assert await plane.call(by_name("imports"), "far_away") == f"{linked}/far_away.py"
            assert await plane.call(by_name("imports"), "cloudpickle")

    asyncio.run(main())


@needs_namespaces
def test_hidden_folders_are_empty_and_read_only_inside_and_unchanged_outside(short_folder: Path) -> None:
    secret = short_folder / "secret"
    secret.mkdir()
    (secret / "key").write_text("x")
    hidden = (str(secret), str(short_folder / "absent"))

    async def main() -> None:
        async with Plane(short_folder, settings={"hidden": hidden}) as plane:
            assert await plane.call(by_name("look"), str(secret)) == []
            is_error(await plane.call(by_name("write_into"), str(secret)), ErrorKind.USER, "OSError")
            assert [path.name for path in secret.iterdir()] == ["key"]

    asyncio.run(main())


def test_what_the_child_needs_cannot_be_hidden(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, settings={"hidden": (str(short_folder),)}) as plane:
            assert await plane.process.wait() == 2
            assert plane.process.stderr is not None
            assert "needed there" in (await plane.process.stderr.read()).decode()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"private": "{}/others"}, "{}/others is private, but the worker's own {}/worker is not in it"),
        ({"private": "{}/worker"}, "{}/worker is private, but the worker's own {}/worker is not in it"),
        ({"private": "{}"}, "{} is private to workers, but {}/bundle in it is needed by this one"),
        ({"hidden": ("{}/data",), "command": "ls", "directory": "{}/data/x"}, "but {}/data/x in it is needed there"),
        ({"hidden": ("{}/file",), "overlay": "{}/file"}, "{}/file shall be hidden from user code, but {}/file"),
        ({"readonly": ("{}", "//")}, "folder / cannot be read-only"),
        (
            {"private": "{}", "folder": "{}/work/w1", "readonly": ("{}/work",)},
            "{} is private to workers, but {}/bundle in it is needed by this one",
        ),
    ],
)
def test_folders_that_cannot_be_kept_from_user_code_are_named(
    short_folder: Path, settings: dict[str, Any], said: str
) -> None:
    def filled(value: Any) -> Any:
        return tuple(map(filled, value)) if isinstance(value, tuple) else value.replace("{}", str(short_folder))

    async def main() -> None:
        async with Plane(short_folder, settings={name: filled(value) for name, value in settings.items()}) as plane:
            assert await plane.process.wait() == 2
            assert plane.process.stderr is not None
            assert filled(said) in (await plane.process.stderr.read()).decode()

    asyncio.run(main())


@needs_namespaces
def test_of_a_private_folder_the_worker_sees_its_own_part_and_shares_it_with_the_outside(short_folder: Path) -> None:
    workers, link = short_folder / "workers", short_folder / "link-to-workers"
    (workers / "w2").mkdir(parents=True)
    (workers / "w2" / "file").write_text("x")
    link.symlink_to(workers)

    async def main() -> None:
        settings = {"folder": f"{link}/w1", "private": str(link)}
        async with Plane(short_folder, settings=settings) as plane:
            assert (await plane.call(by_name("myself")))["cwd"] == f"{workers}/w1/run"
            assert await plane.call(by_name("look"), str(workers)) == ["w1"]
            is_error(await plane.call(by_name("write_into"), str(workers)), ErrorKind.USER, "OSError")
            await plane.call(by_name("write_into"), f"{workers}/w1")
            assert sorted(path.name for path in (workers / "w1").iterdir()) == ["code", "new", "run"]
            assert [path.name for path in (workers / "w2").iterdir()] == ["file"]
            await plane.send({"type": "drain"})
            assert await plane.process.wait() == 0
            assert [path.name for path in workers.iterdir()] == ["w2"]

    asyncio.run(main())


@needs_namespaces
def test_a_private_folder_may_hold_what_the_worker_needs_where_that_is_read_only(short_folder: Path) -> None:
    async def main() -> None:
        settings = {
            "private": str(short_folder), "folder": str(short_folder / "work" / "w1"),
            "readonly": (str(short_folder / "bundle"),),
        }  # fmt: skip
        async with Plane(short_folder, settings=settings) as plane:
            assert sorted(await plane.call(by_name("look"), str(short_folder))) == ["bundle", "work"]
            is_error(await plane.call(by_name("write_into"), str(short_folder / "bundle")), ErrorKind.USER, "OSError")
            await plane.call(by_name("write_into"), str(short_folder / "work" / "w1"))

    asyncio.run(main())


def test_without_namespaces_it_is_said_what_user_code_can_see(short_folder: Path) -> None:
    async def main() -> None:
        settings = {"private": str(short_folder / "w"), "folder": str(short_folder / "w" / "1"), "hidden": ("/lost",)}
        settings["readonly"] = ("/lost/code", "/more")
        async with Plane(short_folder, isolate=False, settings=settings) as plane:
            assert await plane.call(by_name("add"), 1) == 3
            await plane.send({"type": "drain"})
            await plane.process.wait()
            assert plane.process.stderr is not None
            said = (await plane.process.stderr.read()).decode()
            assert f"user code can see /lost, {short_folder}/w" in said
            assert "user code can change /lost/code, /more" in said

    asyncio.run(main())


@both
def test_a_fork_that_comes_out_of_the_call_answers_nothing(short_folder: Path, isolate: bool) -> None:
    async def main() -> None:
        async with Plane(short_folder, isolate=isolate) as plane:
            assert [await plane.call(by_name("fork_and_return")) for _ in range(3)] == ["parent"] * 3
            assert plane.kinds().count("done") == 3

    asyncio.run(main())


def test_init_killed_by_user_code_takes_everything_along(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder, isolate=False) as plane:
            await plane.start(by_name("orphan_then_kill_the_parent"))
            gone, _ = await plane.frame("gone")
            assert "was killed" in gone["reason"]
            await plane.nothing_left()

    asyncio.run(main())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_pools_of_processes_work(short_folder: Path, method: str) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_name("use_processes"), method) == [2, 3]
            assert plane.kinds().count("done") == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("become", "reason"),
    [
        ("raise OSError(1, 'not allowed')", "not allowed"),
        ("return", "it ended at once"),
        ("init.say(c, pid=os.getpid()); raise OSError(1, 'no mounts')", "no mounts"),
    ],
)
def test_an_attempt_that_fails_says_why_and_leaves_nothing(become: str, reason: str) -> None:
    code = f"""
import os
from worker_runtime import init, keeper
def become(c):
    {become}
print(keeper._attempt(become)[1])
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("nothing left")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    said, left = done.stdout.splitlines()
    assert reason in said
    assert left == "nothing left"


@root_only
@both
def test_as_nobody(short_folder: Path, isolate: bool) -> None:
    python = _python_for_nobody()

    async def main() -> None:
        async with Plane(short_folder, python=python, user=NOBODY, isolate=isolate) as plane:
            seen = await plane.call(by_name("myself"))
            assert seen["uid"] == NOBODY
            if isolate and _namespaces(NOBODY):
                assert seen["pids"] == ["1", str(seen["pid"])]
            is_error(await plane.call(by_name("token")), ErrorKind.USER, "PermissionError")
            orphan = await plane.call(by_name("orphan"))
            assert orphan > 0
            assert len(plane.left_over()) >= 3
            plane.process.kill()
            await plane.nothing_left()

    asyncio.run(main())


@both
@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=root_only)])
def test_memory_that_forked_processes_share_counts_once(short_folder: Path, user: int | None, isolate: bool) -> None:
    python = sys.executable if user is None else _python_for_nobody()

    async def main() -> None:
        settings = {"memory_mb": 256}
        async with Plane(short_folder, python=python, user=user, isolate=isolate, settings=settings) as plane:
            assert await plane.call(by_name("share"), 180, 7 * memory.SHORT_PAUSE_S) == 180 * memory.MB
            assert "gone" not in plane.kinds()

    asyncio.run(main())


@root_only
def test_hidden_folders_as_nobody(short_folder: Path) -> None:
    if not _namespaces(NOBODY):
        pytest.skip("this kernel gives namespaces to root only")
    secret = short_folder / "secret"
    secret.mkdir(mode=0o755)
    (secret / "key").write_text("x")

    async def main() -> None:
        settings = {"hidden": (str(secret),)}
        async with Plane(short_folder, python=_python_for_nobody(), user=NOBODY, settings=settings) as plane:
            assert await plane.call(by_name("look"), str(secret)) == []

    asyncio.run(main())
