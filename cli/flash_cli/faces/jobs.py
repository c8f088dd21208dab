"""`flash jobs`: look at jobs, end them, run them again, come back to them."""

from typing import Annotated

import typer

from flash_cli import completing
from flash_cli.completing import AppOption, StageOption
from flash_cli.root import Json, group
from runpod_flash import lazy

jobs = group("Look at jobs, cancel them, run them again, come back to them.")

Jobs = Annotated[list[str], typer.Argument(metavar="JOB…", help="Ids of the jobs.")]


@jobs.command("list")
def jobs_list(
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only those of this endpoint.", autocompletion=completing.endpoints),
    ] = None,
    status: Annotated[list[str] | None, typer.Option(metavar="STATE", help="In this state; repeatable.")] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Later than 10m or 2h ago, or a date.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many.")] = 50,
    json: Json = False,
    app: AppOption = None,
    env: StageOption = None,
) -> None:
    """List jobs, the newest first."""
    lazy.load("flash_cli.commands.jobs").show(
        endpoint=endpoint, statuses=status or [], since=since, limit=limit, as_json=json, app=app, env=env
    )


@jobs.command("get")
def jobs_get(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")],
    json: Json = False,
) -> None:
    """Show all that is known of a job."""
    lazy.load("flash_cli.commands.jobs").get(job, as_json=json)


@jobs.command("cancel")
def jobs_cancel(jobs: Jobs) -> None:
    """Cancel jobs. Exit status 1: one is unknown, or had ended otherwise before."""
    lazy.load("flash_cli.commands.jobs").cancel(jobs)


@jobs.command("retry")
def jobs_retry(jobs: Jobs) -> None:
    """Queue jobs that failed or timed out once more. Exit status 1: one did neither."""
    lazy.load("flash_cli.commands.jobs").retry(jobs)


@jobs.command("attach")
def jobs_attach(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Id of the job.")] = None,
    last: Annotated[bool, typer.Option("--last", help="Take the job that was submitted last.")] = False,
    json: Json = False,
) -> None:
    """Show what a job writes, wait for its end and print its result.

    The job goes on when this is left with Ctrl-C. Exit status 0: completed, 1: failed, 130: left.
    """
    lazy.load("flash_cli.commands.attach").attach(job, last=last, as_json=json)
