"""Which fork servers there are, and how long: with real ones."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from runpod_flash.control_plane import bundle
from runpod_flash.control_plane.launchers import fork
from runpod_flash.control_plane.launchers.fork import ForkLauncher
from runpod_flash.control_plane.launchers.fork_server import FORKS, ForkServer, Kind, Spawned, own_kind
from runpod_flash.control_plane.launchers.process import ProcessLauncher
from tests.runpod_flash.control_plane.launchers.test_process import launch, listening
from tests.support.processes import children_with
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(not FORKS, reason="this system forks no workers")


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.ensure(tmp_path_factory.mktemp("bundle") / "content")


def played(
    play: Callable[[ForkLauncher], Coroutine[Any, Any, None]], bundle_folder: Path, spawned: Spawned | None = None
) -> None:
    """Run a test with a launcher; nothing goes wrong unseen, and no process is left."""
    faults: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
        launcher = ForkLauncher(bundle_folder, ProcessLauncher(), spawned=spawned)
        try:
            async with asyncio.timeout(60):
                await play(launcher)
        finally:
            await launcher.close()

    asyncio.run(main())
    assert not faults
    wait_until(lambda: not children_with("forkserver"), 20, "no fork server is left")


CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


def pids_below(pid: int) -> list[int]:
    """The children of a process."""
    return [child.pid for child in psutil.Process(pid).children()]


def test_a_fork_server_that_had_to_make_room_is_missed_by_nobody(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork, "_MOST", 1)
    path = tmp_path_factory.mktemp("s") / "w.sock"

    async def play(launcher: ForkLauncher) -> None:
        server, met = await listening(path)
        async with server:
            workers = []
            for number, preload in enumerate(("csv", "html")):
                wanted = launch(tmp_path / str(number), bundle_folder, f"unix:{path}")
                wanted = replace(wanted, preload=(preload,))
                workers.append(await launcher.start(wanted))  # the fork server of the first one makes room
                await met.get()
                while starting := [each.starting for each in launcher._places.values() if each.starting is not None]:
                    await asyncio.wait(starting)
            for worker in workers:
                worker.terminate()
                await worker.wait()
            while any(not task.done() for task in launcher._ending):
                await asyncio.wait(launcher._ending)

    played(play, bundle_folder)


def test_one_that_is_still_starting_ends_when_it_must_make_room(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path
) -> None:
    async def play(launcher: ForkLauncher) -> None:
        kind = launcher._kinds(launch(tmp_path, bundle_folder, "unix:nowhere"))[0]
        starting = launcher._want(kind).starting
        assert starting is not None
        launcher._drop(kind)
        await asyncio.wait([starting])

    played(play, bundle_folder)


async def ready(launcher: ForkLauncher, kind: Kind) -> ForkServer:
    """The fork server of a kind that was wanted, when it has begun."""
    place = launcher._places[kind]
    if place.starting is not None:
        await asyncio.wait([place.starting])
    assert place.server is not None
    return place.server


def test_one_that_crashes_is_missed_by_no_worker_and_replaced(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path
) -> None:
    path = tmp_path_factory.mktemp("s") / "w.sock"

    async def play(launcher: ForkLauncher) -> None:
        server, met = await listening(path)
        async with server:
            wanted = launch(tmp_path, bundle_folder, f"unix:{path}")
            (kind,) = launcher._kinds(wanted)
            launcher._want(kind)
            first = await ready(launcher, kind)
            forked = await launcher.start(wanted)
            assert forked.pid in pids_below(first.pid)
            await met.get()
            os.kill(first.pid, signal.SIGKILL)
            after = await launcher.start(replace(wanted, worker="w-2", folder=str(tmp_path / "2")))
            await met.get()  # in whatever way it was started
            second = await ready(launcher, kind)
            assert second.pid != first.pid
            for worker in (forked, after):
                worker.terminate()
                await worker.wait()

    played(play, bundle_folder)


def test_one_that_crashes_whenever_it_imports_is_given_up_and_that_is_told(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path
) -> None:
    path = tmp_path_factory.mktemp("s") / "w.sock"
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay" / "crashing.py").write_text(f"open({str(tmp_path / 'marks')!r}, 'a').write('x'); {CRASH}")
    told: list[str] = []

    async def play(launcher: ForkLauncher) -> None:
        launcher.on_notice = lambda launch, text: told.append(f"{launch.worker}: {text}")
        server, met = await listening(path)
        async with server:
            wanted = replace(
                launch(tmp_path, bundle_folder, f"unix:{path}"),
                overlay=str(tmp_path / "overlay"),
                preload=("crashing",),
            )
            for number in range(5):
                each = replace(wanted, worker=f"w-{number}", folder=str(tmp_path / str(number)))
                worker = await launcher.start(each)
                await met.get()
                worker.terminate()
                await worker.wait()
                await asyncio.gather(*(place.starting for place in launcher._places.values() if place.starting))

    played(play, bundle_folder)
    assert (tmp_path / "marks").read_text() == "xxx"
    assert told == [f"w-2: its workers are started without preloading: {fork._ENDS}"]


def test_what_could_not_be_imported_is_told_once_and_the_rest_is_there(tmp_path: Path, bundle_folder: Path) -> None:
    told: list[tuple[str, dict[str, str]]] = []

    async def play(launcher: ForkLauncher) -> None:
        launcher.on_failed = lambda launch, failed: told.append((launch.endpoint, dict(failed)))
        wanted = replace(launch(tmp_path, bundle_folder, "unix:/nowhere"), preload=("colorsys", "not_installed"))
        for _ in range(2):
            launcher.prepare(wanted)
            launcher.prepare(replace(wanted, endpoint="another"))
            assert (await ready(launcher, launcher._kinds(wanted)[0])).ready

    played(play, bundle_folder)
    message = "ModuleNotFoundError: No module named 'not_installed'"
    assert told == [("e", {"not_installed": message}), ("another", {"not_installed": message})]


def test_one_that_was_started_before_is_the_one_that_is_used(bundle_folder: Path) -> None:
    spawned = Spawned(own_kind(bundle_folder))

    async def play(launcher: ForkLauncher) -> None:
        launcher.begin()
        (place,) = launcher._places.values()
        while place.starting is not None:
            await asyncio.wait([place.starting])
        assert place.server is not None
        assert place.server.ready
        assert place.server.pid == spawned.pid
        assert len(children_with("forkserver")) == 1

    played(play, bundle_folder, spawned)
