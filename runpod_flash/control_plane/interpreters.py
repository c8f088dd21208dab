"""What an interpreter of this machine can import already: its version and the packages on its path."""

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from worker_runtime.commands import run_command
from worker_runtime.install import InstallFailed

# Runs in the foreign interpreter. Metadata is cut at the first empty line: what follows is the description.
_QUESTION = """
import importlib.metadata, json, sys
path = [entry for entry in sys.path if entry]
packages = []
for found in importlib.metadata.distributions(path=path):
    header = (found.read_text("METADATA") or "").split("\\n\\n")[0]
    if not header and found.metadata:  # an egg
        header = (found.read_text("PKG-INFO") or "").split("\\n\\n")[0]
        header += "".join("\\nRequires-Dist: " + text for text in found.requires or ())
    packages.append((header, found.read_text("direct_url.json")))
version = list(sys.version_info[:3])
json.dump({"version": version, "prefix": sys.prefix, "path": path, "packages": packages}, sys.stdout)
"""

KEPT = "interpreters"
"""The folder of answers, below that of environments."""

_SEEDS = ("pip", "setuptools", "wheel")  # nobody chose their versions: torch wants another setuptools than venvs bring


@dataclass(frozen=True, slots=True)
class Installed:
    """A package that an interpreter can import. `header` is the head of its metadata, `origin` its direct_url.json."""

    name: str
    version: str
    header: str = field(repr=False)
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter and its packages. `digest` changes with the interpreter and with any package or version."""

    path: str
    version: str  # "3.11.7"
    prefix: str
    packages: tuple[Installed, ...] = field(repr=False)
    digest: str

    @property
    def minor(self) -> str:
        """The version as "major.minor"."""
        return self.version.rpartition(".")[0]

    def pins(self) -> list[str]:
        """Constraints that hold each package at its version, but for those that came with the virtual environment."""
        return [f"{package.name}=={package.version}" for package in self.packages if package.name not in _SEEDS]

    def write_metadata(self, folder: Path) -> None:
        """Write the packages' metadata as if they were installed in `folder`.

        A resolver that looks there sees all that the interpreter can import, system and user packages included (uv by
        itself sees a part of them), and has no need to touch the interpreter's own folders.
        """
        for package in self.packages:
            info = folder / f"{package.name.replace('-', '_')}-{package.version}.dist-info"
            info.mkdir(parents=True, exist_ok=True)
            (info / "METADATA").write_text(package.header + "\n\n", encoding="utf-8")
            if package.origin is not None:
                (info / "direct_url.json").write_text(package.origin, encoding="utf-8")

    def bin_folders(self) -> tuple[str, ...]:
        """The folder of its commands, where it is a virtual environment or conda's; a system's is on the PATH."""
        own = any((Path(self.prefix) / name).exists() for name in ("pyvenv.cfg", "conda-meta"))
        return (str(Path(self.prefix) / "bin"),) if own else ()


def ask_ahead(python: str, base_env: Mapping[str, str], environments: Path) -> None:
    """Ask an interpreter, and leave the answer where an `Interpreters` of these environments finds it when it asks.

    Blocks for as long as that takes. Says nothing where it fails: whoever needs the answer asks again.
    """
    with contextlib.suppress(InstallFailed, OSError):
        asyncio.run(Interpreters(base_env, environments / KEPT).inspect(python))


class Interpreters:
    """Asks interpreters, and again only after something on their path has changed."""

    def __init__(self, base_env: Mapping[str, str], folder: Path | None = None) -> None:
        """`base_env`: the environment that interpreters are asked in; `folder`: where their answers are kept."""
        self._folder = folder
        self._env = {name: value for name, value in base_env.items() if not name.startswith("PYTHON")}
        self._known: dict[str, tuple[Interpreter, tuple[str, ...], tuple[int, ...]]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def inspect(self, python: str) -> Interpreter:
        """Describe the interpreter at the path `python`. Raises InstallFailed where it cannot be run."""
        if (known := self.unchanged(python)) is not None:
            return known
        async with self._locks[python]:
            if (known := self.unchanged(python)) is not None:
                return known
            return await self._ask(python)

    def unchanged(self, python: str) -> Interpreter | None:
        """The interpreter as it was described last; None where it must be asked."""
        known = self._known.get(python)
        return known[0] if known is not None and _marks(known[1]) == known[2] else None

    async def _ask(self, python: str) -> Interpreter:
        if (kept := self._kept(python)) is not None:
            return kept
        asked_at, mark = time.time_ns(), _marks((python,))
        try:
            result = await run_command([python, "-B", "-c", _QUESTION], env=self._env)
        except OSError as error:
            raise InstallFailed(_unusable(python, error.strerror or str(error)), holds_s=0) from None
        if result.status != 0:
            raise InstallFailed(
                _unusable(python, result.stderr.strip()[-2000:] or f"status {result.status}"), holds_s=0
            )
        answer = json.loads(result.stdout[result.stdout.index('{"version"') :])
        watched = (python, os.path.join(answer["prefix"], "pyvenv.cfg"), *answer["path"])
        # What changed while it was asked does not count as seen.
        marks = tuple(0 if changed_at >= asked_at else changed_at for changed_at in _marks(watched))
        interpreter = _interpreter(python, mark, answer)
        self._known[python] = (interpreter, watched, marks)
        self._keep(python, mark, answer, watched, marks)
        return interpreter

    # ---- what an earlier control plane has heard: asking takes as long as starting a worker

    def _keep(
        self, python: str, mark: tuple[int, ...], answer: Any, watched: tuple[str, ...], marks: tuple[int, ...]
    ) -> None:
        if self._folder is None or 0 in marks[:1]:
            return
        kept = {"mark": mark, "answer": answer, "watched": watched, "marks": marks}
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._file(self._folder, python)
            part = file.with_name(f"{file.name}.{os.getpid()}")
            part.write_text(json.dumps(kept), encoding="utf-8")
            part.replace(file)

    def _kept(self, python: str) -> Interpreter | None:
        if self._folder is None:
            return None
        try:
            kept = json.loads(self._file(self._folder, python).read_text(encoding="utf-8"))
            mark, watched, marks = (tuple(kept[name]) for name in ("mark", "watched", "marks"))
            if _marks(watched) != marks:
                return None
            interpreter = _interpreter(python, mark, kept["answer"])
        except (OSError, ValueError, KeyError, TypeError, AssertionError):  # none, or of another form
            return None
        self._known[python] = (interpreter, watched, marks)
        return interpreter

    def _file(self, folder: Path, python: str) -> Path:
        """Named by all that the answer depends on beside the interpreter's files."""
        asked = json.dumps([_QUESTION, python, sorted(self._env.items())])
        return folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.json"


