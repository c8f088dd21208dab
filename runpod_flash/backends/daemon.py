"""Finds the embedded control plane of a state folder, or starts it; also stops it.

Who wants to start one takes `start_lock` (an flock, so it does not survive its holder), looks again, starts
`python -m runpod_flash.control_plane` detached from the caller, and waits until it answers or has ended. What it writes
goes to `plane.log`; a cause that it knows stands there as a last line `error: …`.
"""

import asyncio
import fcntl
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from runpod_flash.errors import BackendUnavailable
from runpod_flash.plane_start import program, running, spawn
from runpod_flash.state_folder import PlaneRecord, StateFolder, is_locked, process_started, write_private

__all__ = ["all_running", "ensure", "program", "reach", "running", "stop"]

START_DEADLINE_S = 60.0
STOP_MARGIN_S = 15.0
"""How long a control plane may take to stop beside the time that its running jobs have."""

_SILENT_S = 30.0  # a living control plane that does not answer is given this long to end, or to begin
_PAUSE_S = 0.02
_BEGIN_S = 10.0  # for one that was begun to say so
_STARTS = 10  # of one that ends without naming a cause: it was killed, which is no reason to give up
_NEEDED_BYTES = 256 * 1024  # with less room than this none can start
_TRACEBACK = "Traceback (most recent call last):"
_LOGGED = re.compile(r"\d{4}-\d\d-\d\d ")  # a line of its log
_SECOND_S = 0.3  # after the first SIGTERM it drains, at the second it stops at once


def all_running(state: StateFolder) -> list[tuple[StateFolder, PlaneRecord]]:
    """Each living control plane of the home folder: this content's first, then those of other versions, which drain."""
    found = [(folder, running(folder)) for folder in (state, *state.others())]
    return [(folder, record) for folder, record in found if record is not None]


def reach(record: PlaneRecord) -> str | None:
    """How a control plane can be reached now: "unix:PATH", "tcp:HOST:PORT" or None."""
    ways = [(socket.AF_UNIX, record.socket, f"unix:{record.socket}")]
    if not os.path.exists(record.socket):  # a cleaner of temporary folders has been here; the port still answers
        ways.append((socket.AF_INET, ("127.0.0.1", record.port), f"tcp:127.0.0.1:{record.port}"))  # type: ignore[arg-type]
    for family, address, way in ways:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(address)
            except OSError:
                continue
            return way
    return None


async def ensure(
    state: StateFolder,
    environ: Mapping[str, str],
    *,
    command: Sequence[str] | None = None,
    deadline_s: float = START_DEADLINE_S,
) -> PlaneRecord:
    """The control plane of a state folder, started if need be; it answers when this returns.

    `environ` is the caller's environment, of which the control plane gets an allow-list. `command` replaces the program
    (for tests).

    Raises:
        BackendUnavailable: it cannot be started, or does not answer; the message has the cause.
    """
    record = running(state)
    if record is not None and record.serving and reach(record):
        return record
    state.prepare()
    end = time.monotonic() + deadline_s
    async with _starting(state, end):
        record = await _settled(state, end)
        return record or await _start(state, environ, command, end)


def stop(state: StateFolder, margin_s: float = STOP_MARGIN_S, *, now: bool = False) -> bool:
    """Ask the control plane to end (SIGTERM) and wait: running jobs have its drain time, with `now` none at all.

    It is killed when it still lives `margin_s` seconds after that. False where none runs.

    Raises:
        BackendUnavailable: it belongs to another user.
    """
    record = running(state)
    if record is None:
        return False
    first = (
        [(signal.SIGTERM, _SECOND_S), (signal.SIGTERM, margin_s)]
        if now
        else [(signal.SIGTERM, record.drain_s + margin_s)]
    )
    for number, patience_s in (*first, (signal.SIGKILL, 10.0)):
        try:
            os.kill(record.pid, number)
        except ProcessLookupError:
            break
        except PermissionError as error:
            raise BackendUnavailable(f"the control plane (process {record.pid}) belongs to another user") from error
        end = time.monotonic() + patience_s
        while record.alive and time.monotonic() < end:
            time.sleep(_PAUSE_S)
        if not record.alive:
            break
    if state.read_record() == record:  # killed, so it could not withdraw it
        state.remove_record()
    return True


def all_to_stop(state: StateFolder) -> list[tuple[StateFolder, PlaneRecord]]:
    """Those of `all_running`, and this content's that somebody has just begun, as soon as it says what it is."""
    if running(state) is None:
        _await_begun(state)
    return all_running(state)


