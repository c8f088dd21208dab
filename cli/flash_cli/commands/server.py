"""`flash server`: start, stop and look at the control plane of this user."""

import asyncio
from typing import Any

import typer

from flash_cli import console, plane
from runpod_flash import settings
from runpod_flash.backends import daemon
from runpod_flash.errors import BackendError
from runpod_flash.state_folder import PlaneRecord, StateFolder

NOT_RUNNING = 3
"""Exit status of `flash server status` where no control plane runs."""


def start(port: int | None) -> None:
    """Start the control plane of this version, if it does not run.

    Raises:
        BackendUnavailable: it cannot be started.
        BackendError: it runs on another port than `port`.
    """
    chosen = settings.load()
    state = plane.state_folder(chosen)
    before = daemon.running(state)
    environ = dict(chosen.environ) if port is None else {**chosen.environ, "FLASH_PORT": str(port)}
    record = asyncio.run(daemon.ensure(state, environ))
    if port is not None and record.port != port:
        raise BackendError(
            f"the control plane runs already, on port {record.port}; stop it first with `flash server stop` "
            f"to have it on port {port}"
        )
    _show("runs already" if before is not None and before.pid == record.pid else "started", state, record)


def stop(*, now: bool) -> None:
    """Stop every control plane of this user's state folder with its workers; with `now`, running jobs get no time.

    Raises:
        BackendUnavailable: one belongs to another user.
    """
    found = daemon.all_running(plane.state_folder())
    if not found:
        console.say("no control plane runs")
    for folder, record in found:
        daemon.stop(folder, now=now)
        console.say(f"control plane stopped (process {record.pid})")


def status(*, as_json: bool) -> None:
    """Show the control planes; exit with `NOT_RUNNING` where there is none."""
    state = plane.state_folder()
    found = daemon.all_running(state)
    if as_json:
        console.data({"running": bool(found), "home": str(state.home), "planes": [_facts(*each) for each in found]})
    else:
        for folder, record in found:
            _show(_state(record), folder, record)
        if not found:
            console.say(f"no control plane runs (state: {state.home})")
    if not found:
        raise typer.Exit(NOT_RUNNING)


def _state(record: PlaneRecord) -> str:
    """What it does now, in words."""
    if record.state == "starting":
        return "is starting"
    if record.state in ("draining", "stopping"):
        return f"is {record.state}"
    said = "runs" if daemon.reach(record) else "runs but does not answer"
    return f"{said}, superseded by a newer one" if record.state == "superseded" else said


def _facts(state: StateFolder, record: PlaneRecord) -> dict[str, Any]:
    return {
        "pid": record.pid,
        "version": record.version,
        "state": record.state,
        "port": record.port,
        "socket": record.socket,
        "answers": daemon.reach(record) is not None,
        "key": str(state.key_path),
        "log": str(state.log),
    }


def _show(what: str, state: StateFolder, record: PlaneRecord) -> None:
    console.say(f"control plane {record.version} {what} (process {record.pid})")
    console.say(f"  http://127.0.0.1:{record.port}, key in {state.key_path}")
    console.say(f"  {record.socket}")
    console.say(f"  log: {state.log}")
