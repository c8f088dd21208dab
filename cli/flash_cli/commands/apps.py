"""`flash app`: the apps of the chosen target."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

from flash_cli import console
from flash_cli.platform import connected
from runpod_flash.backends.base import Backend, Json

T = TypeVar("T")


def list_all(*, as_json: bool) -> None:
    """Show all apps with their environments. Raises BackendError."""
    found = asked(lambda backend: backend.apps.all(ephemeral=True))
    if as_json:
        console.data({"apps": found})
    elif not found:
        console.say("no apps; `flash deploy` makes one")
    else:
        rows = [(app["name"], _stages(app), _count(app), age(app["createdAt"])) for app in found]
        console.table(("APP", "ENVIRONMENTS", "ENDPOINTS", "MADE"), rows)


def create(name: str, *, as_json: bool) -> None:
    """Make an app. Raises NameTaken, ConfigError, BackendError."""
    made = asked(lambda backend: backend.apps.create(name))
    if as_json:
        console.data(made)
    else:
        console.say(f"app {made['name']} is made; `flash deploy --app {made['name']}` brings a project to it")


def get(name: str, *, as_json: bool) -> None:
    """Show an app: its environments, their versions and endpoints. Raises AppNotFound, BackendError."""
    app = asked(lambda backend: backend.apps.get(name))
    if as_json:
        console.data(app)
        return
    console.say(f"app {app['name']}, made {age(app['createdAt'])}")
    if not app["stages"]:
        console.say("no environments; `flash deploy` makes one")
    for stage in app["stages"]:
        show_stage(stage)


def delete(name: str, *, yes: bool) -> None:
    """Remove an app with all that is in it. Raises AppNotFound, StageBusy, BackendError, ConfigError: nobody agrees."""
    app = asked(lambda backend: backend.apps.get(name))
    inside = f"{_stages(app) or 'no environments'}; {_count(app)} endpoints with all jobs"
    if not console.agreed(f"Delete app {name} ({inside})?", yes=yes):
        console.note("nothing was deleted")
        return
    asked(lambda backend: backend.apps.delete(name))
    console.say(f"app {name} is deleted")


def show_stage(stage: Json) -> None:
    """Tell of an environment: its version, and its endpoints with their ids and URLs."""
    version = f"version {stage['version']}, deployed {age(stage['deployedAt'])}" if stage["version"] else "no version"
    label = f", {stage['label']}" if stage.get("label") else ""
    expires = f", goes by itself after {stage['expiresAt']}" if stage.get("expiresAt") else ""
    console.say(f"{stage['app']}/{stage['name']}: {version}{label}{expires}")
    if stage["endpoints"]:
        rows = [(f"  {each['name']}", each["id"], each["type"], each["url"]) for each in stage["endpoints"]]
        console.table(("  ENDPOINT", "ID", "TYPE", "URL"), rows)


def age(moment: str | None) -> str:
    """How long ago an ISO time was."""
    return f"{console.since(datetime.fromisoformat(moment).timestamp())} ago" if moment else "never"


def asked(question: Callable[[Backend], Coroutine[Any, Any, T]]) -> T:
    """What the chosen target answers. Raises BackendError."""

    async def ask() -> T:
        async with connected() as backend:
            return await question(backend)

    return asyncio.run(ask())


def _stages(app: Json) -> str:
    return ", ".join(f"{stage['name']} (version {stage['version']})" for stage in app["stages"])


def _count(app: Json) -> int:
    return sum(len(stage["endpoints"]) for stage in app["stages"])
