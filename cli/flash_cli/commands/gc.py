"""`flash gc`: remove what has expired."""

import asyncio
from collections.abc import Sequence

from flash_cli import console
from flash_cli.platform import connected
from runpod_flash.backends.base import Json


def collect(*, dry_run: bool, as_json: bool) -> None:
    """Remove what has expired, or with `dry_run` show it. Raises BackendError."""
    removed = asyncio.run(_collect(dry_run))
    if as_json:
        console.data({"dryRun": dry_run, "removed": list(removed)})
        return
    show(removed, dry_run=dry_run)


def show(removed: Sequence[Json], *, dry_run: bool) -> None:
    """Tell what has gone, or would go."""
    if not removed:
        console.say("nothing has expired")
    for each in removed:
        what = f"{each['kind']} {each['name']}" + (f" of app {each['app']}" if each.get("app") else "")
        console.say(f"{what} {'would be' if dry_run else 'is'} removed: {each['why']}")


async def _collect(dry_run: bool) -> Sequence[Json]:
    async with connected() as backend:
        return await backend.apps.collect(dry_run=dry_run)
