"""Apps and their stages: what there is, whose it is, until when. In memory for who asks, in the store to last."""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace

from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.stage_table import AppRecord, StageRecord, StageTable, VersionRecord, VersionState
from runpod_flash.control_plane.store import Store
from runpod_flash.errors import AppNotFound, NameTaken, StageBusy, StageNotFound
from runpod_flash.scopes import check_name, stage_of
from runpod_flash.wording import nearest

VERSIONS_KEPT = 10
"""How many versions of a stage can be gone back to."""

StageKey = tuple[str, str, str]
"""Owner, app and name of a stage."""


class Apps:
    """All apps of all users.

    Attributes:
        end_jobs: ends the jobs of an endpoint, by its id, that is gone.
        on_expiry: called with each stage that is made, renewed or gone.
    """

    def __init__(self, store: Store, catalog: Catalog, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._table = StageTable(store)
        self._catalog = catalog
        self._clock = clock
        self._apps = {(app.owner, app.name): app for app in self._table.apps()}
        self._stages = {stage.key: stage for stage in self._table.stages()}
        self._artifacts = self._table.artifacts()
        self._busy: dict[StageKey, float] = {}
        self.end_jobs: Callable[[str], Awaitable[None]] = _no_jobs
        self.on_expiry: Callable[[], None] = lambda: None

    # ---- what there is

    def apps_of(self, owner: str, *, ephemeral: bool = False) -> list[AppRecord]:
        """A user's apps, the oldest first. `ephemeral`: those, too, that were made for a stage that expires."""
        return [app for app in self._apps.values() if app.owner == owner and (app.lasting or ephemeral)]

    def every_app(self) -> list[AppRecord]:
        """The apps of all users."""
        return list(self._apps.values())

    def get(self, owner: str, name: str) -> AppRecord:
        """The app. Raises AppNotFound."""
        try:
            return self._apps[owner, name]
        except KeyError:
            near = nearest(name, [app.name for app in self.apps_of(owner, ephemeral=True)])
            raise AppNotFound(f"there is no app {name!r:.80}{_hint(near)}") from None

    def stages(self, app: AppRecord, *, ephemeral: bool = True) -> list[StageRecord]:
        """The app's stages, the oldest first. `ephemeral`: those, too, that expire."""
        return [
            stage
            for stage in self._stages.values()
            if (stage.owner, stage.app) == (app.owner, app.name) and (ephemeral or stage.expires_in is None)
        ]

    def all_stages(self) -> list[StageRecord]:
        """The stages of all apps of all users."""
        return list(self._stages.values())

    def stage(self, owner: str, app: str, name: str) -> StageRecord:
        """The stage. Raises AppNotFound, StageNotFound."""
        record = self.get(owner, app)
        try:
            return self._stages[owner, app, name]
        except KeyError:
            names = [stage.name for stage in self.stages(record)]
            near = nearest(name, names)
            hint = f"did you mean {near!r}?" if near else f"there is {', '.join(names) or 'none'}"
            raise StageNotFound(f"app {app!r} has no stage {name!r:.80}; {hint}") from None

    def of_scope(self, owner: str, app: str, name: str) -> StageRecord | None:
        """The stage, None where there is none."""
        return self._stages.get((owner, app, name))

    def version_of(self, endpoint: EndpointRecord) -> int | None:
        """The active version of an endpoint's stage; None where it is of no stage."""
        name = stage_of(endpoint.project)
        stage = None if name is None else self.of_scope(endpoint.owner, name.app, name.stage)
        return None if stage is None else stage.version

    def endpoints(self, stage: StageRecord) -> list[EndpointRecord]:
        """The endpoints of a stage, the oldest first."""
        return self._catalog.list(stage.scope, stage.owner)

    def versions(self, stage: StageRecord) -> list[VersionRecord]:
        """The versions that can be gone back to, without their manifests; the oldest first."""
        return self._table.versions(stage)

    def version(self, stage: StageRecord, number: int) -> VersionRecord | None:
        """A version with its manifest; None where it is not there, or no longer."""
        return self._table.version(stage, number)

    def content(self) -> set[str]:
        """The ids of the artifacts that versions name."""
        return set(self._artifacts)

    def holds_endpoints(self) -> bool:
        """Whether a stage that lasts has endpoints."""
        return any(stage.expires_in is None and self.endpoints(stage) for stage in self._stages.values())

    # ---- making

    async def create(self, owner: str, name: str) -> AppRecord:
        """Make an app; one that was made for a stage that expires lasts from then on.

        Raises:
            NameTaken, ConfigError, StoreError: as named; nothing was made.
        """
        check_name("app", name)
        there = self._apps.get((owner, name))
        if there is not None and there.lasting:
            raise NameTaken(f"there is an app {name!r} already; use it, or take another name")
        app = AppRecord(owner, name, self._clock()) if there is None else replace(there, lasting=True)
        self._apps[owner, name] = app  # at once: the name is taken from now on
        try:
            await self._table.save_app(app)
        except BaseException:
            self._put_back(app, there)
            raise
        return app

    async def create_stage(
        self, owner: str, app: str, name: str, *, expires_in: float | None = None, label: str = ""
    ) -> StageRecord:
        """Make a stage, and its app where there is none. `expires_in`: seconds that it lives after each renewal.

        Raises:
            NameTaken, ConfigError, StoreError: as named; nothing was made.
        """
        check_name("app", app)
        check_name("stage", name)
        if (owner, app, name) in self._stages:
            raise NameTaken(f"app {app!r} has a stage {name!r} already; use it, or take another name")
        now = self._clock()
        stage = StageRecord(owner, app, name, now, label, expires_in, renewed_at=now)
        there = self._apps.get((owner, app))
        known = there or AppRecord(owner, app, now, lasting=False)
        made = replace(known, lasting=known.lasting or expires_in is None)
        self._apps[owner, app], self._stages[stage.key] = made, stage  # at once: the name is taken from now on
        try:
            await self._table.save_stage(stage, made)
        except BaseException:
            del self._stages[stage.key]
            self._put_back(made, there)
            raise
        self.on_expiry()
        return stage

    def _put_back(self, made: AppRecord, there: AppRecord | None) -> None:
        """What was made could not be stored: there is what was there before, unless somebody else has stages there."""
        key = made.owner, made.name
        if there is not None:
            self._apps[key] = there
        elif not self.stages(made):
            self._apps.pop(key, None)

    async def renew(self, stage: StageRecord) -> StageRecord:
        """Let a stage that expires live on; one that lasts is left as it is. Raises StageNotFound, StoreError."""
        if stage.expires_in is None:
            return stage
        renewed = await self._change(stage, lambda old: replace(old, renewed_at=self._clock()))
        self.on_expiry()
        return renewed

    # ---- deploys

    @contextlib.contextmanager
    def changing(self, stage: StageRecord) -> Iterator[None]:
        """While a stage is changed. Raises StageBusy where somebody else does so already."""
        since = self._busy.get(stage.key)
        if since is not None:
            raise StageBusy(
                f"stage {stage.name!r} of app {stage.app!r} is being changed by another deploy, for "
                f"{self._clock() - since:.0f} s; wait until it has ended and try again"
            )
        self._busy[stage.key] = self._clock()
        try:
            yield
        finally:
            del self._busy[stage.key]

    async def record(self, stage: StageRecord, version: VersionRecord) -> StageRecord:
        """A version has been deployed: it is the active one from now on. Raises StageNotFound, StoreError."""
        kept = sorted(each.number for each in self.versions(stage))
        drop = [number for number in kept[: max(0, len(kept) + 1 - VERSIONS_KEPT)] if number != version.base]
        now = self._clock()
        new = replace(self._now(stage), version=version.number, deployed_at=now, renewed_at=now)
        self._artifacts.update(version.artifacts)
        await self._table.add_version(new, version, drop)
        self._artifacts = self._table.artifacts()
        self._stages[new.key] = new
        self.on_expiry()
        return new

    async def go_back(self, stage: StageRecord, number: int) -> StageRecord:
        """A version that was deployed before is the active one again. Raises StageNotFound, StoreError."""
        active = stage.version
        passed = [each.number for each in self.versions(stage) if number < each.number <= active]
        states = dict.fromkeys(passed, VersionState.ROLLED_BACK) or {active: VersionState.SUPERSEDED}
        new = replace(self._now(stage), version=number, deployed_at=self._clock())
        await self._table.switch_version(new, {**states, number: VersionState.ACTIVE})
        self._stages[new.key] = new
        return new

    def _now(self, stage: StageRecord) -> StageRecord:
        """The stage as it is by now. Raises StageNotFound."""
        return self.stage(*stage.key)

    async def _change(self, stage: StageRecord, change: Callable[[StageRecord], StageRecord]) -> StageRecord:
        new = self._stages[stage.key] = change(self._now(stage))
        await self._table.save_stage(new)
        return new

    # ---- ends

    async def remove_endpoint(self, endpoint_id: str) -> None:
        """Remove an endpoint with its jobs and workers. Raises EndpointNotFound, StoreError."""
        await self._catalog.delete(endpoint_id)  # first, so that no new job gets in
        await self.end_jobs(endpoint_id)

    async def delete_stage(self, stage: StageRecord) -> None:
        """Remove a stage with its endpoints, their jobs and workers; an app that was made for it goes, too.

        What ends in the middle of it can be done again. Raises StageBusy, StageNotFound, StoreError.
        """
        with self.changing(stage):
            stage = self._now(stage)
            for endpoint in self.endpoints(stage):
                await self.remove_endpoint(endpoint.id)
            del self._stages[stage.key]
            app = self._apps.get((stage.owner, stage.app))
            goes = app is not None and not app.lasting and not self.stages(app)
            if goes:
                del self._apps[stage.owner, stage.app]
            try:
                await self._table.delete_stage(stage, app if goes else None)
            except BaseException:
                self._stages[stage.key] = stage
                if app is not None:
                    self._apps[app.owner, app.name] = app
                raise
            self._artifacts = self._table.artifacts()
        self.on_expiry()

    async def delete(self, app: AppRecord) -> None:
        """Remove an app with all its stages; it stays where one is made meanwhile. Raises StageBusy, StoreError."""
        stages = self.stages(app)
        for stage in stages:  # before anything is removed
            with self.changing(stage):
                pass
        for stage in stages:
            with contextlib.suppress(AppNotFound, StageNotFound):  # somebody else is faster
                await self.delete_stage(stage)
        if not self.stages(app) and self._apps.pop((app.owner, app.name), None) is not None:
            await self._table.delete_app(app)

    async def adopt(
        self, apps: Sequence[AppRecord], stages: Sequence[tuple[StageRecord, Sequence[VersionRecord]]]
    ) -> None:
        """Take apps and stages as they were elsewhere. Raises StoreError."""
        for app in apps:
            await self._table.save_app(app)
            self._apps[app.owner, app.name] = app
        for stage, versions in stages:
            await self._table.save_versions(stage, versions)
            self._stages[stage.key] = stage
        self._artifacts = self._table.artifacts()


async def _no_jobs(endpoint_id: str) -> None:
    """No endpoint has any."""


def _hint(near: str | None) -> str:
    return f"; did you mean {near!r}?" if near else "; `flash app list` shows those that there are"
