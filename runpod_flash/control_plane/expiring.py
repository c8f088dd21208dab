"""The loop around `expiry`: what nobody renews or uses scales to zero, and is removed after a while."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.expiry import FOR_EVER, ExpiryTerms, Life, Phase
from runpod_flash.control_plane.last_uses import LastUses
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.control_plane.stage_table import StageRecord
from runpod_flash.control_plane.store import Store
from runpod_flash.control_plane.views import iso_time
from runpod_flash.errors import BackendError, EndpointNotFound, StageBusy
from runpod_flash.scopes import is_managed, stage_of

logger = logging.getLogger(__name__)

LOOK_S = 30.0
"""How often is looked whether something is used, at least."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What is removed: a stage or an endpoint (`kind`), whose it is, and why. `app` is "" for endpoints without one."""

    kind: str
    name: str
    app: str
    owner: str
    why: str


class Expiring:
    """Knows who rests, removes what is over.

    Stages rest that were not renewed, with all their endpoints; and endpoints that scripts made without a deploy and
    do not use. Commands and images are nobody's to remove: somebody has added them.

    Attributes:
        is_busy: whether an endpoint, by its id, has jobs or requests.
        on_phase: called with the id of each endpoint that begins to rest, or wakes.
    """

    def __init__(
        self, apps: Apps, catalog: Catalog, store: Store, terms: ExpiryTerms, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock`: seconds since the epoch."""
        self._apps = apps
        self._catalog = catalog
        self._terms = terms
        self._clock = clock
        self._uses = LastUses(store, clock)
        self._phases: dict[str, Phase] = {}
        self._wake = asyncio.Event()
        apps.on_expiry = self._wake.set
        self.is_busy: Callable[[str], bool] = lambda endpoint: False
        self.on_phase: Callable[[str], None] = lambda endpoint: None

    # ---- what others ask

    def rests(self, endpoint: EndpointRecord) -> bool:
        """Whether its minimum of workers counts as 0, and its idle workers end at once."""
        return self._life(endpoint).phase(self._clock()) is not Phase.ACTIVE

    def expires_at(self, endpoint: EndpointRecord) -> float | None:
        """When it is removed if nobody renews or uses it, or its stage expires; None: never."""
        stage = self._stage(endpoint)
        return self._life(endpoint).ends_at if stage is None else stage.expires_at

    def used(self, endpoint_id: str) -> None:
        """Somebody wants something of the endpoint, or has made or changed it."""
        with contextlib.suppress(EndpointNotFound):
            if _is_live(self._catalog.get(endpoint_id)):
                self._uses.note(endpoint_id)
                if self._phases.get(endpoint_id, Phase.ACTIVE) is not Phase.ACTIVE:
                    self._phases[endpoint_id] = Phase.ACTIVE
                    self.on_phase(endpoint_id)

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is gone."""
        self._uses.forget(endpoint_id)
        self._phases.pop(endpoint_id, None)

    # ---- the loop

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.look()
            except BackendError as error:
                logger.warning("what has expired cannot be removed: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()

    async def look(self) -> None:
        """Remove what is over, and say who begins to rest. Raises StoreError."""
        for endpoint in self._catalog.list():
            if _is_live(endpoint) and self.is_busy(endpoint.id):
                self.used(endpoint.id)
        await self.collect(Phase.OVER, None)
        now = self._clock()
        for endpoint in self._catalog.list():
            phase = self._life(endpoint).phase(now)
            if self._phases.get(endpoint.id, Phase.ACTIVE) is not phase:
                self._phases[endpoint.id] = phase
                self.on_phase(endpoint.id)
        await self._uses.save()

    def _pause(self) -> float:
        """Seconds until the next phase of anything, or the next look."""
        now = self._clock()
        lives = [self._life(endpoint) for endpoint in self._catalog.list()]
        lives += [self._terms.of_stage(stage.expires_at) for stage in self._apps.all_stages()]
        moments = [moment for life in lives if (moment := life.next_change(now)) is not None]
        return min([LOOK_S, *(moment - now + 0.01 for moment in moments)])

    # ---- removing

    async def collect(self, stages_from: Phase, owner: str | None, *, dry_run: bool = False) -> list[Ended]:
        """Remove what is over of this user (None: of everybody), and stages from this phase on. What that was.

        A stage that is being changed is left for the next time. `dry_run`: what would be removed. Raises StoreError.
        """
        removed = list[Ended]()
        for stage, endpoint, ended in list(self._ended(stages_from)):
            if owner not in (None, ended.owner):
                continue
            try:
                if not dry_run:
                    await self._remove(stage, endpoint)
                    logger.info("%s %s was removed: %s", ended.kind, ended.name, ended.why)
                removed.append(ended)
            except (StageBusy, EndpointNotFound):
                continue
        return removed

    def _ended(self, stages_from: Phase) -> Iterator[tuple[StageRecord | None, EndpointRecord | None, Ended]]:
        now = self._clock()
        for stage in self._apps.all_stages():
            expires = stage.expires_at
            if expires is not None and self._terms.of_stage(expires).phase(now) >= stages_from:
                why = f"it expired at {iso_time(expires)} and was not renewed"
                yield stage, None, Ended("stage", stage.name, stage.app, stage.owner, why)
        for endpoint in self._catalog.list():
            scope = stage_of(endpoint.project)
            if _is_live(endpoint) and self._life(endpoint).phase(now) is Phase.OVER and not self.is_busy(endpoint.id):
                why = f"it was last used at {iso_time(self._uses.of(endpoint.id))}"
                yield None, endpoint, Ended("endpoint", endpoint.name, "", endpoint.owner, why)
            elif is_managed(endpoint.project) and self._stage(endpoint) is None:
                why = "its stage is gone"
                app = "" if scope is None else scope.app
                yield None, endpoint, Ended("endpoint", endpoint.name, app, endpoint.owner, why)

    async def _remove(self, stage: StageRecord | None, endpoint: EndpointRecord | None) -> None:
        if stage is not None:
            await self._apps.delete_stage(stage)
        elif endpoint is not None:
            await self._apps.remove_endpoint(endpoint.id)

    def _life(self, endpoint: EndpointRecord) -> Life:
        if is_managed(endpoint.project):
            stage = self._stage(endpoint)
            return FOR_EVER if stage is None else self._terms.of_stage(stage.expires_at)
        return self._terms.of_live(self._uses.of(endpoint.id)) if _is_live(endpoint) else FOR_EVER

    def _stage(self, endpoint: EndpointRecord) -> StageRecord | None:
        scope = stage_of(endpoint.project)
        return None if scope is None else self._apps.of_scope(endpoint.owner, scope.app, scope.stage)


def _is_live(endpoint: EndpointRecord) -> bool:
    """Whether a script has made it, without a deploy."""
    return not is_managed(endpoint.project) and not endpoint.runs_command
