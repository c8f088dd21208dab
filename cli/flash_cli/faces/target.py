"""`flash target`: note platforms and choose the one that calls go to."""

from typing import Annotated

import typer

from flash_cli.completing import TargetName
from flash_cli.root import Json, group
from runpod_flash import lazy

target = group("Choose the platform that calls go to.")

_Key = Annotated[str | None, typer.Option(help="The key for it. Others may see it in lists of processes.")]
_KeyStdin = Annotated[bool, typer.Option("--key-stdin", help="Read the key from standard input.")]
_Check = Annotated[bool, typer.Option("--check/--no-check", help="Ask the platform first.")]


@target.command("use")
def target_use(
    where: TargetName,
    key: _Key = None,
    key_stdin: _KeyStdin = False,
    check: _Check = True,
) -> None:
    """Let calls go to a platform from now on, as long as FLASH_TARGET does not say otherwise.

    The key is kept in FLASH_HOME/targets.json, which only you can read. Without one, you are asked for it.
    """
    lazy.load("flash_cli.commands.target").use(where, key=key, key_stdin=key_stdin, check=check)


@target.command("add")
def target_add(
    url: Annotated[str, typer.Argument(metavar="URL", help="The platform's URL.")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What you call it.")] = None,
    key: _Key = None,
    key_stdin: _KeyStdin = False,
    check: _Check = True,
) -> None:
    """Note a platform and its key; calls go where they went before."""
    lazy.load("flash_cli.commands.target").add(url, name=name, key=key, key_stdin=key_stdin, check=check)


@target.command("remove")
def target_remove(where: TargetName) -> None:
    """Forget a platform and its key."""
    lazy.load("flash_cli.commands.target").remove(where)


@target.command("list")
def target_list(json: Json = False) -> None:
    """Show the platforms that are noted; * marks the one that calls go to."""
    lazy.load("flash_cli.commands.target").list_all(as_json=json)


@target.command("show")
def target_show() -> None:
    """Show the platform that calls go to, and what chose it."""
    lazy.load("flash_cli.commands.target").show()


@target.command("key")
def target_key() -> None:
    """Print the key for the platform that calls go to: curl -H "Authorization: Bearer $(flash target key)" ..."""
    lazy.load("flash_cli.commands.target").key()
