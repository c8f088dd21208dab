"""What all faces of the command share: its options, the form of its groups, common parameters.

Parameters that the shell completes are in `completing.py`: `name: EndpointName`, `app: AppOption = None`,
`stage: StageOption = None`, `AppName`, `StageName`, `TargetName`; or `autocompletion=completing.endpoints` in a
parameter of one's own.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

HELP_NAMES: Final = {"help_option_names": ["-h", "--help"]}


@dataclass(slots=True)
class Options:
    """What was said before the command's name."""

    debug: bool = False


def group(help_text: str) -> typer.Typer:
    """A group of commands. Help is plain text: with rich it takes four times as long."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        context_settings=HELP_NAMES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
