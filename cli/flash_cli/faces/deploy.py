"""`flash plan`, `flash deploy`, `flash rollback`, `flash undeploy` and `flash gc`."""

from pathlib import Path
from typing import Annotated

import typer

from flash_cli.completing import AppOption, StageOption, endpoints
from flash_cli.root import Json, Yes
from runpod_flash import lazy

NoDeps = Annotated[bool, typer.Option("--no-deps", help="Lock no packages: workers resolve what the code names.")]
Exclude = Annotated[str, typer.Option(metavar="A,B", help="Packages that are left out of what is installed.")]
Python = Annotated[str | None, typer.Option("--python-version", metavar="X.Y", help="The Python of the workers.")]
Upgrade = Annotated[bool, typer.Option("--upgrade", help="Take the newest packages, not those of flash.lock.")]
Prune = Annotated[bool, typer.Option("--prune", help="Remove endpoints that are not in the code any more.")]


def add(app: typer.Typer) -> None:
    """Register them."""
    app.command("plan")(plan)
    app.command("deploy")(deploy)
    app.command("rollback")(rollback)
    app.command("undeploy")(undeploy)
    app.command("gc")(gc)


def plan(
    app: AppOption = None,
    env: StageOption = None,
    prune: Prune = False,
    no_deps: NoDeps = False,
    exclude: Exclude = "",
    python_version: Python = None,
    upgrade: Upgrade = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 3 where something would change.")] = False,
    json: Json = False,
) -> None:
    """Show what a deploy would create, change, roll and remove, and why. Nothing is changed."""
    commands = lazy.load("flash_cli.commands.deploy")
    build = commands.Build(no_deps, exclude, python_version, upgrade)
    commands.plan(commands.Wanted(app, env, build, prune, as_json=json), exit_code=exit_code)


def deploy(
    env: StageOption = None,
    app: AppOption = None,
    no_deps: NoDeps = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Keep the archive there.")
    ] = None,
    exclude: Exclude = "",
    python_version: Python = None,
    upgrade: Upgrade = False,
    preview: Annotated[
        bool, typer.Option("--preview", help="To an environment that goes by itself an hour after the last deploy.")
    ] = False,
    prune: Prune = False,
    smoke: Annotated[bool, typer.Option("--smoke/--no-smoke", help="Try what was deployed.")] = True,
    smoke_timeout: Annotated[float, typer.Option(min=1, metavar="S", help="Seconds that it may take to live.")] = 300,
    rollback: Annotated[
        bool, typer.Option("--rollback/--no-rollback", help="Go back to the version before where it does not live.")
    ] = True,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Build the project and bring it to an environment of its app on the chosen target.

    Without --env: to the only environment of the app, or to 'production' where it has none. Each endpoint switches at
    one moment; running jobs end on the old code. Then a worker of each new or rolled endpoint loads the code; where it
    cannot, the version before comes back, and the exit status is 1. With nothing to change, nothing is done.
    """
    commands = lazy.load("flash_cli.commands.deploy")
    build = commands.Build(no_deps, exclude, python_version, upgrade)
    commands.deploy(commands.Wanted(app, env, build, prune, preview, yes, smoke, smoke_timeout, rollback, output, json))


def rollback(
    env: StageOption = None,
    app: AppOption = None,
    version: Annotated[int | None, typer.Option("--version", min=1, help="Which; else the one before.")] = None,
    json: Json = False,
) -> None:
    """Give an environment the endpoints of an earlier version again. `flash env get` lists the versions."""
    lazy.load("flash_cli.commands.deploy").rollback(app, env, version, as_json=json)


def undeploy(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|list", help="An endpoint; 'list' shows all.", autocompletion=endpoints),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All endpoints of yours on the target.")] = False,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", help="Choose from a list.")] = False,
    cleanup_stale: Annotated[bool, typer.Option("--cleanup-stale", help="What has expired, as `flash gc`.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="The same as --yes.")] = False,
    yes: Yes = False,
    app: AppOption = None,
    env: StageOption = None,
    json: Json = False,
) -> None:
    """Remove endpoints with their jobs and workers.

    What there is, is asked of the target: no file on this machine decides. An endpoint of an app is removed from its
    environment, and the next deploy makes it again. Exit status 1 if one could not be removed; all others are.
    """
    commands = lazy.load("flash_cli.commands.undeploy")
    wanted = commands.Wanted(name, every, interactive, cleanup_stale, force or yes, app, env, json)
    commands.undeploy(wanted)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show it.")] = False,
    json: Json = False,
) -> None:
    """Remove what has expired: environments of `flash dev` and previews that nobody renews, endpoints long unused."""
    lazy.load("flash_cli.commands.gc").collect(dry_run=dry_run, as_json=json)
