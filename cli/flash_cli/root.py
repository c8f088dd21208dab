"""What all faces of the command share: its options, the form of its groups, common parameters."""

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(slots=True)
class Options:
    """What was said before the command's name."""

    debug: bool = False


def group(help_text: str) -> typer.Typer:
    """A group of commands. Help is plain text: with rich it takes four times as long."""
    names = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(
        help=help_text,
        add_completion=False,
        context_settings=names,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


App = Annotated[str | None, typer.Option("--app", "-a", metavar="NAME", help="The app; default: the project's.")]
Env = Annotated[str | None, typer.Option("--env", "-e", metavar="NAME", help="The stage of the app.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
