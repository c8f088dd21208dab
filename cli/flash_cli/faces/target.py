"""`flash target`: choose the platform that calls go to."""

from typing import Annotated

import typer

from flash_cli.root import Json, group
from runpod_flash import lazy

target = group("Choose the platform that calls go to.")


@target.command("use")
def target_use(
    where: Annotated[str, typer.Argument(metavar="URL|local", help="A platform's URL, or local: this machine.")],
    key: Annotated[str | None, typer.Option(help="The key for it. Others may see it in lists of processes.")] = None,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Ask the platform first.")] = True,
) -> None:
    """Let calls go to a platform from now on, as long as FLASH_TARGET does not say otherwise.

    The key is kept in FLASH_HOME/targets.json, which only you can read. Without one, you are asked for it.
    """
    lazy.load("flash_cli.commands.target").use(where, key=key, key_stdin=key_stdin, check=check)


@target.command("list")
def target_list(json: Json = False) -> None:
    """Show the platforms that were chosen once; * marks the one that calls go to."""
    lazy.load("flash_cli.commands.target").list_all(as_json=json)


@target.command("show")
def target_show() -> None:
    """Show the platform that calls go to, and what chose it."""
    lazy.load("flash_cli.commands.target").show()
