"""The SDK's ways to a platform. `connect` opens the one that the settings choose."""

import inspect
from pathlib import Path
from typing import cast

from runpod_flash import lazy
from runpod_flash.backends.base import Backend
from runpod_flash.settings import Settings

_MODULES = {"local": "runpod_flash.backends.local", "inline": "runpod_flash.backends.inline"}
_BY_URL = "runpod_flash.backends.http"


async def connect(settings: Settings, project: Path | str) -> Backend:
    """Open the backend that `settings.target` names, on the running event loop.

    `project`: the folder in which names of endpoints are unique, or the scope of a stage of an app (a text).

    Raises:
        BackendUnavailable, AuthError, WireMismatch: it cannot be reached, refuses the key, is of another version.
    """
    if settings.target != "inline":
        lazy.load("httpx", without="httpx._main")  # its command, which loads click and rich
    opened = lazy.load(_MODULES.get(settings.target, _BY_URL)).connect(settings, project)
    return cast(Backend, await opened if inspect.isawaitable(opened) else opened)
