"""What the shell completes names with: asked of the chosen target, quickly, and nothing where it cannot be had."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from flash_cli import plane
from flash_cli.finding import Place
from flash_cli.plain_client import plain_client
from runpod_flash import settings, targets
from runpod_flash.backends import daemon
from runpod_flash.errors import FlashError
from runpod_flash.settings import Settings
from runpod_flash.targets import LOCAL

PATIENCE_S = 0.6
"""How long the target has. The program itself takes some 0.2 s."""

Names = list[tuple[str, str]]


def names(kind: str, app: str | None = None) -> Names:
    """Names of `kind` (endpoints, apps, stages, targets) with a few words about each, in order.

    `app`: the one whose stages are asked for; None: the project's, else all. Empty where the target cannot be asked
    within PATIENCE_S.
    """
    found: Names = []
    # Names of hosts are looked up without a deadline, so that a thread is left behind rather than waited for.
    asking = threading.Thread(target=_ask, args=(kind, app, found), daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    return list(found)


def _ask(kind: str, app: str | None, found: Names) -> None:
    try:
        chosen = settings.load()
        if kind == "targets":
            found += _targets(chosen)
            return
        with _client(chosen) as client:
            path = "/v2/serverless" if kind == "endpoints" else "/flash/v1/apps?ephemeral=true"
            answer = client.get(path).raise_for_status().json()
            if kind == "stages" and app is None:
                app = _app_meant(chosen, answer)
            found += sorted(set(_READ[kind](answer, app)))
    except (FlashError, httpx.HTTPError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # a shell shows nothing but completions


def _client(chosen: Settings) -> httpx.Client:
    """The way to the chosen target. Raises LookupError where there is none now."""
    if chosen.target.startswith("http"):
        return plain_client(chosen.target, chosen.api_key, timeout_s=PATIENCE_S)
    state = plane.state_folder(chosen)
    record = daemon.running(state) if chosen.target == LOCAL else None
    way = daemon.reach(record) if record is not None else None
    if way is None:
        raise LookupError("no control plane runs")
    client = plane.opened(way)
    client.headers["Authorization"] = f"Bearer {state.read_key() or ''}"
    return client


def _targets(chosen: Settings) -> Names:
    known = targets.read(chosen.home).known
    named = [(each.name, each.url) for each in known if each.name is not None]
    return [(LOCAL, "this machine"), *named, *((each.url, each.name or "") for each in known)]


def _endpoints(answer: Mapping[str, Any], _: str | None) -> Iterator[tuple[str, str]]:
    for endpoint in answer["endpoints"]:
        yield str(endpoint["name"]), str(endpoint["id"])


def _apps(answer: Mapping[str, Any], _: str | None) -> Iterator[tuple[str, str]]:
    for app in answer["apps"]:
        yield str(app["name"]), _listed(str(stage["name"]) for stage in app["stages"])


def _stages(answer: Mapping[str, Any], wanted: str | None) -> Iterator[tuple[str, str]]:
    for app in answer["apps"]:
        for stage in app["stages"] if wanted in (None, app["name"]) else ():
            yield str(stage["name"]), f"of {app['name']}" if wanted is None else f"version {stage['version']}"


def _app_meant(chosen: Settings, answer: Mapping[str, Any]) -> str | None:
    """The app that is meant where none is named, if the target has it."""
    place = Place.of(chosen, Path.cwd())
    app = place.app or place.own_app
    return app if any(each["name"] == app for each in answer["apps"]) else None


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "no environment"


_READ = {"endpoints": _endpoints, "apps": _apps, "stages": _stages}
