"""Containers: what runs the images of endpoints, and that no container outlives the worker that holds it.

A worker of an image is a worker of a command, which is the engine's own `run` in the foreground. Killing that program
leaves its container running, so the container is removed by its name as well: by the worker's parent when everything
below it has ended, by this control plane when the worker has, and at the next start where both were killed.
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker_runtime.commands import CommandResult, run_command
from worker_runtime.install import InstallFailed

logger = logging.getLogger(__name__)

PULL_LIMIT_S: Final = 3600.0
"""Seconds after which fetching an image is given up."""

_ENGINES: Final = ("docker", "podman")
_ANSWER_S: Final = 20.0
_LABEL: Final = "flash.plane"
_WORDS: Final = 1500  # characters of what the engine said


@dataclass(frozen=True, slots=True)
class Engine:
    """The program that runs images: docker's or podman's command line.

    Attributes:
        program: its path; None where there is none.
        wanted: what was looked for.
        env: the environment in which it finds its engine.
        plane: names this control plane; its containers carry it.
        marker: a file that says that there may be containers.
        for_everybody: whether users other than the owner may have images run.
    """

    program: str | None
    wanted: str
    env: Mapping[str, str]
    plane: str
    marker: Path
    for_everybody: bool = False

    @classmethod
    def find(cls, wanted: str, env: Mapping[str, str], plane: str, marker: Path, *, for_everybody: bool) -> "Engine":
        """The engine that is asked for by name or path, or with "" the first that is there."""
        names = (wanted,) if wanted else _ENGINES
        found = (shutil.which(name, path=env.get("PATH")) for name in names)
        program = next((path for path in found if path), None)
        return cls(program, " or ".join(names), env, plane, marker, for_everybody)

    @property
    def is_podman(self) -> bool:
        """Whether it is podman, which differs in how devices are named."""
        return self.program is not None and "podman" in Path(self.program).name

    @property
    def words(self) -> tuple[str, ...]:
        """How the program is called. podman by itself would make containers inside of the worker, which may not."""
        assert self.program is not None
        return (self.program, "--remote") if self.is_podman else (self.program,)

    @property
    def label(self) -> str:
        """The label of this control plane's containers."""
        return f"{_LABEL}={self.plane}"

    def missing(self, image: str) -> str | None:
        """What is missing to run an image; None where the program is there."""
        if self.program is not None:
            return None
        return (
            f"image {image} needs a container engine on the machine that runs it, and {self.wanted} is not on its "
            "PATH; install one of them, or name its program in FLASH_CONTAINER_ENGINE"
        )

    async def prepare(self, image: str, on_stage: Callable[[str], None]) -> None:
        """See that the engine answers and has the image, which is fetched if need be; `on_stage` hears of that.

        Raises InstallFailed with the engine's own words.
        """
        if (missing := self.missing(image)) is not None:
            raise InstallFailed(missing, holds_s=0)
        self.marker.touch()
        answer = await self._ask("info", limit_s=_ANSWER_S)
        if answer is None or answer.status:
            words = f"it was silent for {_ANSWER_S:g} s" if answer is None else f"it says:\n{_said(answer)}"
            raise InstallFailed(
                f"image {image} cannot run: {self.program} is there, but its engine does not answer; start it "
                f"({'podman system service' if self.is_podman else 'dockerd'}), or say where it is by "
                f"{'CONTAINER_HOST' if self.is_podman else 'DOCKER_HOST'}, then call again; {words}",
                holds_s=0,
            )
        if (known := await self._ask("image", "inspect", image, limit_s=_ANSWER_S)) is not None and not known.status:
            return
        on_stage(f"image {image} is fetched")
        pulled = await self._ask("pull", image, limit_s=PULL_LIMIT_S)
        if pulled is None or pulled.status:
            words = f"it took longer than {PULL_LIMIT_S:g} s" if pulled is None else f"it says:\n{_said(pulled)}"
            raise InstallFailed(
                f"image {image} is not on this machine, and {self.program} cannot fetch it; check its name, the "
                f"network and the engine's login, then call again; {words}",
                holds_s=0,
            )

    async def remove(self, worker: str) -> None:
        """End the container of a worker, if there still is one."""
        if self.program is not None:
            await self._ask("rm", "--force", container_name(worker), limit_s=_ANSWER_S)

    async def sweep(self) -> None:
        """End what an earlier run of this control plane left behind when it and its workers were killed."""
        if self.program is None or not self.marker.exists():
            return
        listed = await self._ask("ps", "--all", "--quiet", "--filter", f"label={self.label}", limit_s=_ANSWER_S)
        if listed is None or listed.status:
            logger.warning("containers that were left behind cannot be looked for: %s does not answer", self.program)
            return
        if names := listed.stdout.split():
            logger.info("%d containers were left behind; they are removed", len(names))
            await self._ask("rm", "--force", *names, limit_s=_ANSWER_S)
        self.marker.unlink(missing_ok=True)

    async def _ask(self, *words: str, limit_s: float) -> CommandResult | None:
        """What the engine's program answers; None where it takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                try:
                    return await run_command([*self.words, *words], env=self.env)
                except OSError as error:
                    return CommandResult(127, "", str(error))
        return None


def container_name(worker: str) -> str:
    """The name of a worker's container."""
    return f"flash-{worker}"


def _said(answer: CommandResult) -> str:
    words = answer.stderr.strip() or answer.stdout.strip()
    return words[-_WORDS:] or f"nothing (exit code {answer.status})"
