"""One version of the package after another: what the new one takes over, and that the old one knows it."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from runpod_flash.control_plane.apps import Apps
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.predecessor import Check, Legacy, left_behind, newest_other, still_runs
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import BackendError, NameTaken
from runpod_flash.scopes import stage_of
from runpod_flash.state_folder import StateFolder, is_locked, process_started, write_private

logger = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""How often is looked whether the version before has ended."""

_PORT: Final = "port"
_PENDING: Final = "takes-over"  # names the folder of the version before, as long as that was not taken over


class Succession:
    """What a control plane has of the version before it, and leaves to the one after it.

    Attributes:
        is_new: whether this version takes the place of those that run: it has never run before, or did not live to take
            over what the one before has left. One that comes back does not, else two that programs use in turn would
            drive each other out.
        on_adopted: called with each endpoint that is taken over while this control plane serves already.
    """

    def __init__(self, state: StateFolder, catalog: Catalog, apps: Apps, check: Check, *, is_new: bool) -> None:
        """`is_new`: it has never run before, so there may be something to take over."""
        self._state = state
        self._catalog = catalog
        self._apps = apps
        self._check = check
        self._before = newest_other(state) if is_new else None
        self.is_new = is_new or self._pending.exists()
        self.on_adopted: Callable[[EndpointRecord], None] = lambda endpoint: None

    # ---- the one before

    async def begin(self) -> None:
        """Take over what the version before has left; where it still runs, `run` does it later."""
        if self._before is not None:
            self._note(_PENDING, self._before.name)
        await self._take_over()

    async def run(self) -> None:
        """Wait for the end of the version before, if it runs, and take over what it leaves."""
        while self._pending.exists():
            await asyncio.sleep(LOOK_S)
            try:
                for endpoint in await self._take_over():
                    self.on_adopted(endpoint)
            except (BackendError, OSError) as error:
                logger.warning("what the version before has left cannot be taken over now: %s", error)

    async def _take_over(self) -> list[EndpointRecord]:
        folder = self._folder_before()
        if folder is None:
            return []
        if still_runs(folder, self._state):
            logger.info("the control plane of %s still runs; what it has comes along when it has ended", folder)
            return []
        legacy = await asyncio.to_thread(left_behind, folder, self._state, self._check)
        adopted = await self._adopt(legacy)
        if legacy.stages and (port := _port_in(folder)):
            self.note_port(port)  # by which callers know their endpoints; this one may have another until its end
        self._pending.unlink(missing_ok=True)
        return adopted

    async def _adopt(self, legacy: Legacy) -> list[EndpointRecord]:
        """Stages come first: endpoints without one would be taken for what somebody has forgotten to remove."""
        known = {stage.key: stage.created_at for stage in self._apps.all_stages()}
        ours = {(app.owner, app.name) for app in self._apps.every_app()}
        fresh = [(stage, versions) for stage, versions in legacy.stages if stage.key not in known]
        await self._apps.adopt([app for app in legacy.apps if (app.owner, app.name) not in ours], fresh)
        same = {
            (stage.owner, stage.scope)
            for stage, _ in legacy.stages
            if known.get(stage.key, stage.created_at) == stage.created_at
        }
        adopted = list[EndpointRecord]()
        for record in legacy.endpoints:
            if stage_of(record.project) is not None and (record.owner, record.project) not in same:
                continue
            with contextlib.suppress(NameTaken):
                await self._catalog.adopt(record)
                logger.info("endpoint %s (%s) was taken over from another version", record.name, record.id)
                adopted.append(record)
        return adopted

    def wished_port(self) -> int:
        """The loopback port by which endpoints were reached before, so that their URLs go on working; 0: none."""
        return _port_in(self._state.plane) or (_port_in(self._before) if self._before is not None else 0)

    def note_port(self, port: int) -> None:
        """Remember the port for the next start."""
        self._note(_PORT, str(port))

    def _note(self, name: str, text: str) -> None:
        """Write a small file of this version's own. A disk that is full does not keep it from going on."""
        try:
            write_private(self._state.plane / name, text.encode())
        except OSError as error:
            logger.warning("%s cannot be noted in %s: %s", text, self._state.plane / name, error)

    @property
    def _pending(self) -> Path:
        return self._state.plane / _PENDING

    def _folder_before(self) -> Path | None:
        try:
            return self._state.plane.parent / self._pending.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    # ---- the one after

    def is_used(self) -> bool:
        """Whether a program lives that has turned to this control plane, connected or not."""
        return is_locked(self._state.programs_lock)

    def has_successor(self) -> bool:
        """Whether a control plane of a new content of the package has come after this one."""
        mine = process_started(os.getpid()) or 0.0
        for other in self._state.others():
            record = other.read_record()
            if record is not None and record.is_new and record.serving and record.started > mine and record.alive:
                return True
        return False


def _port_in(folder: Path) -> int:
    """The port that a version has noted in its folder; 0: none."""
    with contextlib.suppress(OSError, ValueError):
        port = int((folder / _PORT).read_text(encoding="utf-8"))
        return port if 0 < port < 2**16 else 0
    return 0
