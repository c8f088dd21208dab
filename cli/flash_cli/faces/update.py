"""`flash update`: another version of this package."""

from typing import Annotated

import typer

from runpod_flash import lazy


def add(app: typer.Typer) -> None:
    """Register it."""
    app.command("update")(_update)


def _update(
    version: Annotated[
        str | None, typer.Option("--version", "-V", metavar="X.Y.Z", help="The version; without it, the newest.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="SOURCE", help="Where from; without it, where this one is from."),
    ] = None,
) -> None:
    """Bring this package up to date.

    SOURCE is a wheel, a folder of wheels, a clone, git+URL, or the URL of a wheel or of an index. What it offers is
    looked at before it is installed: a package of the same name may be another program.
    """
    lazy.load("flash_cli.commands.update").update(version, source)
