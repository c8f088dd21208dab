"""The session's own stage on the target: made, kept alive, filled with what was built, and removed at the end."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from flash_cli.manifest import BuildManifest
from runpod_flash.backends.base import Backend, Json
from runpod_flash.errors import BackendUnavailable, ContentNotFound, StageBusy, StageMoved, StageNotFound

EXPIRES_S: Final = 60
RENEW_S: Final = 15.0
_AGAIN_S: Final = 1.0
_PAUSE_S: Final = 0.2
_TRIES: Final = 20  # of a deploy that another one of this session is in the way of, after a broken connection


class EphemeralStage:
    """A stage that goes by itself some time after nobody renews it.

    Attributes:
        app: the app's name.
        name: the stage's, which nobody else has.
    """

    def __init__(self, backend: Backend, app: str, label: str, on_progress: Callable[[Json], None]) -> None:
        self.app, self.name = app, f"dev-{secrets.token_hex(3)}"
        self._backend, self._label, self._on_progress = backend, label, on_progress
        self._version = 0
        self._made = False  # or asked for
        self._lock = asyncio.Lock()
        self._brought: set[str] = set()  # artifacts, by their ids
        self._deployed: tuple[BuildManifest, Mapping[str, Path]] | None = None

    @property
    def is_made(self) -> bool:
        """Whether it is on the target, or may be."""
        return self._made

    async def deploy(self, manifest: BuildManifest, artifacts: Mapping[str, Path]) -> Mapping[str, str]:
        """Make the stage be this manifest, and no more; gives the ids of its endpoints by their names.

        A stage that is gone, because the target lost it or was away for long, is made anew.

        Raises:
            BackendError, ConfigError, InstallError: the target does not take it; nothing has changed.
        """
        async with self._lock:
            return await self._bring(manifest, artifacts)

    async def _bring(self, manifest: BuildManifest, artifacts: Mapping[str, Path]) -> Mapping[str, str]:
        again = False
        for tried in range(_TRIES):
            try:
                await self._ensure()
                await self._upload(manifest, artifacts)
                return await self._deploy(manifest, artifacts)
            except StageNotFound:
                self._forget()
            except ContentNotFound:  # the target has cleared up since it was brought
                if again:
                    raise
                again = True
                self._brought.clear()
            except StageMoved:  # the answer to an earlier deploy of this session was lost
                found = await self._backend.apps.stage(self.app, self.name)
                self._version = int(found.get("version", 0))
            except StageBusy:
                if tried == _TRIES - 1:
                    raise
                await asyncio.sleep(_AGAIN_S)
        raise BackendUnavailable(
            f"stage {self.name} of app {self.app} is lost again and again; is somebody deleting it?"
        )

    async def renew(self) -> Mapping[str, str] | None:
        """Say that the session lives. Where the stage is gone it is made anew, as it was: gives the ids then.

        Raises:
            BackendError: the target cannot be reached, or has refused.
        """
        if not await self._is_lost():  # also while a deploy takes its time
            return None
        async with self._lock:
            if self._deployed is None or not await self._is_lost():
                return None
            self._forget()
            return await self._bring(*self._deployed)

    async def _is_lost(self) -> bool:
        """Renew it, unless it is not to be yet; whether it is gone."""
        try:
            if self._made:
                await self._backend.apps.renew(self.app, self.name)
        except StageNotFound:
            return True
        return False

    async def delete(self) -> None:
        """Remove it with its endpoints and jobs. Raises BackendError: it stays, until it expires."""
        while self._made:
            try:
                await self._backend.apps.delete_stage(self.app, self.name)
            except StageNotFound:
                pass
            except StageBusy:  # a deploy that has just been broken off is not quite over
                await asyncio.sleep(_PAUSE_S)
                continue
            self._made = False

    async def _ensure(self) -> None:
        if not self._made:
            self._version, self._made = 0, True
            await self._backend.apps.create_stage(self.app, self.name, expires_in=EXPIRES_S, label=self._label)

    async def _upload(self, manifest: BuildManifest, artifacts: Mapping[str, Path]) -> None:
        for artifact in sorted({each.artifact for each in manifest.endpoints if each.artifact is not None}):
            source = artifacts.get(artifact)
            if source is not None and artifact not in self._brought:
                await self._backend.upload_artifact(artifact, source, lambda sent, of: None)
                self._brought.add(artifact)

    def _forget(self) -> None:
        """The target has lost it, and may have lost what was brought for it."""
        self._made = False
        self._brought.clear()

    async def _deploy(self, manifest: BuildManifest, artifacts: Mapping[str, Path]) -> Mapping[str, str]:
        answer = await self._backend.apps.deploy(
            self.app,
            self.name,
            manifest.to_json(),
            base=self._version,
            prune=True,
            on_progress=self._on_progress,
        )
        self._version = int(answer.get("version", self._version))
        self._deployed = manifest, artifacts
        return _ids(answer.get("stage", {}))


def _ids(stage: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(each["name"]): str(each["id"]) for each in stage.get("endpoints", [])}
