"""The `flash` command: its own options, and all groups. What commands do is in `commands/`, loaded when called."""

import sys
from typing import Annotated

import typer

from flash_cli import console
from flash_cli.faces import build, deploy, dev, init, login, look, update
from flash_cli.faces.apps import apps, stages
from flash_cli.faces.jobs import jobs
from flash_cli.faces.server import server
from flash_cli.faces.target import target
from flash_cli.page import Page
from flash_cli.root import HELP_NAMES, Options
from runpod_flash.errors import FlashError
from runpod_flash.release import VERSION

app = typer.Typer(
    cls=Page,
    help="Run decorated functions elsewhere: try them, deploy them, look after them.",
    context_settings=HELP_NAMES,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
init.add(app)
build.add(app)
deploy.add(app)
look.add(app)
dev.add(app)
app.add_typer(apps, name="app")
app.add_typer(stages, name="env")
app.add_typer(server, name="server")
app.add_typer(jobs, name="jobs")
app.add_typer(target, name="target")
login.add(app)
update.add(app)


def _version(wanted: bool) -> None:
    if wanted:
        console.say(f"flash {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.ensure_object(Options).debug = debug
    if context.invoked_subcommand is None:
        console.say(context.get_help())


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrongly used, 3 `server status` found none, 130 left early."""
    said = Options()
    try:
        typer.main.get_command(app)(prog_name="flash", obj=said)
    except FlashError as error:
        console.failure(error, trace=said.debug)
        sys.exit(1)
