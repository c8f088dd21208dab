"""The way from a command to the chosen target."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from runpod_flash import backends
from runpod_flash import settings as settings_module
from runpod_flash.backends.base import Backend
from runpod_flash.errors import ConfigError
from runpod_flash.settings import Settings


@contextlib.asynccontextmanager
async def connected(settings: Settings | None = None, project: Path | None = None) -> AsyncIterator[Backend]:
    """A connection to the target, closed at the end. The embedded control plane is started where none runs.

    Args:
        settings: what to use instead of the environment.
        project: the folder whose endpoints names mean on this machine; default: the current one.

    Raises:
        ConfigError: the target is `inline`, where nothing stays.
        BackendError: it cannot be reached, or refuses the key.
    """
    chosen = settings or settings_module.load()
    if chosen.target == "inline":
        raise ConfigError("FLASH_TARGET is 'inline', where nothing outlives a program; set it to local or to a URL")
    backend = await backends.connect(chosen, project or chosen.project or Path.cwd())
    try:
        yield backend
    finally:
        await backend.aclose()
