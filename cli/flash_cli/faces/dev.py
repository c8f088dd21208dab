"""`flash dev`: the project's endpoints at a port of this machine."""

from typing import Annotated

import typer

from flash_cli.completing import AppOption
from flash_cli.root import Json
from runpod_flash import lazy

Host = Annotated[str, typer.Option("--host", envvar="FLASH_HOST", metavar="NAME", help="Where to listen.")]
Port = Annotated[
    int,
    typer.Option("--port", "-p", envvar="FLASH_PORT", min=1, max=65_535, help="The first of 20 ports to try."),
]
Reload = Annotated[bool, typer.Option("--reload/--no-reload", help="Take edits of the project's files up.")]
AutoProvision = Annotated[bool, typer.Option("--auto-provision", help="Start workers before they are called.")]


def add(app: typer.Typer) -> None:
    """Put the command, and the old name of it, among those of `app`."""
    app.command("dev")(dev)
    app.command("run", hidden=True)(dev)


def dev(
    host: Host = "localhost",
    port: Port = 8888,
    reload: Reload = True,
    auto_provision: AutoProvision = False,
    app: AppOption = None,
    json: Json = False,
) -> None:
    """Serve this project's endpoints on this machine, until Ctrl-C.

    They run on the chosen target, with the code as it is in the files now: an edit is live on the next call. What the
    session makes there is removed when it ends. With --json, what happens comes as JSON, an object a line.
    """
    commands = lazy.load("flash_cli.commands.dev")
    wanted = commands.Asked(host, port, reload, auto_provision, app, json)
    commands.dev(wanted)
