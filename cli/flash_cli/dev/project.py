"""The project as it is served: edits are noticed, built and deployed, one after the other; calls wait for that."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from flash_cli.builds.manifest import BuildManifest
from flash_cli.dev.stamps import Stamps
from flash_cli.dev.state import State
from flash_cli.dev.table import Table, merged
from runpod_flash.errors import BackendError, BackendUnavailable, FlashError


class Fault(Protocol):
    """A file that could not be used."""

    @property
    def file(self) -> str: ...
    @property
    def message(self) -> str: ...


class Build(Protocol):
    """What a session needs of a build (`building.Built`)."""

    @property
    def manifest(self) -> BuildManifest: ...
    @property
    def artifacts(self) -> Mapping[str, Path]: ...
    @property
    def faults(self) -> Sequence[Fault]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


B = TypeVar("B", bound=Build)


class Deploy(Protocol):
    """Makes a manifest live; gives the ids of the endpoints by their names."""

    async def __call__(self, manifest: BuildManifest, artifacts: Mapping[str, Path]) -> Mapping[str, str]: ...


class Told(Protocol):
    """Who is told what becomes of edits."""

    def taken_up(self, before: State, now: State, warnings: Sequence[str], took_s: float) -> None:
        """An edit, or the project at the start, is live, or as far as it can be."""


class LiveProject(Generic[B]):
    """See `state.Project`.

    Attributes:
        awaits_target: the target could not take the last edit, and may do so later: `notice` tries it again.

    Args:
        build: builds the project; given the last build, for what that saves.
        deploy: makes a manifest live.
        look: gives the stamps of all files that matter.
        reloads: whether edits are taken up; else the project stays as it was at the start.
    """

    def __init__(
        self,
        build: Callable[[B | None], Awaitable[B]],
        deploy: Deploy,
        look: Callable[[], Stamps],
        told: Told,
        *,
        reloads: bool = True,
    ) -> None:
        self.state = State()
        self.awaits_target = False
        self._build, self._deploy, self._look, self._told = build, deploy, look, told
        self._reloads = reloads
        self._stamps = Stamps()
        self._built: B | None = None
        self._good: BuildManifest | None = None  # what is live
        self._artifacts: dict[str, Path] = {}
        self._wanted = self._done = 0
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()

    def notice(self) -> None:
        """Files may have changed."""
        self._wanted += 1
        self._wake.set()

    def moved(self, ids: Mapping[str, str]) -> None:
        """The endpoints have other ids now."""
        self.state = replace(self.state, ids=dict(ids))

    async def settled(self) -> State:
        if self._reloads and self._stamps.maybe_changed:
            self.notice()
        wanted = self._wanted
        async with self._changed:
            await self._changed.wait_for(lambda: self._done >= wanted)
        return self.state

    async def start(self) -> None:
        """Take the project up as it is. Raises FlashError where nothing of it can be served."""
        self._wanted += 1
        await self._round(at_start=True)

    async def run(self) -> None:
        """Take edits up, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._wanted > self._done:
                await self._round(at_start=False)

    async def _round(self, *, at_start: bool) -> None:
        """Bring what is served to what was wanted when this began."""
        wanted, loop = self._wanted, asyncio.get_running_loop()
        began, before = loop.time(), self.state
        warnings: Sequence[str] = ()
        self.awaits_target = False
        try:
            stamps = await asyncio.to_thread(self._look)
            same = stamps.files == self._stamps.files and not self.state.problem
            self._stamps = stamps
            if not same or at_start:
                warnings = (await self._take_up()).warnings
        except (FlashError, OSError) as error:  # OSError: of the project's own files
            if at_start:
                raise
            self.state = replace(self.state, problem=str(error))
            self.awaits_target = isinstance(error, BackendError)
        if self.state is not before:
            self._told.taken_up(before, self.state, warnings, loop.time() - began)
        self._done = wanted
        async with self._changed:
            self._changed.notify_all()

    async def _take_up(self) -> B:
        built = self._built = await self._build(self._built)
        files = {fault.file: fault.message for fault in built.faults}
        kept = {key: path for key, path in self._artifacts.items() if path.exists()}
        self._artifacts = {**kept, **built.artifacts}
        manifest = merged(built.manifest, files, self._good)
        broken = {each.name: _unusable(each.file, files) for each in manifest.endpoints if each.file in files}
        manifest, refused, ids = await self._deploy_what_can(manifest)
        self._good = manifest
        needed = {each.artifact for each in manifest.endpoints}
        self._artifacts = {key: path for key, path in self._artifacts.items() if key in needed}
        shown = {each.name: each for each in (*built.manifest.endpoints, *manifest.endpoints)}
        self.state = State(Table.of(shown.values()), ids, {**broken, **refused}, files)
        return built

    async def _deploy_what_can(
        self, manifest: BuildManifest
    ) -> tuple[BuildManifest, Mapping[str, str], Mapping[str, str]]:
        """Deploy; an endpoint that the target refuses stays as it was, and the others go on.

        Gives what is live then, why endpoints were refused, and all ids.
        """
        refused: dict[str, str] = {}
        while True:
            try:
                ids = await self._deploy(manifest, self._artifacts)
            except BackendUnavailable:
                raise
            except FlashError as error:
                name = self._culprit(manifest, str(error), refused)
                if name is None:
                    raise
                why = str(error).removeprefix(f"endpoint '{name}': ")
                refused[name] = f"endpoint '{name}' cannot be taken up: {why}"
                manifest = self._without(manifest, name)
                continue
            return manifest, refused, ids

    def _culprit(self, manifest: BuildManifest, message: str, known: Mapping[str, str]) -> str | None:
        """The changed endpoint that a refusal names, where others may go on without it."""
        before = {} if self._good is None else {each.name: each for each in self._good.endpoints}
        changed = [each.name for each in manifest.endpoints if before.get(each.name) != each and each.name not in known]
        named = [name for name in changed if f"'{name}'" in message or f'"{name}"' in message]
        return max(named, key=len, default=None)

    def _without(self, manifest: BuildManifest, name: str) -> BuildManifest:
        before = () if self._good is None else tuple(each for each in self._good.endpoints if each.name == name)
        others = tuple(each for each in manifest.endpoints if each.name != name)
        return BuildManifest(manifest.app, tuple(sorted((*others, *before), key=lambda each: each.name)))


def _unusable(file: str, faults: Mapping[str, str]) -> str:
    return f"{file} cannot be used: {faults[file]}"
