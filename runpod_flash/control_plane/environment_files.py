"""How environments lie on disk, so that a crash at any moment leaves nothing that looks whole and is not.

    environments/
        requests/<request key>.json          which environment answers a request
        built/<environment key>-<random>/    overlay/ or venv/, and complete.json, written last
        locks/                               locks across processes
        work/                                files that uv reads
        cache/                               uv's cache, where it can have no other
        pythons/                             interpreters that were downloaded
        interpreters/                        what interpreters have said of themselves

A folder of `built` is never taken over from a process that died: its installer may still be writing there.
"""

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker_runtime.commands import file_lock

LEFT_OVER_S = 2 * 3600.0
"""Seconds after which files of a process that died are removed."""

_DIGITS = 32  # of a key in a file's name
_MARK = "complete.json"


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter with what a request asked for.

    Attributes:
        key: names the environment: interpreter, the caller's packages, what was installed beside them.
        python: the interpreter that runs user code.
        overlay: folder of packages to lay in front of the interpreter's own, or None.
        notices: lines to say once to the caller.
        path_entries: folders of commands, to be put in front of PATH.
        packages: how many packages were installed for it.
    """

    key: str
    python: str
    overlay: str | None = None
    notices: tuple[str, ...] = ()
    path_entries: tuple[str, ...] = ()
    packages: int = 0

    @property
    def whole(self) -> bool:
        """Whether its files are (still) there."""
        return os.path.exists(self.python) and (self.overlay is None or os.path.isdir(self.overlay))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got: the environment, and the system packages that it needs besides."""

    environment: Environment
    system: tuple[str, ...] = ()


class EnvironmentFiles:
    """Reads and writes the folder of environments. `prepare` comes before anything that writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self._answers: dict[str, Answer] = {}

    def prepare(self) -> None:
        """Make the folders; remove what dead processes left among the working files. Raises OSError."""
        for name in ("requests", "built", "locks", "work"):
            (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in (self.folder / "work").iterdir():
            if time.time() - left.stat().st_mtime > LEFT_OVER_S:
                shutil.rmtree(left, ignore_errors=True)

    def lock(self, name: str) -> AbstractAsyncContextManager[None]:
        """An exclusive lock among all processes that use this folder."""
        return file_lock(self.folder / "locks" / f"{name[:_DIGITS]}.lock")

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """A private folder for the time of one build."""
        with tempfile.TemporaryDirectory(dir=self.folder / "work", ignore_cleanup_errors=True) as folder:
            yield Path(folder).resolve()

    def answer(self, request_key: str) -> Answer | None:
        """What a request with this key got, if that is still whole."""
        known = self._answers.get(request_key)
        if known is None:
            data = _read(self._answer_file(request_key))
            known = _answer(data) if data is not None else None
        if known is None or not known.environment.whole:
            self._answers.pop(request_key, None)
            return None
        self._answers[request_key] = known
        return known

    def record(self, request_key: str, answer: Answer) -> None:
        """Remember what a request with this key got. Raises OSError."""
        _write(self._answer_file(request_key), asdict(answer))
        self._answers[request_key] = answer

    def built(self, environment_key: str) -> Environment | None:
        """The whole environment with this key, whoever built it."""
        for folder in self._folders(environment_key):
            data = _read(folder / _MARK)
            environment = _environment(data) if data is not None else None
            if environment is not None and environment.whole:
                return environment
        return None

    def clear(self, environment_key: str) -> None:
        """Remove half-built folders of this environment; call it with its lock held and no whole one there."""
        for folder in self._folders(environment_key):
            shutil.rmtree(folder, ignore_errors=True)

    def new(self, environment_key: str) -> Path:
        """Make an empty folder to build this environment in. Raises OSError."""
        folder = self.folder / "built" / f"{environment_key[:_DIGITS]}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        return folder.absolute()

    def complete(self, folder: Path, environment: Environment, contents: tuple[str, ...]) -> None:
        """Mark the environment in `folder` as whole; `contents` is for people who look. Raises OSError."""
        _write(folder / _MARK, {**asdict(environment), "contents": contents})

    def _folders(self, environment_key: str) -> list[Path]:
        return sorted((self.folder / "built").glob(f"{environment_key[:_DIGITS]}-*"))

    def _answer_file(self, request_key: str) -> Path:
        return self.folder / "requests" / f"{request_key}.json"


def _answer(data: Mapping[str, Any]) -> Answer | None:
    environment = _environment(data.get("environment"))
    return None if environment is None else Answer(environment, tuple(data.get("system", ())))


def _environment(data: Any) -> Environment | None:
    """None for what this version did not write."""
    try:
        return Environment(
            key=data["key"],
            python=data["python"],
            overlay=data["overlay"],
            notices=tuple(data["notices"]),
            path_entries=tuple(data["path_entries"]),
            packages=data["packages"],
        )
    except (KeyError, TypeError):
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _write(path: Path, data: Mapping[str, Any]) -> None:
    """Write all or nothing."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(json.dumps(data, indent=1), encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
