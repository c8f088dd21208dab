"""`flash undeploy`: remove endpoints; what there is, the target says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from flash_cli import console, finding
from flash_cli.commands import gc
from flash_cli.finding import Found, Place
from flash_cli.platform import connected
from runpod_flash import settings
from runpod_flash.backends.base import Backend
from runpod_flash.errors import BackendError, ConfigError, EndpointNotFound, FlashError

LIST = "list"
"""The name that shows endpoints, and removes none."""

ALL = "DELETE ALL"
"""What has to be typed before everything goes."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was said on the command line."""

    name: str | None = None
    every: bool = False
    interactive: bool = False
    cleanup_stale: bool = False
    yes: bool = False
    app: str | None = None
    stage: str | None = None
    as_json: bool = False


def undeploy(wanted: Wanted) -> None:
    """Remove what was said.

    Raises:
        ConfigError, EndpointNotFound: nothing that is there was named.
        BackendError: something could not be removed; all else is.
    """
    said = [wanted.name is not None, wanted.every, wanted.interactive, wanted.cleanup_stale]
    if sum(said) != 1:
        raise typer.BadParameter("say one of: the name of an endpoint, list, --all, --interactive, --cleanup-stale")
    if wanted.cleanup_stale:
        gc.collect(dry_run=False, as_json=wanted.as_json)
        return
    asyncio.run(_undeploy(wanted))


async def _undeploy(wanted: Wanted) -> None:
    chosen = settings.load()
    place = Place.of(chosen, Path.cwd(), wanted.app, wanted.stage)
    async with connected(chosen, Path(place.project)) as backend:
        known = await finding.endpoints(backend)
        inside = finding.chosen(known, replace(place, app=wanted.app, stage=wanted.stage))
        if wanted.name == LIST and not any(each.name == LIST for each in inside):
            _list(inside, as_json=wanted.as_json)
            return
        chosen_ones = _named(known, place, wanted) if wanted.name is not None else _several(inside, wanted)
        failed = await _remove_all(backend, chosen_ones, as_json=wanted.as_json)
    if failed:
        raise BackendError(f"{len(failed)} of {len(chosen_ones)} endpoints could not be removed: {'; '.join(failed)}")


def _list(endpoints: Sequence[Found], *, as_json: bool) -> None:
    if as_json:
        shown = [
            {
                "id": each.id,
                "name": each.name,
                "type": each.type,
                "app": each.app,
                "environment": each.stage,
                "project": None if each.app else each.project,
                "url": each.url,
            }
            for each in endpoints
        ]
        console.data({"endpoints": shown})
    elif not endpoints:
        console.say("no endpoints")
    else:
        console.table(
            ("ENDPOINT", "ID", "TYPE", "OF"), [(each.name, each.id, each.type, _of(each)) for each in endpoints]
        )


def _named(known: Sequence[Found], place: Place, wanted: Wanted) -> list[Found]:
    """The endpoint of this name. Raises EndpointNotFound, ConfigError, Exit: it is not agreed to."""
    assert wanted.name is not None
    found = finding.find(known, wanted.name, place)
    question = f"Remove endpoint {found.name} ({found.id}, {_of(found)}) with its jobs?"
    if console.is_person() and not console.agreed(question, yes=wanted.yes):
        raise _nothing()
    return [found]


def _several(inside: Sequence[Found], wanted: Wanted) -> list[Found]:
    """All, or those that somebody picks. Raises EndpointNotFound, ConfigError, Exit: it is not agreed to."""
    if not inside:
        raise EndpointNotFound("there are no endpoints to remove")
    _list(inside, as_json=False) if not wanted.as_json else None
    if wanted.interactive:
        return _picked(inside)
    if not console.agreed(f"Remove all {len(inside)} endpoints with their jobs?", yes=wanted.yes, option="--force"):
        raise _nothing()
    if not console.typed(ALL, "They cannot be had back.", yes=wanted.yes, option="--force"):
        raise _nothing()
    return list(inside)


def _picked(inside: Sequence[Found]) -> list[Found]:
    """What somebody picks by number. Raises ConfigError: nobody is there, or there is no such number."""
    for number, each in enumerate(inside, 1):
        console.note(f"  {number}: {each.name} ({_of(each)})")
    answer = console.asked("Which, by their numbers?", "name the endpoints, or say --all --force")
    words = answer.replace(",", " ").split()
    numbers = {int(word) for word in words if word.isascii() and word.isdigit()}
    if not words:
        raise _nothing()
    if len(numbers) < len(set(words)) or not numbers <= set(range(1, len(inside) + 1)):
        raise ConfigError(f"{answer.strip()!r:.80} is no choice; give numbers from 1 to {len(inside)}")
    return [each for number, each in enumerate(inside, 1) if number in numbers]


async def _remove_all(backend: Backend, endpoints: Sequence[Found], *, as_json: bool) -> list[str]:
    """Remove each; why those are there still that could not be."""
    failed, removed = [], []
    for each in endpoints:
        try:
            if each.app is not None and each.stage is not None:
                await backend.apps.delete_endpoint(each.app, each.stage, each.name)
            else:
                await backend.delete(each.id)
        except FlashError as error:
            failed.append(f"{each.name} ({_of(each)}): {error}")
            continue
        removed.append({"id": each.id, "name": each.name, "app": each.app, "environment": each.stage})
        if not as_json:
            again = "; the next `flash deploy` makes it again while it is in the code" if each.app is not None else ""
            console.say(f"endpoint {each.name} ({_of(each)}) is removed{again}")
    if as_json:
        console.data({"removed": removed, "failed": failed})
    return failed


def _of(endpoint: Found) -> str:
    if endpoint.app is not None:
        return f"{endpoint.app}/{endpoint.stage}"
    return endpoint.project or "no project"


def _nothing() -> typer.Exit:
    console.note("nothing was removed")
    return typer.Exit(0)
