"""`flash build`: the project as it would be deployed, and why it is so."""

from pathlib import Path
from typing import Annotated

import typer

from flash_cli.root import Json
from runpod_flash import lazy


def add(app: typer.Typer) -> None:
    """Register it."""
    app.command("build")(build)


def build(
    no_deps: Annotated[
        bool, typer.Option("--no-deps", help="Lock no packages: workers resolve what the code names.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The archive, else .flash/artifact.tar.gz."),
    ] = None,
    exclude: Annotated[str, typer.Option(metavar="A,B", help="Packages that are left out of what is installed.")] = "",
    python_version: Annotated[
        str | None, typer.Option("--python-version", metavar="X.Y", help="The Python of endpoints that name none.")
    ] = None,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest packages, not those of flash.lock.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(metavar="FUNCTION", help="Say which files and packages its endpoint gets, and why."),
    ] = None,
    json: Json = False,
) -> None:
    """Build the project of the current folder: find its endpoints, pack their code, lock their packages.

    Nothing is sent. Packages are resolved once and kept in flash.lock, which belongs into version control. Files that
    .gitignore and .flashignore leave out stay here, as do tests, docs and what may hold secrets, unless .flashignore
    takes them back in: !docs/ for example.
    """
    commands = lazy.load("flash_cli.commands.build")
    commands.build(commands.Wanted(no_deps, output, exclude, python_version, upgrade, explain, json))
