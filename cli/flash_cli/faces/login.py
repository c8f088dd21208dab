"""`flash login`: come to a key for a platform."""

from typing import Annotated

import typer

from flash_cli.completing import targets
from runpod_flash import lazy


def add(app: typer.Typer) -> None:
    """Put the command into its place."""
    app.command("login")(_login)


def _login(
    where: Annotated[
        str | None,
        typer.Argument(
            metavar="URL|NAME|runpod", help="The platform; without it, the chosen one.", autocompletion=targets
        ),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the page where Runpod makes keys.")] = False,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for its owner.")] = 600,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")] = False,
) -> None:
    """Get a key for a platform and let calls go there.

    In a terminal you can type the key. Else, and without one, you get a code with which the platform's owner lets you
    in. For Runpod's cloud the key goes to ~/.runpod/config.toml, where its own tools find it, too.
    """
    lazy.load("flash_cli.commands.login").login(where, open_page=not no_open, timeout_s=timeout, key_stdin=key_stdin)