def _await_begun(state: StateFolder) -> None:
    """Where somebody has just begun one, wait until it has written its record, or has ended."""
    if not state.start_lock.exists():
        return
    end = time.monotonic() + _BEGIN_S
    with state.start_lock.open("ab") as file:
        while time.monotonic() < end:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it holds this until it has its own lock
            except BlockingIOError:
                time.sleep(_PAUSE_S)
                continue
            if running(state) is not None or not is_locked(state.plane_lock):
                return
            time.sleep(_PAUSE_S)


@asynccontextmanager
async def _starting(state: StateFolder, end: float) -> AsyncIterator[None]:
    """Hold the start lock."""
    with state.start_lock.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            if time.monotonic() > end:
                raise BackendUnavailable(
                    f"another program has long been starting the control plane and holds {state.start_lock}; "
                    f"end that program or look into {state.log}"
                )
            await asyncio.sleep(_PAUSE_S)
        yield


async def _settled(state: StateFolder, end: float) -> PlaneRecord | None:
    """The control plane that runs already, once it answers; None when there is none (any more).

    One that ends withdraws its record first and holds its lock to the last; one that begins takes the lock first.
    """
    record = running(state)
    patience_s = _SILENT_S if record is None or record.serving else _SILENT_S + record.drain_s
    end = min(end, time.monotonic() + patience_s)
    while True:
        record = running(state)
        if record is not None and record.serving and reach(record):
            return record
        if record is None and not is_locked(state.plane_lock):
            return None
        if time.monotonic() > end:
            which = f"process {record.pid}" if record is not None else f"it holds {state.plane_lock}"
            raise BackendUnavailable(
                f"the control plane ({which}) runs but does not answer; stop it with `flash server stop` and try again "
                f"(its log: {state.log})"
            )
        await asyncio.sleep(_PAUSE_S)


async def _start(
    state: StateFolder, environ: Mapping[str, str], command: Sequence[str] | None, end: float
) -> PlaneRecord:
    whole, env = program(state, environ, command)
    cause, log_start = "", 0
    for _ in range(_STARTS):
        pid, log_start = spawn(state, env, whole)
        record = await _answering(state, pid, log_start, end)
        if record is not None:
            return record
        cause = _named_cause(state, log_start) or _unwritable(state)
        if cause or _raised(state, log_start):
            break
    raise BackendUnavailable(f"the control plane could not start: {cause or _last_words(state, log_start)}")


async def _answering(state: StateFolder, pid: int, log_start: int, end: float) -> PlaneRecord | None:
    """The record of a control plane that was started, once it answers; None when it has ended before."""
    while True:
        record = running(state)
        if record is not None and record.serving and reach(record):
            return record
        if process_started(pid) is None:
            return None
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            words = _named_cause(state, log_start) or _last_words(state, log_start)
            raise BackendUnavailable(f"the control plane did not answer in time: {words}")
        await asyncio.sleep(_PAUSE_S)


def _named_cause(state: StateFolder, log_start: int) -> str:
    """What it gave as the cause of its end: its last line `error: …`; empty where it was killed or crashed."""
    for line in reversed(_said(state, log_start)):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return ""


def _unwritable(state: StateFolder) -> str:
    """Why nothing more can be written to the state folder, so that its log says nothing either; empty where it can."""
    try:
        write_private(probe := state.plane / "probe", bytes(_NEEDED_BYTES))
        probe.unlink()
    except OSError as error:
        return f"{state.plane} cannot be written ({error.strerror or error}); make room there or set FLASH_HOME"
    return ""


def _raised(state: StateFolder, log_start: int) -> bool:
    """Whether its last words are a traceback: it would end so again, as when its files are just being changed."""
    lines = _said(state, log_start)
    begins = max((number for number, line in enumerate(lines) if line == _TRACEBACK), default=None)
    return begins is not None and not any(_LOGGED.match(line) for line in lines[begins:])


def _last_words(state: StateFolder, log_start: int) -> str:
    lines = _said(state, log_start)
    said = "\n".join(["its last words:", *lines[-8:]]) if lines else "it said nothing"
    return f"{said}\n(the whole log: {state.log})"


def _said(state: StateFolder, log_start: int) -> list[str]:
    """The lines that it has written."""
    try:
        with state.log.open("rb") as log:
            log.seek(log_start)
            return [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []
