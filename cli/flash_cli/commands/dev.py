"""`flash dev`: puts a session together from the settings, the project and what was asked for."""

import asyncio
import getpass
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import typer

from flash_cli import console, platform
from flash_cli.builds import project_files
from flash_cli.builds.building import BuildOptions
from flash_cli.builds.manifest import BuildManifest
from flash_cli.deploys import bodies, staging
from flash_cli.dev import reporter as reporters
from flash_cli.dev.building_ahead import BuildingAhead
from flash_cli.dev.session import Source, Wanted, run
from runpod_flash import settings as settings_module
from runpod_flash.output import of_program
from runpod_flash.project import find_project

_UNSEEN: Final = frozenset({".git", ".flash", "__pycache__", ".venv", "node_modules", ".mypy_cache", ".ruff_cache"})

_OURS: Final = ("FLASH_PORT", "FLASH_HOST")  # here they are the dev server's; a control plane that is started has any


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command."""

    host: str
    port: int
    reload: bool
    auto_provision: bool
    app: str | None
    json: bool


def dev(asked: Asked) -> None:
    """Serve the project of the current folder until a signal comes.

    Raises:
        FlashError: it cannot be served; the message says why.
    """
    status = asyncio.run(_dev(asked))
    console.let_go()  # the terminal may be closed
    if status:
        raise typer.Exit(status)


async def _dev(asked: Asked) -> int:
    found = settings_module.load()
    environ = {name: value for name, value in found.environ.items() if name not in _OURS}
    settings = replace(found, logs="marked" if found.logs == "auto" else found.logs, environ=environ)
    folder = find_project(None, Path.cwd(), ())
    output = of_program(settings.logs)
    reporter = reporters.of(output, as_json=asked.json)
    async with platform.connected(settings, folder) as backend:
        wanted = Wanted(
            app=staging.app_of(folder, settings, asked.app),
            host=asked.host,
            port=asked.port,
            label=f"{_user()}@{socket.gethostname()}",
            target="this machine" if settings.target == "local" else settings.target,
            reloads=asked.reload,
            provision=asked.auto_provision,
        )

        async def complete(manifest: BuildManifest, artifacts: Mapping[str, Path]) -> BuildManifest:
            return (await bodies.whole(manifest, artifacts, backend, output, make=True)).manifest

        interpreter = sys.executable if backend.shares_machine else None
        options = BuildOptions(app=wanted.app, locked=interpreter is None, shared_interpreter=interpreter)
        builds = BuildingAhead(folder, options)
        try:
            return await run(backend, complete, _source(folder, builds), wanted, reporter)
        finally:
            await builds.close()


def _source(folder: Path, builds: BuildingAhead) -> Source:
    def files() -> list[Path]:
        return [each.file for each in project_files.listing(folder).files.values()]

    def matters(path: Path) -> bool:
        return path.is_relative_to(folder) and not _UNSEEN & set(path.relative_to(folder).parts)

    return Source(folder, builds.build, files, matters)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "somebody"
