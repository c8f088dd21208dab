"""Workers as processes of this machine."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from runpod_flash.control_plane import bundle
from runpod_flash.control_plane.launchers import process as launcher
from runpod_flash.control_plane.launchers.process import LocalProcess, ProcessLauncher
from tests.worker_runtime.scripted_plane import Plane, by_name
from worker_runtime.wire.specs import WorkerLaunch


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.ensure(tmp_path_factory.mktemp("bundle") / "content")


def launch(folder: Path, bundle_folder: Path, address: str) -> WorkerLaunch:
    return WorkerLaunch(
        worker="w-1",
        token="secret",
        address=address,
        endpoint="e",
        name="palette",
        folder=str(folder / "work" / "w-1"),
        python=sys.executable,
        bundle=str(bundle_folder),
    )


async def listening(path: Path) -> "tuple[asyncio.Server, asyncio.Queue[asyncio.StreamReader]]":
    """A control plane that only listens."""
    met: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await met.put(reader)
        await reader.read()
        writer.close()

    return await asyncio.start_unix_server(meet, str(path)), met


@pytest.mark.parametrize(("end", "code"), [("terminate", 0), ("kill", -9)])
def test_a_worker_starts_connects_and_ends(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bundle_folder: Path, end: str, code: int
) -> None:
    path = tmp_path_factory.mktemp("s") / "w.sock"

    async def play() -> None:
        server, met = await listening(path)
        process = await ProcessLauncher().start(launch(tmp_path, bundle_folder, f"unix:{path}"))
        async with server, asyncio.timeout(20):
            await met.get()
            seen = psutil.Process(process.pid)
            below = seen.children(recursive=True)
            assert "secret" not in " ".join(seen.cmdline())
            assert seen.environ().keys() <= {"LC_CTYPE"}
            getattr(process, end)()
            ended = await process.wait()
            assert ended == code
            getattr(process, end)()  # no error where it has ended
            while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in below):
                await asyncio.sleep(0.01)

    asyncio.run(play())


def test_a_worker_whose_control_plane_cannot_be_reached_ends(tmp_path: Path, bundle_folder: Path) -> None:
    async def play() -> None:
        process = await ProcessLauncher().start(launch(tmp_path, bundle_folder, f"unix:{tmp_path}/nowhere"))
        async with asyncio.timeout(20):
            assert await process.wait() == 2
        assert not (tmp_path / "work" / "w-1").exists()

    asyncio.run(play())


def test_a_worker_that_cannot_be_started_is_an_os_error(tmp_path: Path, bundle_folder: Path) -> None:
    (tmp_path / "work").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="work"):
        asyncio.run(ProcessLauncher().start(launch(tmp_path, bundle_folder, "unix:/nowhere")))


def on_a_plane(folder: Path, test: Callable[[Plane], Coroutine[Any, Any, None]], *, isolate: bool) -> None:
    """Run a test with a real worker, which the test shall end; nothing of it may be left."""

    async def play() -> None:
        async with Plane(folder, isolate=isolate) as plane:
            await test(plane)
            assert await asyncio.wait_for(plane.process.wait(), 10) == -9
            await plane.nothing_left()

    asyncio.run(play())


@pytest.mark.parametrize("isolate", [True, False], ids=["namespaces", "plain"])
def test_kill_ends_a_tree_that_is_stopped(tmp_path_factory: pytest.TempPathFactory, isolate: bool) -> None:
    async def test(plane: Plane) -> None:
        await plane.start(by_name("orphan_then_sleep"))
        await plane.until(lambda: "orphaned" in plane.lines(), "an orphan in a session of its own")
        parent = psutil.Process(plane.process.pid)
        tree = [parent, *parent.children(recursive=True)]
        assert len(tree) == 4  # with init, the child and the orphan
        for process in tree:
            process.suspend()
        LocalProcess(plane.process).kill()

    on_a_plane(tmp_path_factory.mktemp("s"), test, isolate=isolate)


def test_kill_ends_what_is_forked_meanwhile(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("s")
    marks = folder / "marks"

    def size() -> int:
        return marks.stat().st_size if marks.exists() else 0

    async def test(plane: Plane) -> None:
        await plane.start(by_name("fork_on_and_on"), str(marks))
        await plane.until(lambda: size() > 20, "processes that follow each other")
        LocalProcess(plane.process).kill()
        async with asyncio.timeout(20):
            before = -1
            while before != size():
                before = size()
                await asyncio.sleep(1)

    on_a_plane(folder, test, isolate=False)


def test_kill_ends_what_a_stopped_worker_has_inherited(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_INIT_S", 0.1)

    async def test(plane: Plane) -> None:
        await plane.start(by_name("orphan_then_sleep"))
        await plane.until(lambda: "orphaned" in plane.lines(), "an orphan in a session of its own")
        parent = psutil.Process(plane.process.pid)
        (init,) = parent.children()
        parent.suspend()
        init.kill()
        while init in parent.children() and init.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
        assert len(parent.children()) == 3  # init's remains, the child and the orphan
        LocalProcess(plane.process).kill()

    on_a_plane(tmp_path_factory.mktemp("s"), test, isolate=False)
