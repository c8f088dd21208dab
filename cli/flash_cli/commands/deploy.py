"""`flash plan`, `flash deploy` and `flash rollback`: from the project's code to a stage of its app, and back."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from flash_cli import console
from flash_cli.builds import archive
from flash_cli.builds.building import BuildOptions
from flash_cli.builds.manifest import BuiltEndpoint
from flash_cli.deploys import deploying, plan_text, staging
from flash_cli.deploys.curl_lines import curl
from flash_cli.deploys.deploying import Proposal, Telling
from flash_cli.deploys.planning import ChangeKind
from flash_cli.deploys.smoke import Smoked, smoke
from flash_cli.deploys.staging import Goal
from flash_cli.platform import connected
from runpod_flash import settings
from runpod_flash.backends.base import Backend, Json
from runpod_flash.errors import ConfigError, FlashError
from runpod_flash.output import of_program
from runpod_flash.project import find_project
from runpod_flash.settings import Settings

CHANGES = 3
"""Exit status of `flash plan --exit-code` where there is something to change."""

PREVIEW = "preview"
"""The stage of previews that are given no name."""


@dataclass(frozen=True, slots=True)
class Build:
    """How the project is built: as `flash build` has it."""

    no_deps: bool = False
    exclude: str = ""
    python_version: str | None = None
    upgrade: bool = False

    def options(self, app: str) -> BuildOptions:
        """In the words of the build."""
        names = tuple(name.strip() for name in self.exclude.split(",") if name.strip())
        return BuildOptions(
            app, exclude=names, no_deps=self.no_deps, python_version=self.python_version, upgrade=self.upgrade
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was said on the command line."""

    app: str | None = None
    stage: str | None = None
    build: Build = Build()
    prune: bool = False
    preview: bool = False
    yes: bool = False
    smoke: bool = True
    smoke_timeout_s: float = 300.0
    rollback: bool = True
    output: Path | None = None
    as_json: bool = False


def plan(wanted: Wanted, *, exit_code: bool) -> None:
    """Show what a deploy would change. Raises FlashError: see `deploying.propose`."""
    found = asyncio.run(_planned(wanted))
    if wanted.as_json:
        console.data(_plan_document(found))
    else:
        _show_plan(found)
        if found.plan.is_empty:
            console.say("nothing to change")
    if exit_code and not found.plan.is_empty:
        raise typer.Exit(CHANGES)


def deploy(wanted: Wanted) -> None:
    """Bring the project to a stage of its app.

    Raises:
        FlashError: it cannot be built or deployed, and nothing was changed; or what was deployed shows no life.
    """
    asyncio.run(_deployed(wanted))


def rollback(app: str | None, stage: str | None, version: int | None, *, as_json: bool) -> None:
    """Give a stage an earlier version again. Raises BackendError."""
    asyncio.run(_rolled_back(app, stage, version, as_json=as_json))


async def _planned(wanted: Wanted) -> Proposal:
    chosen, project = _here()
    async with connected(chosen, project) as backend:
        return await _proposal(backend, chosen, project, wanted)


async def _proposal(backend: Backend, chosen: Settings, project: Path, wanted: Wanted) -> Proposal:
    app = staging.app_of(project, chosen, wanted.app)
    if wanted.preview:
        goal = Goal(app, wanted.stage or PREVIEW, deploying.PREVIEW_S)
    else:
        goal = Goal(app, await staging.stage_of(backend, app, chosen, wanted.stage))
    options, output = wanted.build.options(app), of_program(chosen.logs)
    found = await deploying.propose(backend, project, options, goal, output, prune=wanted.prune)
    expires = bool(found.there and found.there.get("expiresAt"))
    if found.there and wanted.preview and not expires:
        raise ConfigError(f"environment {goal} is there to stay; give the preview another name with --env")
    for warning in found.built.warnings:
        console.note(f"warning: {warning}")
    return found


async def _deployed(wanted: Wanted) -> None:
    start = time.monotonic()
    chosen, project = _here()
    async with connected(chosen, project) as backend:
        found = await _proposal(backend, chosen, project, wanted)
        if not wanted.as_json:
            _show_plan(found)
        _ask(found, wanted)
        if wanted.output is not None:
            archive.keep(found.built, project, wanted.output)
        try:
            answer = await deploying.carry_out(backend, found, of_program(chosen.logs), _telling(), prune=wanted.prune)
        finally:
            console.passing("")
        smoked = await _tried(backend, found, answer, wanted) if wanted.smoke else ()
        failed = [each for each in smoked if not each.ok]
        back = await _go_back(backend, found, wanted) if failed else ""
    _finish(found, answer, smoked, start, wanted, failed=bool(failed))
    if failed:
        words = "\n".join(f"{each.endpoint}: {each.words}" for each in failed)
        raise FlashError(f"version {answer['version']} shows no life, {back}\n{words}")


