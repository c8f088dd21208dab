"""Deploys: a stage gets the endpoints of a manifest, each at one moment.

    check ─ plan ─ prepare (environments of what changes) ─┬─ apply, endpoint by endpoint ─ record the version
      nothing is changed until here; may be given up       └─ ends, whoever leaves

A control plane that is killed while it applies leaves each endpoint old or new, and the version before. The next deploy
compares with what is there, so it completes the first.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from runpod_flash.control_plane.app_changes import Change, ChangeKind, changes
from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.stage_table import StageRecord, VersionRecord, VersionState
from runpod_flash.errors import BackendUnavailable, ContentNotFound, EndpointNotFound, StageMoved
from worker_runtime.wire.specs import canonical_hash

Tell = Callable[[Mapping[str, Any]], None]
"""Hears of the progress of a deploy: `event`, `endpoint` and, where there is one, `text`."""

Manifest = Mapping[str, Any]
"""The manifest of a build, with the bodies of its endpoints complete."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deploy has done."""

    stage: StageRecord
    version: int
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be deployed: checked bodies, and the manifest that they come from.

    `attaching` is held while endpoints are changed, so that no network volume of theirs goes away meanwhile.
    """

    manifest: Manifest
    bodies: Sequence[Mapping[str, Any]]
    attaching: Callable[[Mapping[str, Any]], AbstractAsyncContextManager[None]]


class Deploys:
    """Deploys to stages, and goes back to earlier versions.

    Attributes:
        apps: those to which it deploys.
        check_artifact: raises ContentNotFound or Problem where a body names an artifact that it cannot have.
        prepare: makes ready what workers of an endpoint start from, and tells how far it is; raises where they cannot.
    """

    def __init__(self, apps: Apps, catalog: Catalog, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self.apps = self._apps = apps
        self._catalog = catalog
        self._clock = clock
        self._applying = set[asyncio.Task[Deployed]]()
        self._closing = asyncio.Event()
        self.check_artifact: Callable[[Mapping[str, Any]], None] = lambda body: None
        self.prepare: Callable[[EndpointRecord, Callable[[str], None]], Awaitable[None]] = _as_it_is

    async def deploy(self, stage: StageRecord, order: Order, *, base: int, prune: bool, tell: Tell) -> Deployed:
        """Give a stage the endpoints of a manifest; others are removed with `prune`, else left.

        `base` is the version that the deploy was planned against. Who gives up while it prepares changes nothing;
        later, it goes on to its end.

        Raises:
            StageBusy, StageMoved, ContentNotFound: as named; nothing was changed.
            Problem: an endpoint cannot be made ready, or the disk is full.
        """
        with self._apps.changing(stage):
            stage = self._apps.stage(*stage.key)
            _check_base(stage, base)
            await asyncio.to_thread(self._check_artifacts, order.bodies)  # they may be large
            planned = changes(self._apps.endpoints(stage), order.bodies, lambda name: prune)
            fingerprint = canonical_hash(order.manifest["endpoints"])
            active = next((each for each in self._apps.versions(stage) if each.number == stage.version), None)
            done = all(change.kind in (ChangeKind.KEEP, ChangeKind.LEFT) for change in planned)
            if done and active is not None and active.fingerprint == fingerprint:
                return Deployed(stage, stage.version, planned)
            await self._prepare(stage, planned, tell)
            version = self._next(stage, order.manifest, {str(body.get("artifact") or "") for body in order.bodies})
            return await self._to_the_end(self._apply(stage, planned, order, tell, version))

    async def roll_back(
        self, stage: StageRecord, number: int | None, check: Callable[[Manifest], Order], tell: Tell
    ) -> Deployed:
        """Give a stage the endpoints of an earlier version, by default of the one before. What came since then goes.

        `check` gives the bodies of a manifest as this control plane has them.

        Raises:
            StageBusy, ContentNotFound: as named; nothing was changed.
            Problem: 422, there is no such version, or an endpoint cannot be made ready.
        """
        with self._apps.changing(stage):
            stage = self._apps.stage(*stage.key)
            target = self._target(stage, number)
            order = check(target.manifest)
            await asyncio.to_thread(self._check_artifacts, order.bodies)  # they may be large
            active = self._apps.version(stage, stage.version)
            deployed = _names(active.manifest if active is not None else {})
            planned = changes(self._apps.endpoints(stage), order.bodies, lambda name: name in deployed)
            await self._prepare(stage, planned, tell)
            return await self._to_the_end(self._apply(stage, planned, order, tell, target))

    async def remove(self, stage: StageRecord, name: str) -> None:
        """Remove one endpoint of a stage. It is in no version from then on until it is deployed again.

        Raises:
            EndpointNotFound, StageBusy: as named; nothing was changed.
        """
        with self._apps.changing(stage):
            stage = self._apps.stage(*stage.key)
            there = {record.name: record for record in self._apps.endpoints(stage)}
            if name not in there:
                listed = ", ".join(there) or "none"
                raise EndpointNotFound(
                    f"stage {stage.name!r} of app {stage.app!r} has no endpoint {name!r:.80}; there is {listed}"
                )
            active = self._apps.version(stage, stage.version)
            if active is None or name not in _names(active.manifest):  # it had left the code before
                await self._apps.remove_endpoint(there[name].id)
                return
            manifest = _without(active.manifest, name)
            artifacts = {str(each.get("artifact") or "") for each in manifest["endpoints"]}
            gone = Change(name, ChangeKind.REMOVE, there[name].id)
            version = self._next(stage, manifest, artifacts & set(active.artifacts))
            await self._to_the_end(self._apply(stage, [gone], Order(manifest, (), _unattached), _silent, version))

    async def close(self) -> None:
        """End what is being prepared, and wait for what is being changed: some writes."""
        self._closing.set()
        if self._applying:
            await asyncio.wait(self._applying)

    # ---- before anything changes

    def _next(self, stage: StageRecord, manifest: Manifest, artifacts: Set[str]) -> VersionRecord:
        """The version that a manifest becomes."""
        return VersionRecord(
            1 + max([stage.version, *(each.number for each in self._apps.versions(stage))]),
            stage.version,
            self._clock(),
            VersionState.ACTIVE,
            canonical_hash(manifest["endpoints"]),
            tuple(sorted(artifacts - {""})),
            manifest,
        )

    def _target(self, stage: StageRecord, number: int | None) -> VersionRecord:
        versions = {each.number: each for each in self._apps.versions(stage)}
        active = versions.get(stage.version)
        wanted = (active.base if active is not None else 0) if number is None else number
        found = self._apps.version(stage, wanted) if wanted in versions else None
        if found is None:
            there = ", ".join(map(str, versions)) or "none"
            asked = f"version {wanted}" if wanted else "version before the active one"
            raise Problem(422, f"stage {stage.name!r} has no {asked}; there is {there}", code="ConfigError")
        return found

    def _check_artifacts(self, bodies: Sequence[Mapping[str, Any]]) -> None:
        """Raise ContentNotFound with all artifacts that are not here, or Problem with all that cannot be had."""
        missing, faults = list[str](), list[str]()
        for body in bodies:
            try:
                self.check_artifact(body)
            except ContentNotFound:
                missing.append(f"{body['artifact']} (of {body['name']})")
            except Problem as problem:
                faults.append(f"endpoint {body['name']!r}: {problem.detail}")
        if missing:
            raise ContentNotFound(f"there is no artifact {', '.join(missing)}; upload it and deploy again")
        if faults:
            raise Problem(422, "; ".join(faults), code="ConfigError", errors=faults)

    async def _prepare(self, stage: StageRecord, planned: Sequence[Change], tell: Tell) -> None:
        """Make ready what changes. Raises BackendUnavailable where the control plane ends before that."""
        work = asyncio.create_task(self._prepare_all(stage, planned, tell))
        closing = asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait([work, closing], return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise BackendUnavailable("the control plane is being stopped; nothing was changed: deploy again")
            work.result()
        finally:
            for task in (work, closing):
                task.cancel()
            await asyncio.wait([work, closing])

    async def _prepare_all(self, stage: StageRecord, planned: Sequence[Change], tell: Tell) -> None:
        for change in planned:
            if change.needs_environment:
                await self._prepare_one(stage, change, tell)

    async def _prepare_one(self, stage: StageRecord, change: Change, tell: Tell) -> None:
        def say(text: str) -> None:
            tell({"event": "preparing", "endpoint": change.endpoint, "text": text})

        say("")
        await self.prepare(_as_if(stage, change, self._clock()), say)

    # ---- the change

    async def _to_the_end(self, work: Coroutine[Any, Any, Deployed]) -> Deployed:
        """Let it end, though the one who waits for it may leave."""
        task: asyncio.Task[Deployed] = asyncio.create_task(work)
        self._applying.add(task)
        task.add_done_callback(self._applying.discard)
        left = False
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                left = True
        if left:
            raise asyncio.CancelledError
        return task.result()

    async def _apply(
        self, stage: StageRecord, planned: Sequence[Change], order: Order, tell: Tell, version: VersionRecord
    ) -> Deployed:
        applied = []
        for change in planned:
            if change.kind not in (ChangeKind.KEEP, ChangeKind.LEFT):
                tell({"event": "changing", "endpoint": change.endpoint, "text": str(change.kind)})
            applied.append(await self._change(stage, change, order))
        known = any(each.number == version.number for each in self._apps.versions(stage))
        record = self._apps.go_back(stage, version.number) if known else self._apps.record(stage, version)
        return Deployed(await record, version.number, applied)

    async def _change(self, stage: StageRecord, change: Change, order: Order) -> Change:
        if change.kind is ChangeKind.REMOVE:
            assert change.id is not None
            await self._apps.remove_endpoint(change.id)
        elif change.kind is ChangeKind.CREATE:
            async with order.attaching(change.body):
                made = await self._catalog.create(stage.scope, change.body, stage.owner)
            return Change(change.endpoint, change.kind, made.id, change.body)
        elif change.kind in (ChangeKind.UPDATE, ChangeKind.ROLL):
            assert change.id is not None
            async with order.attaching(change.body):
                await self._catalog.update(change.id, lambda old: change.body)
        return change


def _check_base(stage: StageRecord, base: int) -> None:
    if stage.version != base:
        raise StageMoved(
            f"stage {stage.name!r} of app {stage.app!r} has version {stage.version} by now, and this deploy was "
            f"planned against {base}; look at the plan again and deploy again"
        )


def _names(manifest: Manifest) -> set[str]:
    return {str(each["name"]) for each in manifest.get("endpoints", [])}


def _without(manifest: Manifest, name: str) -> Manifest:
    """A manifest without one of its endpoints."""
    endpoints = [each for each in manifest["endpoints"] if each["name"] != name]
    return {**manifest, "endpoints": endpoints, "fingerprint": canonical_hash(endpoints)}


def _as_if(stage: StageRecord, change: Change, now: float) -> EndpointRecord:
    """The endpoint as it will be."""
    return EndpointRecord(
        id=change.id or "",
        project=stage.scope,
        name=change.endpoint,
        body=change.body,
        config_hash="",
        generation=1,
        created_at=now,
        owner=stage.owner,
    )


def _unattached(body: Mapping[str, Any]) -> AbstractAsyncContextManager[None]:
    return nullcontext()


def _silent(event: Mapping[str, Any]) -> None:
    """Nobody listens."""


async def _as_it_is(endpoint: EndpointRecord, say: Callable[[str], None]) -> None:
    """Nothing is to be made ready."""
