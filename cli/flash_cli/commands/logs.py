"""`flash logs`: what the workers of an endpoint, or a job, have written and write."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer

from flash_cli import console, finding
from flash_cli.moments import moment
from flash_cli.platform import connected
from runpod_flash import settings
from runpod_flash.backends.base import Backend, Json
from runpod_flash.errors import BackendError, EndpointNotFound

_ID_SHOWN = 8  # characters of a job's id


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines. `since`: seconds since the epoch; `tail`: so many of the last."""

    since: float = 0.0
    tail: int | None = None
    follow: bool = False


def logs(
    name: str, *, follow: bool, since: str | None, tail: int | None, as_json: bool, app: str | None, env: str | None
) -> None:
    """Show the lines of an endpoint or a job; to leave with Ctrl-C is how following ends.

    Raises:
        ConfigError: several endpoints are meant, or `since` is no moment.
        EndpointNotFound, BackendError: there is neither, or the platform tells no lines.
    """
    wanted = Wanted(moment("--since", since, time.time()) if since else 0.0, tail, follow)
    try:
        asyncio.run(_show(name, wanted, app, env, as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0 if follow else 130) from None


async def _show(name: str, wanted: Wanted, app: str | None, env: str | None, *, as_json: bool) -> None:
    chosen = settings.load()
    place = finding.Place.of(chosen, Path.cwd(), app, env)
    async with connected(chosen, Path(place.project)) as backend:
        try:
            found = await finding.endpoint(backend, name, place)
        except EndpointNotFound as error:
            job = await _job(backend, name)
            if job is None:
                raise error from None
            if wanted.follow and job.get("cause"):
                console.note(f"job {name} waits: {job['cause']['text']}")
            printed = console.line if as_json else _print_line
            await backend.look.lines_of_job(name, printed, since=wanted.since, tail=wanted.tail, follow=wanted.follow)
            return
        printed = console.line if as_json else _print_with_time
        await backend.look.lines_of_endpoint(
            found.id, printed, since=wanted.since, tail=wanted.tail, follow=wanted.follow
        )
        if wanted.follow:
            console.note(f"endpoint {found} is gone, or its control plane has stopped")


async def _job(backend: Backend, name: str) -> Json | None:
    """The facts of a job of this id; None where there is none, or the platform does not know jobs by their ids."""
    try:
        return await backend.facts(name)
    except BackendError:
        return None


def _print_line(line: Json) -> None:
    console.say(str(line.get("line", "")))


def _print_with_time(line: Json) -> None:
    """One of an endpoint's lines: when, of which job or worker, and what."""
    at = datetime.fromtimestamp(line["time"]).astimezone().strftime("%H:%M:%S") if line.get("time") else "-" * 8
    who = str(line["job"])[:_ID_SHOWN] if line.get("job") else str(line.get("worker") or "-")
    console.say(f"{at} {who:<{_ID_SHOWN}} {line.get('line', '')}")
