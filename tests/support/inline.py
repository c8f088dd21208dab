"""A session whose calls run inside the test process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runpod_flash.backends import inline
from runpod_flash.session import Session, use
from runpod_flash.settings import Settings
from tests.support.waiting import wait_until


@contextmanager
def inline_session(folder: Path) -> Iterator[Session]:
    """Calls inside go through a platform of their own in this process, which ends with it."""
    settings = Settings(target="inline", home=folder)
    try:
        with use(Session(settings, project=folder)) as session:
            yield session
    finally:
        end_platform(settings)


def end_platform(settings: Settings) -> None:
    """End the platform of these settings with all that still runs on it; a program's own lasts as long as that."""
    platform = inline._platforms.pop(settings, None)
    if platform is None:
        return
    loop = platform._loop
    if loop is not None:
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        wait_until(loop.is_closed, 10, "the platform's loop is closed")
    platform.pool.shutdown(wait=False)


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