def _interpreter(python: str, marks: tuple[int, ...], answer: Mapping[str, object]) -> Interpreter:
    version, packages = answer["version"], answer["packages"]
    assert isinstance(version, list)
    assert isinstance(packages, list)
    found: dict[str, Installed] = {}
    for header, origin in packages:
        package = _installed(header, origin)
        if package is not None:
            found.setdefault(package.name, package)  # the first on the path is the one that is imported
    installed = tuple(sorted(found.values(), key=lambda package: package.name))
    text = ".".join(map(str, version))
    content = [python, text, marks, [(package.name, package.version, package.origin) for package in installed]]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return Interpreter(python, text, str(answer["prefix"]), installed, digest)


def _installed(header: str, origin: str | None) -> Installed | None:
    """None for what has no name or no version that a resolver understands: left-overs and relics."""
    fields: dict[str, str] = {}
    for line in header.splitlines():
        name, _, value = line.partition(": ")
        fields.setdefault(name.lower(), value.strip())
    name, version = fields.get("name", ""), fields.get("version", "")
    try:
        normal = str(Version(version))
    except InvalidVersion:
        return None
    return Installed(canonicalize_name(name), normal, header, origin) if name else None


def _marks(paths: tuple[str, ...]) -> tuple[int, ...]:
    """When each path was last changed, in nanoseconds; 0: it is not there."""
    marks = []
    for path in paths:
        try:
            marks.append(os.stat(path).st_mtime_ns)
        except OSError:
            marks.append(0)
    return tuple(marks)


def _unusable(python: str, reason: str) -> str:
    return f"the interpreter {python} cannot be run: {reason}. If its environment was moved or removed, start again"
