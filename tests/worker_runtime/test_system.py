"""What a worker's processes ask of the kernel's scheduler."""

import asyncio
import os
from pathlib import Path

from tests.worker_runtime.scripted_plane import Plane, by_name


def test_user_code_wakes_up_when_its_sleep_is_over_and_the_parent_gives_way(short_folder: Path) -> None:
    async def main() -> None:
        async with Plane(short_folder) as plane:
            assert await plane.call(by_name("scheduling")) == (1, os.SCHED_OTHER)
            assert os.sched_getscheduler(plane.process.pid) == os.SCHED_BATCH

    asyncio.run(main())
