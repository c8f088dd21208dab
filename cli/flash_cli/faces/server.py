"""`flash server`: start, stop and look at the control plane; keys with which others use it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flash_cli.completing import EndpointName
from flash_cli.root import Json, group
from runpod_flash import lazy


class Scope(StrEnum):
    """What a key is for."""

    FULL = "full"
    ENDPOINT = "endpoint"
    READ_ONLY = "read-only"


server = group("Start, stop and look at the control plane.")
keys = group("Make, list and revoke the keys with which others use this control plane.")
server.add_typer(keys, name="keys")


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
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the endpoint.")],
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
def server_remove(endpoint: EndpointName) -> None:
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


@keys.command("approve")
def keys_approve(
    code: Annotated[str, typer.Argument(metavar="CODE", help="As `flash login` has shown it.")],
    user: Annotated[str, typer.Option(metavar="NAME", help="Whose key it will be: a-z, 0-9, '.', '_' and '-'.")],
    name: Annotated[str, typer.Option(metavar="TEXT", help="What it is for; without it, who asked.")] = "",
    scope: Annotated[Scope, typer.Option(help="What may be done with it.")] = Scope.FULL,
    endpoint: Annotated[list[str] | None, typer.Option(metavar="ID", help="For scope endpoint; repeatable.")] = None,
) -> None:
    """Give a key to the one who asks for it with `flash login`. Ask that person for the code: labels prove nothing."""
    wanted = {"user": user, "name": name, "scope": scope.value, "endpoints": endpoint or []}
    lazy.load("flash_cli.commands.keys").approve(code, wanted)


@keys.command("deny")
def keys_deny(code: Annotated[str, typer.Argument(metavar="CODE", help="As `flash login` has shown it.")]) -> None:
    """Give none to the one who asks for it with `flash login`."""
    lazy.load("flash_cli.commands.keys").deny(code)


@keys.command("requests")
def keys_requests(json: Json = False) -> None:
    """Show who asks for a key with `flash login` and has no answer yet."""
    lazy.load("flash_cli.commands.keys").requests(as_json=json)


@keys.command("list")
def keys_list(json: Json = False) -> None:
    """Show all keys, never what is secret of them."""
    lazy.load("flash_cli.commands.keys").show(as_json=json)


@keys.command("revoke")
def keys_revoke(key: Annotated[str, typer.Argument(metavar="ID", help="Its id, as listed.")]) -> None:
    """Refuse a key from now on."""
    lazy.load("flash_cli.commands.keys").revoke(key)
