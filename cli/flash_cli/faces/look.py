"""`flash status`, `flash logs`, `flash call`: look at what there is, and use it."""

from typing import Annotated

import typer

from flash_cli import completing
from flash_cli.completing import AppOption, EndpointName, StageOption
from flash_cli.root import Json
from runpod_flash import lazy


def add(app: typer.Typer) -> None:
    """Register these commands."""
    app.command("status")(status)
    app.command("logs")(logs)
    app.command("call")(call)


def status(
    json: Json = False,
    all_: Annotated[bool, typer.Option("--all", help="With a target elsewhere: this machine, too.")] = False,
) -> None:
    """Show endpoints with their workers and jobs."""
    lazy.load("flash_cli.commands.status").status(as_json=json, everything=all_)


def logs(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ENDPOINT|JOB",
            help="Name or id of an endpoint, or id of a job.",
            autocompletion=completing.endpoints,
        ),
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Later than 10m or 2h ago, or a date.")] = None,
    tail: Annotated[int | None, typer.Option(min=0, max=10_000, help="Only so many of the last lines.")] = None,
    json: Json = False,
    app: AppOption = None,
    env: StageOption = None,
) -> None:
    """Show what an endpoint's workers, or a job, wrote.

    Following a job ends with it. Exit status 0, also when following is left with Ctrl-C.
    """
    lazy.load("flash_cli.commands.logs").logs(
        name, follow=follow, since=since, tail=tail, as_json=json, app=app, env=env
    )


def call(
    endpoint: EndpointName,
    rest: Annotated[
        list[str] | None,
        typer.Argument(metavar="[- | METHOD PATH]", help="Input from standard input, or an HTTP request."),
    ] = None,
    json: Annotated[str | None, typer.Option("--json", metavar="TEXT", help="The input, or the body.")] = None,
    file: Annotated[str | None, typer.Option("--file", metavar="FILE", help="The same from a file.")] = None,
    route: Annotated[str | None, typer.Option(metavar="TEXT", help="An HTTP request: 'POST /predict'.")] = None,
    method: Annotated[str | None, typer.Option(metavar="NAME", help="The method of a class.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0.1, help="Seconds to wait; the job goes on after.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait; print the job's id.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Print a text as it is, not as JSON.")] = False,
    stream: Annotated[bool, typer.Option("--stream", help="Print each item as it comes.")] = False,
    app: AppOption = None,
    env: StageOption = None,
) -> None:
    """Call an endpoint with plain JSON and print its result; what it writes goes to stderr.

    Ctrl-C cancels the job. Exit status 0: done, 1: failed, 130: cancelled.
    """
    lazy.load("flash_cli.commands.call").call(
        endpoint,
        rest or [],
        text=json,
        file=file,
        route=route,
        app=app,
        env=env,
        method=method,
        timeout_s=timeout,
        detach=detach,
        raw=raw,
        stream=stream,
    )
