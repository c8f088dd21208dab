"""Run a foreign program so that nothing of it outlives a cancelled caller; hold a lock across processes."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOCK_POLL_S = 0.05
"""Seconds between two looks at a lock that another process holds."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a program said and its exit status; negative: the signal that ended it."""

    status: int
    stdout: str
    stderr: str


async def run_command(
    command: Sequence[str], *, env: Mapping[str, str], cwd: str | Path = "/", grace_s: float = 0.0
) -> CommandResult:
    """Run `command` to its end, without input, in a session of its own.

    On cancellation the program and its children get SIGTERM, `grace_s` seconds, then SIGKILL; with 0 SIGKILL at once.
    Where a signal ends the program, its children are killed.
    Raises OSError when it cannot be started.
    """
    # Files, not pipes: a service that the program starts may keep its output open for ever.
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            await _end(process, grace_s)
            raise
        if status < 0:  # it could not end its own
            _signal_group(process.pid, signal.SIGKILL)
        return CommandResult(status, _text(stdout), _text(stderr))


@contextlib.asynccontextmanager
async def file_lock(path: Path) -> AsyncIterator[None]:
    """Hold an exclusive lock on the file `path`, which is made and stays. The system frees it when its holder dies."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(file):  # noqa: ASYNC110 - a lock of another process sends no event
            await asyncio.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    if grace_s > 0:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace_s)
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it ended by itself
        os.killpg(group, number)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
