"""Apps of a real control plane, by the SDK's own way to it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from flash_cli.platform import connected
from runpod_flash import settings
from runpod_flash.backends import local
from runpod_flash.backends.base import AppStore
from tests.support.place import Place

T = TypeVar("T")

PAGES = (
    'mkdir -p "$PWD/site" && cd site && echo "{text} $FLASH_APP $FLASH_ENV $FLASH_PROJECT" > page && echo yes > ping'
)
"""What a worker does first that serves /ping and /page."""


def with_apps(place: Place, do: Callable[[AppStore], Awaitable[T]]) -> T:
    """Do something with the apps of this place's control plane, which is started where none runs."""

    chosen = settings.load(place.env(), place.project)

    async def main() -> T:
        async with connected(chosen, place.project) as backend:
            return await do(backend.apps)

    try:
        return asyncio.run(main())
    finally:  # as the end of a program: a control plane that a newer one has followed waits for that
        os.close(local._stay(local.state_folder(chosen).programs_lock))
        local._stay.cache_clear()


def pages(name: str, text: str, **changes: Any) -> dict[str, Any]:
    """An endpoint of a manifest, without code: a command whose /page says this text, its app and its stage."""
    body = {
        "name": name,
        "type": "LOAD_BALANCER",
        "cpu": [{"id": "cpu3c", "vcpuCount": 1}],
        "command": f"{PAGES.format(text=text)} && exec python3 -m http.server $PORT",
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 4},
        "workers": {"min": 0, "max": 1, "idleTimeout": 60},
    }
    return {"name": name, "kind": "routes", "body": {**body, **changes}}


def manifest(*endpoints: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a build with these endpoints."""
    return {"version": 1, "app": "shop", "endpoints": [dict(endpoint) for endpoint in endpoints]}
