"""A worker that was forked is as one that was started: what it is, sees and may do; and how a fork server lives."""

import asyncio
import importlib.util
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from runpod_flash.control_plane.launchers import fork_server as fork_server_module
from runpod_flash.control_plane.launchers.fork_server import NotForked
from tests.support.waiting import wait_until
from tests.worker_runtime.comparing import STATE_CODE, of_state
from tests.worker_runtime.forked_plane import ForkedPlane, fork_server
from tests.worker_runtime.scripted_plane import ROOT, Plane, by_name
from tests.worker_runtime.test_keeper import NOBODY, _python_for_nobody, both, root_only


def played(work: Coroutine[Any, Any, None]) -> None:
    """Run it to its end, within a minute."""

    async def play() -> None:
        async with asyncio.timeout(60):
            await work

    asyncio.run(play())


async def ended(plane: Plane) -> int:
    """Drain a worker; its exit code."""
    await plane.send({"type": "drain"})
    return await plane.process.wait()


@both
@pytest.mark.parametrize("settings", [{}, {"cpus": (0,), "env": {"LANG": "C.UTF-8", "A": "ä"}}], ids=["bare", "set"])
def test_a_forked_child_is_as_a_started_one(short_folder: Path, isolate: bool, settings: dict[str, Any]) -> None:
    async def main() -> None:
        async with Plane(short_folder, isolate=isolate, settings=settings) as plane:
            started = await plane.call(of_state("state"))
            assert await ended(plane) == 0
        async with (
            fork_server(short_folder) as server,
            ForkedPlane(short_folder, isolate=isolate, settings=settings, server=server) as plane,
        ):
            forked = await plane.call(of_state("state"))
            assert await ended(plane) == 0
            assert not Path(plane.launch.folder).exists()
        assert isinstance(started, dict), started
        assert forked == started

    played(main())


@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=root_only)], ids=["self", "nobody"])
def test_both_inherit_the_same_from_a_peculiar_control_plane_of_any_user(short_folder: Path, user: int | None) -> None:
    account = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    python = sys.executable if user is None else _python_for_nobody()
    env = {"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}
    command = [python, "-m", "tests.worker_runtime.comparing", str(short_folder)]
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, timeout=60, **account)  # type: ignore[call-overload]
    started, forked = json.loads(done.stdout)
    assert isinstance(started, dict), started
    assert forked == started
    assert started["Umask"] == "0027"
    assert started["limits"][resource.RLIMIT_NOFILE] == [512, 600]
    assert int(started["SigIgn"], 16) & (1 << signal.SIGHUP - 1 | 1 << signal.SIGUSR2 - 1)
    assert "passwd" not in started["descriptors"]
    assert set(started["Uid"].split("\t")) == {str(os.getuid() if user is None else user)}


GENERATORS = ("random", "uuid", "secrets", "tempfile", "authkey")


def package(folder: Path, name: str, text: str) -> Path:
    """An overlay with a package of one file."""
    overlay = folder / "overlay"
    overlay.mkdir(exist_ok=True)
    (overlay / f"{name}.py").write_text(text)
    return overlay


def test_two_forks_draw_different_numbers(short_folder: Path) -> None:
    modules, asked = ["random", "uuid", "secrets", "tempfile", "multiprocessing.process"], list(GENERATORS)
    if importlib.util.find_spec("numpy") is not None:
        modules, asked = [*modules, "numpy.random"], [*asked, "numpy"]

    async def main() -> None:
        async with fork_server(short_folder, *modules) as server:
            assert not server.unfit
            drawn = []
            for _ in range(2):
                async with ForkedPlane(short_folder, server=server) as plane:
                    assert [each for each in modules if not await plane.call(of_state("imported"), each)] == []
                    drawn.append([await plane.call(of_state("numbers"), each) for each in asked])
                    await ended(plane)
                (short_folder / "link").unlink()
            for name, first, second in zip(asked, *drawn, strict=True):
                assert first != second, name

    played(main())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
        ("FILE = open('/etc/hostname')", "opens"),
        ("import signal; signal.signal(signal.SIGUSR1, lambda *_: None)", "signals"),
        ("import time; time.sleep = print", "standard library"),
        ("import subprocess; P = subprocess.Popen(['true'])", "processes"),
    ],
)
def test_what_a_fork_would_not_have_is_not_forked_from(short_folder: Path, text: str, reason: str) -> None:
    async def main() -> None:
        overlay = package(short_folder, "peculiar", text)
        async with fork_server(short_folder, "peculiar", overlay=overlay) as server:
            assert reason in server.unfit
            assert not server.ready

    played(main())


