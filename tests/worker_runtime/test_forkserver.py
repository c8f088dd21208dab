"""A worker that was forked is as one that was started: what it is, sees and may do; and how a fork server lives."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.worker_runtime.forked_plane import ForkedPlane, fork_server
from tests.worker_runtime.scripted_plane import Plane, by_name
from tests.worker_runtime.test_keeper import both

STATE_CODE = Path(__file__).with_name("state_code.py")


def of_state(name: str) -> tuple[str, bytes]:
    """A function of `state_code.py`."""
    return by_name(f"state_code:{name}", more={"state_code.py": STATE_CODE.read_bytes()})


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
