"""Which endpoints a project has: its files are imported by a process of their own, which may fail in any way.

Files that fail are found out in passes: a process that was ended by a file, or in which a file failed half way, is
replaced, and the next one leaves that file out.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from flash_cli.builds.project_files import Fault
from runpod_flash.errors import ConfigError, FlashError

_LINE_LIMIT = 2**26
_LATE_S = 3.0  # how long after its deadline a process that should have ended itself is killed
_MACHINERY = ("importlib", "flash_cli/discovering", "<frozen runpy>")
_PROGRAM = ("-P", "-m", "flash_cli.builds.discovering")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a project has: endpoints as `describing` gives them, files that could not be used, notices."""

    endpoints: tuple[Json, ...]
    faults: tuple[Fault, ...]
    notices: tuple[str, ...]


@dataclass(slots=True)
class _Pass:
    """What one process told."""

    endpoints: list[Json] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    file: str = ""  # what it is at
    doing: str = "imported"


class Interpreter:
    """A process that imports a project once it is asked to. Made ahead, it has loaded all that is not the project's."""

    def __init__(self, process: asyncio.subprocess.Process, link: socket.socket, trace: IO[bytes]) -> None:
        self._process, self._link, self._trace = process, link, trace
        self._closed = False

    @classmethod
    async def start(cls, root: Path) -> "Interpreter":
        """Start one in a project's folder. Its output goes to stderr, and it has no input."""
        ours, theirs = socket.socketpair()
        trace = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the interpreter
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *_PROGRAM, str(theirs.fileno()), cwd=root, stdin=asyncio.subprocess.DEVNULL, stdout=2,
                pass_fds=(theirs.fileno(), trace.fileno()), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            ours.close()
            trace.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, trace)

    async def ask(self, root: Path, files: Sequence[str], deadline_s: float, python: str | None) -> _Pass:
        """Import files and describe what they declare. Asked once.

        Raises:
            ConfigError: the project as a whole cannot be.
        """
        request = {
            "root": str(root),
            "files": list(files),
            "deadline_s": deadline_s,
            "python": python,
            "trace": self._trace.fileno(),
        }
        reader, writer = await asyncio.open_connection(sock=self._link, limit=_LINE_LIMIT)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(json.dumps(request).encode() + b"\n")
                await writer.drain()
            return await self._told(reader, deadline_s)
        finally:
            writer.close()

    @property
    def has_ended(self) -> bool:
        """Whether it cannot be asked any more."""
        return self._closed or self._process.returncode is not None

    async def close(self) -> None:
        """End it, and all that the project's modules have started in it. More than once does nothing more."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._link.close()
        self._trace.close()
        await self._process.wait()

    async def _told(self, reader: asyncio.StreamReader, deadline_s: float) -> _Pass:
        told = _Pass()
        ended = asyncio.ensure_future(self._process.wait())
        line = asyncio.ensure_future(reader.readline())
        try:
            while True:
                await asyncio.wait({line, ended}, timeout=deadline_s + _LATE_S, return_when=asyncio.FIRST_COMPLETED)
                if not line.done() and ended.done():
                    await asyncio.wait({line}, timeout=1.0)  # what it said before its end
                text = line.result() if line.done() and not line.exception() else b""
                if not text.endswith(b"\n"):  # it fell silent, or ended within a word
                    told.faults.append(await self._end_of(told, ended, deadline_s))
                    return told
                if _take(told, json.loads(text)):
                    return told
                line = asyncio.ensure_future(reader.readline())
        finally:
            line.cancel()
            ended.cancel()

    async def _end_of(self, told: _Pass, ended: "asyncio.Future[int]", deadline_s: float) -> Fault:
        """Why it told nothing more."""
        await asyncio.wait({ended}, timeout=1.0)  # its end of the socket is closed a moment before it ends
        self._trace.seek(0)
        trace = _own_frames(self._trace.read().decode(errors="replace"))
        if not ended.done() or trace.startswith("Timeout"):
            message = (
                f"it was still not {told.doing} after {deadline_s:g} s; put what takes long into functions, or set "
                "FLASH_IMPORT_S to more seconds"
            )
        elif (code := ended.result()) < 0:
            message = f"the process that {told.doing} it was killed by {_signal(-code)}"
        else:
            message = f"it ended the process with status {code} when it was {told.doing} (os._exit)"
        if not told.file:
            raise FlashError(f"the project cannot be looked at: {message}. {trace}")
        return Fault(told.file, message, trace)


async def discover(
    root: Path,
    files: Sequence[str],
    *,
    deadline_s: float,
    python: str | None = None,
    ready: Interpreter | None = None,
) -> Discovered:
    """Import files of a project and say which endpoints they declare.

    Args:
        root: the project's folder.
        files: paths relative to it.
        deadline_s: how long each may take.
        python: the workers' "major.minor" for endpoints that name none.
        ready: an interpreter that was started before; it is used up.

    Raises:
        ConfigError: two different endpoints have one name, or a name cannot be.
    """
    left, faults = list(files), set[Fault]()
    interpreter = None if ready is None or ready.has_ended else ready
    while True:
        interpreter = interpreter or await Interpreter.start(root)
        try:
            told = await interpreter.ask(root, left, deadline_s, python)
        finally:
            await interpreter.close()
            interpreter = None
        faults.update(told.faults)
        broken = {fault.file for fault in told.faults}
        again = [path for path in left if path not in broken]
        if len(again) == len(left):
            found = tuple(sorted(told.endpoints, key=lambda each: str(each["name"])))
            return Discovered(
                found, tuple(sorted(faults, key=lambda each: (each.file, each.message))), tuple(told.notices)
            )
        left = again


def _take(told: _Pass, message: Json) -> bool:
    """Take what the process says; whether it was the last of it. Raises ConfigError where it says so."""
    match message:
        case {"importing": file}:
            told.file, told.doing = file, "imported"
        case {"describing": file}:
            told.file, told.doing = file, "looked at"
        case {"failed": file, "message": text, "trace": trace}:
            told.faults.append(Fault(file, text, trace))
        case {"found": endpoint}:
            told.endpoints.append(endpoint)
        case {"notice": text}:
            told.notices.append(text)
        case {"refused": text}:
            raise ConfigError(text)
    return "done" in message


def _own_frames(trace: str) -> str:
    """A trace without the frames of what imports; faulthandler's begins with the innermost."""
    lines = trace.splitlines()
    own = [line for line in lines if not any(each in line for each in _MACHINERY)]
    return "\n".join(own).strip()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
