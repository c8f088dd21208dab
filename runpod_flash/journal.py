"""What this user's programs have submitted, written down before it leaves, so that no job is lost with its program.

FLASH_HOME/submitted.jsonl      a line for each submission, and a short one when the platform has it
FLASH_HOME/submitted.jsonl.1    the lines before those, once they were more than LIMIT bytes

Several programs write at a time: lines are written whole at the file's end, which survives the SIGKILL of its program.
Each begins with a line break, too, so that a torn one (a full disk) does not spoil the next.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runpod_flash.errors import BackendUnavailable

LIMIT = 8 * 1024**2
"""Size in bytes at which the file makes room for a new one. One old file is kept."""

_LOOK_S = 0.1  # how often a writer looks whether the file has grown too large or was replaced by another program
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Submission:
    """A call that was about to be submitted.

    Attributes:
        key: the idempotency key, under which the platform finds the job that it made.
        time: when, in seconds since the epoch.
        target: where to, as `Settings.target`.
        project: the folder in which the endpoint's name is unique.
        endpoint, endpoint_id: its name and its id on the platform.
        function: what was called, as messages name it.
        job_id: the job; "" where the program did not live to see the acknowledgement.
    """

    key: str
    time: float
    target: str
    project: str
    endpoint: str
    endpoint_id: str
    function: str
    job_id: str = ""


def path_of(home: Path) -> Path:
    """The journal below FLASH_HOME."""
    return home / "submitted.jsonl"


class Journal:
    """Writes the submissions of one program to one target and project. May be used from several threads and forks."""

    def __init__(self, home: Path, target: str, project: str, tell: Callable[[str], None]) -> None:
        """`tell` gets a message when the file cannot be written, which is no reason to fail a call."""
        self._path = path_of(home)
        self._always = {"target": target, "project": project}
        self._tell = tell
        self._file: int | None = None
        self._look_at = 0.0
        self._tails: dict[tuple[str, str, str], str] = {}  # what lines of one function have in common

    def submitting(self, key: str, endpoint: str, endpoint_id: str, function: str) -> None:
        """A call is about to be submitted with this key."""
        self.submitting_many([key], endpoint, endpoint_id, function)

    def submitting_many(self, keys: Iterable[str], endpoint: str, endpoint_id: str, function: str) -> None:
        """Calls of one function are about to be submitted with these keys: one write for all."""
        what = endpoint, endpoint_id, function
        if what not in self._tails:
            texts = {**self._always, "endpoint": endpoint, "endpoint_id": endpoint_id, "function": function}
            self._tails[what] = json.dumps(texts, separators=(",", ":"))[1:]
        rest = f',"time":{time.time():.6f},{self._tails[what]}\n'
        self._write("".join([f'\n{{"key":{_text(key)}{rest}' for key in keys]))

    def acknowledged(self, key: str, job_id: str) -> None:
        """The platform has the call as this job."""
        self.acknowledged_many([(key, job_id)])

    def acknowledged_many(self, jobs: Iterable[Sequence[str]]) -> None:
        """The platform has these calls: the key of each, and its job. One write for all."""
        self._write("".join([f'\n{{"key":{_text(key)},"job":{_text(job_id)}}}\n' for key, job_id in jobs]))

    def close(self) -> None:
        """Let go of the file; a later line opens it again."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _write(self, line: str) -> None:
        data = line.encode()
        try:
            now = time.monotonic()
            if self._file is None or now >= self._look_at:
                self._file = self._open()
                self._look_at = now + _LOOK_S
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._tell(
                f"{self._path} cannot be written ({error.strerror or error}); calls go on, but after a crash of this "
                "program recover() and `flash jobs attach --last` will not know of its jobs"
            )

    def _open(self) -> int:
        """The file to write to: not one that another program has moved away, nor one that is too large."""
        file = self._file
        if file is None or not _is_at(file, self._path):
            file = self._fresh(file)
        if os.fstat(file).st_size > LIMIT and _move_away(self._path):
            file = self._fresh(file)
        return file

    def _fresh(self, old: int | None) -> int:
        try:
            new = os.open(self._path, _FLAGS, 0o600)
        except FileNotFoundError:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = os.open(self._path, _FLAGS, 0o600)
        if old is None:
            return new
        os.dup2(new, old, inheritable=False)  # in one step: another thread may be writing to it
        os.close(new)
        return old


def read(home: Path) -> list[Submission]:
    """All submissions that are noted, of whatever program, the oldest first. Lines that are none are left out.

    Raises:
        BackendUnavailable: a file is there and cannot be read.
    """
    path, noted, jobs = path_of(home), dict[str, Submission](), dict[str, str]()
    new = _bytes(path)  # first: what is moved away meanwhile is then read twice, and not missed
    for line in _lines(_bytes(_old(path)) + b"\n" + new):
        key, job = line.get("key"), line.get("job")
        if not isinstance(key, str):
            continue
        if isinstance(job, str):
            jobs[key] = job
        elif (submission := _submission(key, line)) is not None:
            noted[key] = submission
    return [replace(each, job_id=jobs.get(key, "")) for key, each in noted.items()]


def _submission(key: str, line: dict[str, Any]) -> Submission | None:
    when = line.get("time")
    texts = [line.get(name) for name in ("target", "project", "endpoint", "endpoint_id", "function")]
    if not isinstance(when, float) or not math.isfinite(when) or not all(isinstance(text, str) for text in texts):
        return None
    return Submission(key, when, *map(str, texts))


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(line) if line.startswith(b"{") else None
            if isinstance(found, dict):
                yield found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise BackendUnavailable(
            f"{path}, which says what was submitted, cannot be read ({error.strerror or error}); make it readable, or "
            "set FLASH_HOME to the folder that the program had"
        ) from error


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one at this path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _move_away(path: Path) -> bool:
    """Make room for a new file; False where somebody else is doing it."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)  # opened anew: with a lock of its own, also between threads
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(file, path) and os.fstat(file).st_size > LIMIT:
            path.replace(_old(path))
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _text(text: str) -> str:
    """A key or id as JSON; those of ours need no escaping."""
    return f'"{text}"' if text.isascii() and text.replace("-", "").isalnum() else json.dumps(text)
