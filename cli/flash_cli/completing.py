"""Parameters that the shell completes from the chosen target: endpoints, apps, stages, targets.

A face takes the ready types, or gives one of the functions to its own parameter as `autocompletion`. Who presses Tab
waits a second at most, hears of no failure, and starts no control plane.
"""

from typing import Annotated, cast

import typer

from runpod_flash import lazy

Completions = list[tuple[str, str]]
"""What a word can become, each with a few words about it. Those that do not begin as it does are left out later."""


def endpoints() -> Completions:
    """Names of endpoints of the chosen target."""
    return _found("endpoints")


def apps() -> Completions:
    """Names of apps of the chosen target."""
    return _found("apps")


def stages(context: typer.Context) -> Completions:
    """Names of stages: of the app that the line names, else of all apps."""
    app = context.params.get("app")
    return _found("stages", app if isinstance(app, str) else None)


def targets() -> Completions:
    """Names and URLs of the platforms that are noted."""
    return _found("targets")


def _found(kind: str, app: str | None = None) -> Completions:
    return cast(Completions, lazy.load("flash_cli.commands.complete").names(kind, app))


EndpointName = Annotated[
    str, typer.Argument(metavar="ENDPOINT", help="Name or id of the endpoint.", autocompletion=endpoints)
]
AppName = Annotated[str, typer.Argument(metavar="APP", help="Name of the app.", autocompletion=apps)]
StageName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the environment.", autocompletion=stages)]
TargetName = Annotated[
    str, typer.Argument(metavar="NAME|URL|local", help="As listed, or local: this machine.", autocompletion=targets)
]
AppOption = Annotated[
    str | None,
    typer.Option("--app", "-a", metavar="APP", help="Name of the app; without it, the project's.", autocompletion=apps),
]
StageOption = Annotated[
    str | None,
    typer.Option("--env", "-e", metavar="NAME", help="Name of the environment.", autocompletion=stages),
]
