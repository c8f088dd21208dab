"""`flash jobs`: look at jobs and come back to them."""

from typing import Annotated

import typer

from flash_cli.root import Json, group
from runpod_flash import lazy

jobs = group("Come back to jobs.")


@jobs.command("attach")
def jobs_attach(
    job: Annotated[str | None, typer.Argument(metavar="JOB", help="Id of the job.")] = None,
    last: Annotated[bool, typer.Option("--last", help="Take the job that was submitted last.")] = False,
    json: Json = False,
) -> None:
    """Show what a job writes, wait for its end and print its result.

    The job goes on when this is left with Ctrl-C. Exit status 0: completed, 1: failed, 130: left.
    """
    lazy.load("flash_cli.commands.jobs").attach(job, last=last, as_json=json)
