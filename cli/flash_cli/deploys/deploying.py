"""The steps of a deploy: what it would change, and that carried out. What is asked and shown is the caller's."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flash_cli.builds import building
from flash_cli.builds.building import BuildOptions, Built
from flash_cli.builds.manifest import BuildManifest, BuiltEndpoint
from flash_cli.deploys import bodies, planning, staging
from flash_cli.deploys.bodies import Whole
from flash_cli.deploys.planning import ChangeKind, Plan
from flash_cli.deploys.smoke import Deployed
from flash_cli.deploys.staging import Goal
from runpod_flash.backends.base import Backend, Json
from runpod_flash.errors import AppNotFound, ConfigError, ContentNotFound, FlashError, StageBusy, StageNotFound
from runpod_flash.output import Output
from runpod_flash.scopes import StageName

PREVIEW_S = 3600
"""How long a preview lives after its last deploy, in seconds."""

_TIDY_S = 5.0
_UPLOADS_AT_ONCE = 2
_SHIPPED = (ChangeKind.CREATE, ChangeKind.UPDATE, ChangeKind.ROLL)
_TRIED = (ChangeKind.CREATE, ChangeKind.ROLL)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be deployed where, and what that would change. `there`: the stage as it is, None where none is."""

    goal: Goal
    built: Built
    manifest: BuildManifest
    plan: Plan
    there: Json | None
    new_volumes: tuple[str, ...] = ()

    @property
    def base(self) -> int:
        """The version that it was planned against; 0: none."""
        return int(self.there["version"]) if self.there else 0


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is told how far things are: bytes of an artifact that have arrived, and what the platform prepares."""

    uploaded: Callable[[BuiltEndpoint, int, int], None]
    preparing: Callable[[Json], None]


async def propose(
    backend: Backend, project: Path, options: BuildOptions, goal: Goal, output: Output, *, prune: bool
) -> Proposal:
    """Build the project, look at the stage, and compare. Nothing is changed.

    Raises:
        ConfigError: it cannot be built; a file of it cannot be used.
        InstallError: a dependency does not resolve.
        BackendError: see `errors`.
    """
    built, there = await _both(building.build(project, options), _there(backend, goal))
    if built.faults:
        broken = "".join(f"\n{fault.file}: {fault.message}" for fault in built.faults)
        raise ConfigError(f"files of the project cannot be used; mend them, or name them in .flashignore:{broken}")
    whole = await _whole(backend, goal, built, output, make=False)
    present = {str(each["name"]): each.get("artifact") for each in (there or {}).get("endpoints", ())}
    plan = planning.plan(bodies.deployed(there or {}), whole.manifest, present, prune=prune)
    return Proposal(goal, built, whole.manifest, plan, there, whole.new_volumes)


async def carry_out(backend: Backend, proposal: Proposal, output: Output, telling: Telling, *, prune: bool) -> Json:
    """Do what was proposed; what the platform answers (`AppStore.deploy`).

    Where it fails, a stage that was made for it is removed again.

    Raises:
        StageBusy, StageMoved, ConfigError, InstallError, BackendError: see `AppStore.deploy`; nothing was changed.
    """
    goal, built = proposal.goal, proposal.built
    async with _made(backend, proposal):
        manifest = proposal.manifest
        if proposal.new_volumes:
            manifest = (await _whole(backend, goal, built, output, make=True)).manifest
        changed = {change.endpoint for change in proposal.plan.of(*_SHIPPED)}
        await _upload(backend, proposal, [each for each in manifest.endpoints if each.name in changed], telling)

        async def deploy() -> Json:
            return await backend.apps.deploy(
                goal.app,
                goal.stage,
                manifest.to_json(),
                base=proposal.base,
                prune=prune,
                on_progress=telling.preparing,
            )

        try:
            return await deploy()
        except ContentNotFound:  # of endpoints that stay, or of an artifact that was collected meanwhile
            await _upload(backend, proposal, manifest.endpoints, telling)
            return await deploy()


def to_try(proposal: Proposal, answer: Json) -> list[Deployed]:
    """The endpoints that a deploy has made, or given new workers."""
    changed = {str(each["endpoint"]) for each in answer["changes"] if each["change"] in _TRIED}
    return [each for each in deployed(proposal.manifest, answer["stage"]) if each.name in changed]


def deployed(manifest: BuildManifest, stage: Json) -> list[Deployed]:
    """The endpoints of a manifest as a stage has them, in the order of the code."""
    there = {str(each["name"]): each for each in stage["endpoints"]}
    return [
        Deployed.of(there[endpoint.name], endpoint.body) for endpoint in manifest.endpoints if endpoint.name in there
    ]


async def _whole(backend: Backend, goal: Goal, built: Built, output: Output, *, make: bool) -> Whole:
    """The bodies as the stage shall have them; its network volumes are its own, as its endpoints are."""
    volumes = backend.volumes.within(StageName(goal.app, goal.stage).scope)
    return await bodies.whole(built.manifest, built.artifacts, backend, output, make=make, volumes=volumes)


async def _both(build: Coroutine[Any, Any, Built], look: Coroutine[Any, Any, Json | None]) -> tuple[Built, Json | None]:
    """Both at a time; where one fails, the other one is ended."""
    building_it, looking = asyncio.ensure_future(build), asyncio.ensure_future(look)
    try:
        built, there = await asyncio.gather(building_it, looking)
    finally:
        building_it.cancel()
        looking.cancel()
        await asyncio.gather(building_it, looking, return_exceptions=True)
    return built, there


async def _there(backend: Backend, goal: Goal) -> Json | None:
    try:
        return await backend.apps.stage(goal.app, goal.stage)
    except (AppNotFound, StageNotFound):
        return None


@contextlib.asynccontextmanager
async def _made(backend: Backend, proposal: Proposal) -> AsyncIterator[None]:
    """The stage is there; if it was not, and what is done with it fails, it goes again."""
    goal, there = proposal.goal, proposal.there
    if there is not None:
        if goal.expires_s is not None:
            await backend.apps.renew(goal.app, goal.stage)
        yield
        return
    is_new_app = not await staging.has_app(backend, goal.app)
    label = "preview" if goal.expires_s is not None else ""
    await backend.apps.create_stage(goal.app, goal.stage, expires_in=goal.expires_s, label=label)
    try:
        yield
    except BaseException:
        with contextlib.suppress(FlashError):
            await _unmade(backend, goal, is_new_app=is_new_app)
        raise


async def _unmade(backend: Backend, goal: Goal, *, is_new_app: bool) -> None:
    """Remove the stage that was made for nothing, and its app, unless others have come to them. Raises BackendError."""
    end = time.monotonic() + _TIDY_S
    while True:
        stage = await backend.apps.stage(goal.app, goal.stage)
        if stage["version"] or stage["endpoints"]:
            return
        try:
            await backend.apps.delete_stage(goal.app, goal.stage)
            break
        except StageBusy:  # the target has not noticed yet that the deploy was left
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.1)
    if is_new_app and not (await backend.apps.get(goal.app))["stages"]:
        await backend.apps.delete(goal.app)


async def _upload(backend: Backend, proposal: Proposal, endpoints: Sequence[BuiltEndpoint], telling: Telling) -> None:
    """Bring the code of endpoints, each once."""
    gate = asyncio.Semaphore(_UPLOADS_AT_ONCE)
    by_artifact = {endpoint.artifact: endpoint for endpoint in endpoints if endpoint.artifact}

    async def one(artifact: str, endpoint: BuiltEndpoint) -> None:
        async with gate:
            path = proposal.built.artifacts[artifact]
            await backend.upload_artifact(artifact, path, lambda here, total: telling.uploaded(endpoint, here, total))

    tasks = [asyncio.ensure_future(one(artifact, endpoint)) for artifact, endpoint in by_artifact.items()]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
