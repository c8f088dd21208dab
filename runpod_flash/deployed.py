"""Calls to what is deployed: with FLASH_APP or FLASH_ENV set, names mean the endpoints of one stage of an app.

Nothing is made or changed there, and no code is sent: arguments alone, in the neutral encoding. Inside an app's workers
both are set, so that its functions call each other this way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runpod_flash import crossing, script
from runpod_flash.agreement import Provisioned
from runpod_flash.backends.base import Backend, Json
from runpod_flash.calls import Ticket
from runpod_flash.crossing import Crossing
from runpod_flash.errors import AppNotFound, ConfigError, EndpointNotFound, StageNotFound, VolumeNotFound, WaitTimedOut
from runpod_flash.project import app_of
from runpod_flash.scopes import StageName, check_name
from runpod_flash.settings import Settings
from runpod_flash.volumes import NetworkVolume
from runpod_flash.wording import nearest

STAGE: Final = "production"
"""The stage that is meant where an app is named alone."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A stage of an app, as a program calls it.

    Attributes:
        stage: which one.
        project: the folder that the app was built from: modules have the same names there.
        patience_s: seconds after which a call does not wait any more; None: as long as it takes.
    """

    stage: StageName
    project: Path
    patience_s: float | None = None

    @classmethod
    def of(cls, settings: Settings, project: Path) -> "Deployed | None":
        """What the settings mean; None where they name no app and no stage.

        Raises:
            ConfigError: a name can be none, or the target has no apps.
        """
        if not settings.app and not settings.stage:
            return None
        stage = StageName(
            check_name("FLASH_APP", settings.app or app_of(project)),
            check_name("FLASH_ENV", settings.stage or STAGE),
        )
        if settings.target == "inline":
            raise ConfigError(
                f"FLASH_APP and FLASH_ENV mean stage {stage.stage!r} of app {stage.app!r}, and FLASH_TARGET is "
                "'inline', where nothing is deployed; unset both to run the functions of this program"
            )
        return cls(stage, project, settings.sentinel_timeout_s)

    @property
    def way(self) -> Crossing:
        """How arguments go there."""
        reason = f"deployed endpoints take no pickles (app {self.stage.app!r}, stage {self.stage.stage!r})"
        return Crossing(crossing.HERE, reason, script.module_in(self.project))

    async def find(self, backend: Backend, name: str) -> Provisioned:
        """The endpoint of this name as it is deployed.

        Raises:
            AppNotFound, StageNotFound, EndpointNotFound: it is not; the message says how to deploy it.
        """
        found = await backend.find(name)
        if found is None:
            there = await self._there(backend)
            raise self._missing(name, [str(each["name"]) for each in there["endpoints"]])
        return Provisioned.of(found)

    async def volume_id(self, backend: Backend, volume: NetworkVolume) -> str:
        """The id of a network volume that is declared by its name, as the deployed endpoints have it.

        Raises:
            AppNotFound, StageNotFound, VolumeNotFound: none of them has it.
        """
        assert volume.datacenter is not None
        wanted = {"name": volume.name, "dataCenter": volume.datacenter.value}
        manifest = (await self._there(backend)).get("manifest") or {}
        for endpoint in manifest.get("endpoints", ()):
            ids = endpoint["body"].get("networkVolumes", ())
            for declared, known in zip(endpoint.get("volumes", ()), ids, strict=False):
                if wanted.items() <= declared.items():
                    return str(known)
        raise VolumeNotFound(
            f"no endpoint in stage '{self.stage.stage}' of app '{self.stage.app}' has a network volume {volume.name!r} "
            f"in {volume.datacenter.value}; it is made for one that does: {self._command}"
        )

    @contextlib.asynccontextmanager
    async def waiting(self, ticket: Ticket) -> AsyncIterator[None]:
        """Wait inside as long as FLASH_SENTINEL_TIMEOUT says. Raises WaitTimedOut, which leaves the job alone."""
        try:
            async with asyncio.timeout(self.patience_s) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise WaitTimedOut(
                f"job {ticket.job_id} of endpoint '{ticket.name}' had not ended after {self.patience_s:g} s, which is "
                "what FLASH_SENTINEL_TIMEOUT says; it lives on: raise or unset that, or use spawn() and ask later"
            ) from error

    async def _there(self, backend: Backend) -> Json:
        """The stage as the platform has it. Raises AppNotFound, StageNotFound."""
        try:
            return await backend.apps.stage(*self.stage)
        except (AppNotFound, StageNotFound) as error:
            raise type(error)(f"{error}; to make it of this project: {self._command}") from error

    @property
    def _command(self) -> str:
        return f"`flash deploy --app {self.stage.app} --env {self.stage.stage}`"

    def _missing(self, name: str, there: list[str]) -> EndpointNotFound:
        near = nearest(name, there)
        hint = f"did you mean '{near}'?" if near else f"it has {', '.join(sorted(there)) or 'none'}."
        return EndpointNotFound(
            f"stage '{self.stage.stage}' of app '{self.stage.app}' has no endpoint '{name}'; {hint} To deploy this "
            f"one: {self._command}. To run it as it is here, unset FLASH_APP and FLASH_ENV"
        )
