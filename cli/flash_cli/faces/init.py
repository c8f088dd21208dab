"""`flash init`: a new project."""

from typing import Annotated

import typer

from flash_cli import console
from runpod_flash import lazy


def add(app: typer.Typer) -> None:
    """Register it."""
    app.command("init")(_init)


def _init(
    context: typer.Context,
    where: Annotated[
        str | None,
        typer.Argument(metavar="NAME|.", help="Folder of the project and name of its app; or here."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace what is there, and ask nothing.")] = False,
) -> None:
    """Make a project that runs at once: a function, a class with a model, an HTTP API."""
    if where is None:
        console.say(context.get_help())
    else:
        lazy.load("flash_cli.commands.init").init(where, force=force)
