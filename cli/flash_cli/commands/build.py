"""`flash build`: find endpoints, pack, lock, and say what came of it."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from flash_cli import console
from flash_cli.builds import archive, explaining, locking
from flash_cli.builds.archive import Archive
from flash_cli.builds.building import BuildOptions, Built, Fault
from flash_cli.builds.building import build as build_project
from flash_cli.builds.manifest import BuiltEndpoint
from runpod_flash import settings
from runpod_flash.project import app_of, find_project

_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was said on the command line."""

    no_deps: bool = False
    output: Path | None = None
    exclude: str = ""
    python_version: str | None = None
    upgrade: bool = False
    explain: str | None = None
    as_json: bool = False


def build(wanted: Wanted) -> None:
    """Build the project of the current folder.

    Raises:
        FlashError: see `building.build`.
        Exit: files of it cannot be used; nothing was kept.
    """
    started = time.monotonic()
    root = settings.load().project or find_project(None, Path.cwd(), ())
    options = BuildOptions(
        app_of(root),
        exclude=tuple(name.strip() for name in wanted.exclude.split(",") if name.strip()),
        no_deps=wanted.no_deps,
        python_version=wanted.python_version,
        upgrade=wanted.upgrade,
    )
    console.passing("looking at the project, locking its packages")
    try:
        built = asyncio.run(build_project(root, options))
    finally:
        console.passing("")
    for warning in built.warnings:
        console.note(f"warning: {warning}")
    if built.faults:
        _refuse(built.faults, as_json=wanted.as_json)
    explained = None if wanted.explain is None else asyncio.run(explaining.explain(built, wanted.explain))
    kept = archive.keep(built, root, wanted.output)
    took_s = time.monotonic() - started
    if wanted.as_json:
        console.data(_document(built, kept, took_s) | ({} if explained is None else {"explained": explained.to_json()}))
    elif explained is not None:
        for line in explaining.lines(explained):
            console.say(line)
    else:
        _show(built, kept, took_s)


def _refuse(faults: tuple[Fault, ...], *, as_json: bool) -> None:
    if as_json:
        console.data({"faults": [{"file": each.file, "message": each.message} for each in faults]})
    for each in faults:
        console.note(f"error: {each.file}: {each.message}")
        for line in each.trace.splitlines():
            console.note(_INDENT + line)
    files = len({each.file for each in faults})
    advice = "mend them, or name them in .flashignore"
    console.note(f"nothing was built: {files} {'file' if files == 1 else 'files'} cannot be used; {advice}")
    raise typer.Exit(1)


def _show(built: Built, kept: Archive, took_s: float) -> None:
    rows = [
        (each.name, each.kind, f"{each.file}:{each.object}", _size(each), each.python or "-", _packages(each))
        for each in built.manifest.endpoints
    ]
    console.table(("ENDPOINT", "KIND", "WHERE", "SIZE", "PYTHON", "PACKAGES"), rows)
    console.say(f"built app {built.manifest.app} ({took_s:.1f} s)")
    console.say(f"  {kept.file}  {console.size(kept.size)}  sha256:{kept.sha256}")


def _document(built: Built, kept: Archive, took_s: float) -> dict[str, Any]:
    endpoints = [
        {
            **{name: getattr(each, name) for name in ("name", "kind", "file", "object", "artifact", "size", "python")},
            "requirements": list(each.requirements),
            "packages": len(_locked(each)),
        }
        for each in built.manifest.endpoints
    ]
    return {
        "app": built.manifest.app,
        "fingerprint": built.manifest.fingerprint,
        "archive": str(kept.file),
        "size": kept.size,
        "sha256": kept.sha256,
        "endpoints": endpoints,
        "warnings": list(built.warnings),
        "seconds": round(took_s, 3),
    }


def _locked(endpoint: BuiltEndpoint) -> tuple[str, ...]:
    return locking.lines(endpoint.lock)


def _size(endpoint: BuiltEndpoint) -> str:
    return console.size(endpoint.size) if endpoint.artifact is not None else "-"


def _packages(endpoint: BuiltEndpoint) -> str:
    named, all_of_them = len(endpoint.requirements), len(_locked(endpoint))
    if not named:
        return "-"
    return f"{all_of_them} locked, {named} named" if all_of_them else f"{named} named"
