"""`flash app` and `flash env`: apps, and the environments that they are deployed to."""

from typing import Annotated

import typer

from flash_cli.completing import AppName, AppOption, StageName
from flash_cli.root import Json, Yes, group
from runpod_flash import lazy

apps = group("Look after apps: what `flash deploy` brings to a target.")
stages = group("Look after the environments of an app, such as staging and production.")

Force = Annotated[bool, typer.Option("--force", "-f", help="The same as --yes.")]
NewApp = Annotated[str, typer.Argument(metavar="NAME", help="What it shall be called.")]
NewStage = Annotated[str, typer.Argument(metavar="NAME", help="What it shall be called.")]


@apps.command("list")
def app_list(json: Json = False) -> None:
    """Show all apps."""
    lazy.load("flash_cli.commands.apps").list_all(as_json=json)


@apps.command("create")
def app_create(name: NewApp, json: Json = False) -> None:
    """Make an app; `flash deploy` does it by itself."""
    lazy.load("flash_cli.commands.apps").create(name, as_json=json)


@apps.command("get")
def app_get(name: AppName, json: Json = False) -> None:
    """Show an app: environments, versions, endpoints with ids and URLs."""
    lazy.load("flash_cli.commands.apps").get(name, as_json=json)


@apps.command("delete")
def app_delete(name: AppName, yes: Yes = False, force: Force = False) -> None:
    """Delete an app with all its environments, endpoints and jobs."""
    lazy.load("flash_cli.commands.apps").delete(name, yes=yes or force)


@stages.command("list")
def env_list(app: AppOption = None, json: Json = False) -> None:
    """Show the environments of an app."""
    lazy.load("flash_cli.commands.stages").list_all(app, as_json=json)


@stages.command("create")
def env_create(name: NewStage, app: AppOption = None, json: Json = False) -> None:
    """Make an environment, and its app where there is none; `flash deploy` does it by itself."""
    lazy.load("flash_cli.commands.stages").create(name, app, as_json=json)


@stages.command("get")
def env_get(name: StageName, app: AppOption = None, json: Json = False) -> None:
    """Show an environment: versions, endpoints with ids and URLs, volumes."""
    lazy.load("flash_cli.commands.stages").get(name, app, as_json=json)


@stages.command("delete")
def env_delete(name: StageName, app: AppOption = None, yes: Yes = False, force: Force = False) -> None:
    """Delete an environment with its endpoints and jobs."""
    lazy.load("flash_cli.commands.stages").delete(name, app, yes=yes or force)