def _ask(found: Proposal, wanted: Wanted) -> None:
    """Nothing is removed that nobody has agreed to. Raises ConfigError, Exit."""
    removed = [change.endpoint for change in found.plan.of(ChangeKind.REMOVE)]
    question = f"Remove {', '.join(removed)} with all jobs?"
    if removed and not console.agreed(question, yes=wanted.yes):
        console.note("nothing was changed")
        raise typer.Exit(1)


def _telling() -> Telling:
    begun = set[str]()

    def uploaded(endpoint: BuiltEndpoint, here: int, total: int) -> None:
        if here < total:
            begun.add(endpoint.name)
            console.passing(f"uploading {endpoint.name}: {console.size(here)} of {console.size(total)}")
        elif endpoint.name in begun:
            console.passing("")
            console.note(f"uploaded {endpoint.name}: {console.size(total)}")

    def preparing(event: Json) -> None:
        what, text = f"{event.get('event')} {event.get('endpoint')}", str(event.get("text") or "")
        if event.get("event") == "preparing" and text and not text.startswith("0 "):  # which may take minutes
            console.passing("")
            console.note(f"{what}: {text}")
        else:
            console.passing(what)

    return Telling(uploaded, preparing)


async def _tried(backend: Backend, found: Proposal, answer: Json, wanted: Wanted) -> Sequence[Smoked]:
    def said(one: Smoked) -> None:
        if one.untried:
            console.note(f"{one.endpoint} is not tried: {one.untried}")
        elif one.ok and not wanted.as_json:
            console.note(f"{one.endpoint}: a worker has loaded the code, {one.took_s:.1f} s")

    return await smoke(backend, deploying.to_try(found, answer), wanted.smoke_timeout_s, said)


async def _go_back(backend: Backend, found: Proposal, wanted: Wanted) -> str:
    """Bring the version before back where there is one; says what was done."""
    if not found.base:
        return "and there is none to go back to: it stays until the next deploy, or `flash undeploy`"
    if not wanted.rollback:
        return f"and stays, as --no-rollback says; `flash rollback` goes back to version {found.base}"
    try:
        await backend.apps.roll_back(found.goal.app, found.goal.stage, found.base)
    except FlashError as error:
        return f"and version {found.base} cannot be brought back: {error}"
    return f"so version {found.base} is back"


async def _rolled_back(app: str | None, stage: str | None, version: int | None, *, as_json: bool) -> None:
    chosen, project = _here()
    async with connected(chosen, project) as backend:
        name = staging.app_of(project, chosen, app)
        goal = Goal(name, await staging.stage_of(backend, name, chosen, stage))
        try:
            answer = await backend.apps.roll_back(goal.app, goal.stage, version, on_progress=_telling().preparing)
        finally:
            console.passing("")
    if as_json:
        console.data(answer)
        return
    for change in answer["changes"]:
        console.say(f"  {change['change']:<6}  {change['endpoint']}")
    console.say(f"{goal} is at version {answer['version']}")


def _show_plan(found: Proposal) -> None:
    at = f"version {found.base}" if found.base else "nothing is deployed there yet"
    console.say(f"{found.goal} ({at})")
    for line in plan_text.lines(found.plan):
        console.say(line)
    for name in found.new_volumes:
        console.say(f"  + network volume {name}")


def _plan_document(found: Proposal) -> dict[str, Any]:
    return {
        "app": found.goal.app,
        "stage": found.goal.stage,
        "version": found.base,
        "changes": [change.to_json() for change in found.plan.changes],
        "newVolumes": list(found.new_volumes),
        "warnings": list(found.built.warnings),
    }


def _finish(
    found: Proposal, answer: Json, smoked: Sequence[Smoked], start: float, wanted: Wanted, *, failed: bool = False
) -> None:
    """Say what there is now, and how it is called."""
    by_name = {endpoint.name: endpoint for endpoint in found.manifest.endpoints}
    there = [
        (endpoint, curl(by_name[endpoint.name], endpoint.url))
        for endpoint in deploying.deployed(found.manifest, answer["stage"])
    ]
    took_s = time.monotonic() - start
    if wanted.as_json:
        console.data(
            {
                **_plan_document(found),
                "version": answer["version"],
                "endpoints": [
                    {"name": each.name, "id": each.id, "url": each.url, "curl": line} for each, line in there
                ],
                "smoke": [each.to_json() for each in smoked],
                "expiresAt": answer["stage"].get("expiresAt"),
                "seconds": round(took_s, 3),
            }
        )
        return
    if failed:
        return
    same = answer["version"] == found.base
    done = "nothing to change: version" if same else "deployed version"
    console.say(f"{done} {answer['version']} of {found.goal} ({took_s:.1f} s)")
    width = max((len(each.name) for each, _ in there), default=0)
    for each, _ in there:
        console.say(f"  {each.name:<{width}}  {each.url}")
    if expires := answer["stage"].get("expiresAt"):
        console.say(f"it goes by itself after {expires}")
    if there:
        console.say(f"call it:\n  {there[0][1]}")


def _here() -> tuple[Settings, Path]:
    """The settings, and the folder of the project that the current directory is in."""
    chosen = settings.load()
    return chosen, chosen.project or find_project(None, Path.cwd(), ())
