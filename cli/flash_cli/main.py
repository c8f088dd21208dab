"""The face of the `flash` command: its options and its help. What commands do is in `commands/`, loaded when called."""

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from flash_cli import console
from runpod_flash import lazy
from runpod_flash.errors import FlashError
from runpod_flash.release import VERSION


@dataclass(slots=True)
class Options:
    """What was said before the command's name."""

    debug: bool = False


def _group(help_text: str) -> typer.Typer:
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


app = _group("Look after what runs on this machine: control plane, endpoints, workers.")
server = _group("Start, stop and look at the control plane.")
app.add_typer(server, name="server")
jobs = _group("Come back to jobs.")
app.add_typer(jobs, name="jobs")

target = _group("Choose the platform that calls go to.")
app.add_typer(target, name="target")

Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


def _version(wanted: bool) -> None:
    if wanted:
        console.say(f"flash {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    context.ensure_object(Options).debug = debug


@app.command()
def status(json: Json = False) -> None:
    """Show endpoints with their workers and jobs."""
    lazy.load("flash_cli.commands.status").status(as_json=json)


@server.command("start")
def server_start(
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Loopback port; without it a free one.")] = None,
) -> None:
    """Start the control plane, if it does not run.

    Calls start it by themselves; this is for a fixed port.
    """
    lazy.load("flash_cli.commands.server").start(port)


@server.command("stop")
def server_stop(
    now: Annotated[
        bool, typer.Option("--now", help="Give running jobs no time; they go on after the next start.")
    ] = False,
) -> None:
    """Stop the control plane and all its workers; running jobs have FLASH_DRAIN_S seconds to end."""
    lazy.load("flash_cli.commands.server").stop(now=now)


@server.command("status")
def server_status(json: Json = False) -> None:
    """Show the control plane. Exit status 0 if it runs, 3 if it does not."""
    lazy.load("flash_cli.commands.server").status(as_json=json)


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


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrongly used, 3 `server status` found none, 130 left early."""
    said = Options()
    try:
        typer.main.get_command(app)(prog_name="flash", obj=said)
    except FlashError as error:
        console.failure(error, trace=said.debug)
        sys.exit(1)
