"""`flash server`: start, stop and look at the control plane of this user."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

from flash_cli import console, plane
from runpod_flash import settings
from runpod_flash.backends import daemon
from runpod_flash.errors import BackendError
from runpod_flash.state_folder import PlaneRecord, StateFolder

NOT_RUNNING = 3
"""Exit status of `flash server status` where no control plane runs."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a control plane shall listen; None and False: as the settings say."""

    port: int | None = None
    listen: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The settings with this in them."""
        said = {
            "FLASH_PORT": self.port,
            "FLASH_LISTEN": self.listen,
            "FLASH_TLS_CERT": self.tls_cert and self.tls_cert.absolute(),
            "FLASH_TLS_KEY": self.tls_key and self.tls_key.absolute(),
            "FLASH_INSECURE": "1" if self.insecure else None,
        }
        return {**environ, **{name: str(value) for name, value in said.items() if value is not None}}

    def missing(self, record: PlaneRecord) -> str:
        """What a control plane that runs already lacks of this; empty where nothing."""
        if self.port is not None and record.port != self.port:
            return f"on port {record.port}; stop it first with `flash server stop` to have it on port {self.port}"
        scheme = "http" if self.tls_cert is None else "https"
        if self.listen is not None and record.url != f"{scheme}://{self.listen}":
            where = f"listening on {record.url}" if record.url else "for this user only"
            return f"{where}; stop it first with `flash server stop` to have it listen on {self.listen}"
        return ""


def start(wanted: Wanted) -> None:
    """Start the control plane of this version, if it does not run.

    Raises:
        BackendUnavailable: it cannot be started.
        BackendError: it runs, but not as `wanted`.
    """
    chosen = settings.load()
    state = plane.state_folder(chosen)
    before = daemon.running(state)
    record = asyncio.run(daemon.ensure(state, wanted.environ(chosen.environ)))
    ran = before is not None and before.pid == record.pid
    if ran and (missing := wanted.missing(record)):
        raise BackendError(f"the control plane runs already, {missing}")
    _show("runs already" if ran else "started", state, record)


def run(wanted: Wanted) -> NoReturn:
    """Become the control plane of this version, until SIGTERM or Ctrl-C; what it says goes to stderr.

    Raises:
        BackendUnavailable: it cannot be started. That one runs already, it says itself.
    """
    chosen = settings.load()
    state = plane.state_folder(chosen)
    state.prepare()
    command, env = daemon.program(state, wanted.environ(chosen.environ))
    os.execve(command[0], command, env)


def stop(*, now: bool) -> None:
    """Stop every control plane of this user's state folder with its workers; with `now`, running jobs get no time.

    Raises:
        BackendUnavailable: one belongs to another user.
    """
    found = daemon.all_to_stop(plane.state_folder())
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
        "url": record.url or None,
        "socket": record.socket,
        "answers": daemon.reach(record) is not None,
        "key": str(state.key_path),
        "log": str(state.log),
    }


def _show(what: str, state: StateFolder, record: PlaneRecord) -> None:
    console.say(f"control plane {record.version} {what} (process {record.pid})")
    console.say(f"  http://127.0.0.1:{record.port}, key in {state.key_path}")
    if record.url:
        console.say(f"  {record.url}, for those who have a key (`flash server keys`)")
    console.say(f"  {record.socket}")
    console.say(f"  log: {state.log}")
