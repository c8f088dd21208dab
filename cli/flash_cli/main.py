"""The face of the `flash` command: its options and its help. What commands do is in `commands/`, loaded when called."""

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
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


class Scope(StrEnum):
    """What a key is for."""

    FULL = "full"
    ENDPOINT = "endpoint"
    READ_ONLY = "read-only"


app = _group("Look after what runs on this machine: control plane, endpoints, workers.")
server = _group("Start, stop and look at the control plane.")
app.add_typer(server, name="server")
keys = _group("Make, list and revoke the keys with which others use this control plane.")
server.add_typer(keys, name="keys")
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
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Listen for others there, too.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate for --listen, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without TLS.")] = False,
    foreground: Annotated[bool, typer.Option("--foreground", help="Run in this terminal, until Ctrl-C.")] = False,
) -> None:
    """Start the control plane, if it does not run.

    Calls start it by themselves; this is for a fixed port and for a server that others use: with --listen it answers
    those who have a key (`flash server keys create`) and does not leave when it is idle.
    """
    commands = lazy.load("flash_cli.commands.server")
    wanted = commands.Wanted(port, listen, tls_cert, tls_key, insecure)
    (commands.run if foreground else commands.start)(wanted)


@server.command("add")
def server_add(
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the endpoint.")],
    command: Annotated[str, typer.Option(metavar="TEXT", help="What each worker runs, 'python handler.py' say.")],
    directory: Annotated[Path, typer.Option(metavar="FOLDER", help="Where it runs; without it, here.")] = Path(),
    env: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A variable; repeatable.")] = None,
    workers: Annotated[tuple[int, int], typer.Option(metavar="LEAST MOST", help="How many workers.")] = (0, 3),
    idle_timeout: Annotated[int, typer.Option(min=1, max=3600, help="Seconds until an idle worker ends.")] = 60,
    cpu: Annotated[str, typer.Option(metavar="SIZE", help="A size like cpu3c-2-4; without it, a GPU if any.")] = "",
    load_balanced: Annotated[bool, typer.Option("--load-balanced", help="It answers HTTP requests on $PORT.")] = False,
    timeout_ms: Annotated[int, typer.Option(min=0, help="How long a job may run; 0: no limit.")] = 600_000,
    json: Json = False,
) -> None:
    """Make an endpoint whose workers run a command, with the caller's PATH: a handler of Runpod's worker package, or an
    HTTP server."""
    commands = lazy.load("flash_cli.commands.add")
    wanted = commands.Wanted(name, command, directory, env or [], workers, idle_timeout, cpu, load_balanced, timeout_ms)
    commands.add(wanted, as_json=json)


@server.command("remove")
def server_remove(endpoint: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the endpoint.")]) -> None:
    """Remove an endpoint with its jobs and workers."""
    lazy.load("flash_cli.commands.add").remove(endpoint)


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


@keys.command("create")
def keys_create(
    user: Annotated[str, typer.Option(metavar="NAME", help="Whose key it is: a-z, 0-9, '.', '_' and '-'.")],
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    scope: Annotated[Scope, typer.Option(help="What may be done with it.")] = Scope.FULL,
    endpoint: Annotated[list[str] | None, typer.Option(metavar="ID", help="For scope endpoint; repeatable.")] = None,
) -> None:
    """Make a key and print it, this once.

    A user sees nothing of others. Scope full: everything with the user's own endpoints; endpoint: jobs of the named
    ones; read-only: looking at them.
    """
    lazy.load("flash_cli.commands.keys").create(user, name=name, scope=scope.value, endpoints=endpoint or [])


@keys.command("list")
def keys_list(json: Json = False) -> None:
    """Show all keys, never what is secret of them."""
    lazy.load("flash_cli.commands.keys").show(as_json=json)


@keys.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(metavar="ID", help="Its id, as listed.")]) -> None:
    """Refuse a key from now on."""
    lazy.load("flash_cli.commands.keys").revoke(key)


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
