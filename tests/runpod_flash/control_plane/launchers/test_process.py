"""Workers as processes of this machine."""

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from runpod_flash.control_plane import bundle
from runpod_flash.control_plane.launchers.process import ProcessLauncher
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