def test_what_importing_does_to_the_process_is_done_to_each_child(short_folder: Path) -> None:
    text = "import os, sys; os.environ['MADE'] = '1'; print('said'); print('wrong', file=sys.stderr)"

    async def main() -> None:
        overlay = package(short_folder, "talker", text)
        settings = {"overlay": str(overlay)}
        async with fork_server(short_folder, "talker", "absent", overlay=overlay, BESIDE="x") as server:
            assert set(server.failed) == {"absent"}
            async with ForkedPlane(short_folder, server=server, settings=settings) as plane:
                seen = await plane.call(of_state("state"))
                assert seen["environ"]["MADE"] == "1"
                assert "BESIDE" not in seen["environ"]
                assert plane.lines("stdout")[:1] == ["said"]
                assert plane.lines("stderr")[:1] == ["wrong"]
                assert await plane.call(of_state("exit_handlers"), str(short_folder / "marks")) == "registered"
                assert await ended(plane) == 0
            assert (short_folder / "marks").read_text() == "x"

    played(main())


def test_the_users_own_module_comes_before_one_that_was_imported(short_folder: Path) -> None:
    async def main() -> None:
        overlay = package(short_folder, "shadowed", "WHOSE = 'the package'")
        settings = {"overlay": str(overlay)}
        own = {
            "state_code.py": STATE_CODE.read_bytes(),
            "shadowed.py": b"WHOSE = 'mine'",
            "select.py": b"WHOSE = 'mine'",
        }
        async with (
            fork_server(short_folder, "shadowed", overlay=overlay) as server,
            ForkedPlane(short_folder, server=server, settings=settings) as plane,
        ):
            assert await plane.call(by_name("state_code:own_module", more=own), "shadowed") == "mine"
            await ended(plane)

    played(main())


def test_the_child_has_neither_the_token_nor_what_other_workers_were_told(short_folder: Path) -> None:
    async def main() -> None:
        async with fork_server(short_folder) as server:
            for secret in ("alpha-7c1", "beta-9e2"):
                settings = {"token": f"token-{secret}", "env": {"MARK": str(short_folder), "KEY": f"key-{secret}"}}
                async with ForkedPlane(short_folder, server=server, settings=settings) as plane:
                    assert await plane.call(of_state("memory_has"), ("token-", secret)) == 0
                    assert await plane.call(of_state("memory_has"), ("key-", "alpha-7c1")) == 0 or secret == "alpha-7c1"
                    await ended(plane)
                (short_folder / "link").unlink()

    played(main())


def test_a_worker_outlives_its_fork_server_and_its_end_is_seen(short_folder: Path) -> None:
    async def main() -> None:
        async with fork_server(short_folder) as server, ForkedPlane(short_folder, server=server) as plane:
            os.kill(server.pid, signal.SIGKILL)
            await server.wait()
            assert await plane.call(by_name("add"), 1) == 3
            with pytest.raises(NotForked):
                await server.fork(plane.launch, whole=True)
            await plane.send({"type": "drain"})
            assert await plane.process.wait() == 1  # which nobody knows
            await plane.nothing_left()

    played(main())


def test_one_that_hangs_is_ended_and_what_it_forks_late_does_nothing(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server_module, "_ANSWER_S", 0.3)

    async def main() -> None:
        async with fork_server(short_folder) as server, Plane(short_folder) as plane:
            os.kill(server.pid, signal.SIGSTOP)
            with pytest.raises(NotForked, match="did not answer"):
                await server.fork(plane.launch, whole=True)
            assert not server.ready
            assert await plane.call(by_name("add"), 1) == 3  # and its folder is still there
            await ended(plane)

    played(main())


def test_without_its_token_a_worker_ends_and_leaves_the_folder(short_folder: Path) -> None:
    async def main() -> None:
        async with fork_server(short_folder) as server, ForkedPlane(short_folder, server=server) as plane:
            folder = Path(plane.launch.folder)
            unwanted = await server.fork(replace(plane.launch, token=""), whole=True)
            assert await unwanted.wait() == 0
            assert folder.exists()
            assert await plane.call(by_name("add"), 1) == 3
            await ended(plane)

    played(main())


@pytest.mark.parametrize(
    "remove", [lambda overlay: (overlay / "fleeting.py").unlink(), shutil.rmtree], ids=["a file", "its environment"]
)
def test_it_ends_when_what_it_has_imported_is_not_there_any_more(
    short_folder: Path, remove: Callable[[Path], None]
) -> None:
    async def main() -> None:
        overlay = package(short_folder, "fleeting", "")
        async with fork_server(short_folder, "fleeting", overlay=overlay) as server, Plane(short_folder) as plane:
            remove(overlay)
            with pytest.raises(NotForked):
                await server.fork(plane.launch, whole=True)
            await server.wait()
            await ended(plane)

    played(main())


def test_it_ends_with_its_control_plane(short_folder: Path) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from tests.worker_runtime.comparing import STATE_CODE, of_state
from tests.worker_runtime.forked_plane import fork_server
async def main():
    async with fork_server(Path({str(short_folder)!r})) as server:
        print(server.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as plane:
        assert plane.stdout is not None
        pid = int(plane.stdout.readline())
        plane.kill()
    wait_until(lambda: not psutil.pid_exists(pid), 10, "the fork server has ended")
