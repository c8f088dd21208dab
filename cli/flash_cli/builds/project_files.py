"""The files of a project that count: found by walking its folder, measured, and read by nothing else.

Links out of the project, sockets, pipes and what cannot be read are left out and named; nothing here waits for any.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flash_cli.builds.ignoring import Rule, Rules, rules
from runpod_flash.errors import ConfigError

MiB = 1024 * 1024
BIG_FILE = 10 * MiB
BIG_SUM = 100 * MiB
"""Data from which on it is warned of, in bytes: one file, all of an endpoint."""

SOURCE_LIMIT = 1 * MiB
"""The largest .py file that is looked at for endpoints, in bytes."""

FILES_LIMIT = 50_000
"""The most files that a project may have: whoever has more is in a folder that is no project."""

_MENTIONS = (b"runpod_flash", b"Endpoint")


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A file. `path`: relative to the project, as POSIX; `stamp`: differs when it was changed."""

    path: str
    file: Path
    size: int
    stamp: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that does not count. `path` of a folder ends in "/"."""

    path: str
    why: str
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that could not be used. `file` is relative to the project; `trace`: a traceback, or ""."""

    file: str
    message: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in a project's folder.

    Attributes:
        files: those that count, by path.
        left_out: those that do not, but for what is inside of folders among them.
        faults: .py files that should count and cannot be read.
        warnings: what people should know.
    """

    root: Path
    files: Mapping[str, ProjectFile]
    left_out: tuple[LeftOut, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]

    def why_left_out(self, path: str) -> LeftOut | None:
        """What leaves a path of the project out, or a folder that it lies in; None: nothing does."""
        parents = [path[: index + 1] for index, sign in enumerate(path) if sign == "/"]
        known = {each.path: each for each in self.left_out}
        return next((known[each] for each in (*parents, path) if each in known), None)

    def below(self, folder: str) -> Iterator[ProjectFile]:
        """The files in a folder of the project, or in one of its folders."""
        for path, each in self.files.items():
            if folder == "." or path.startswith(f"{folder}/"):
                yield each

    def candidates(self) -> tuple[list[str], list[Fault]]:
        """The .py files that mention endpoints, sorted, and those that cannot be looked at."""
        found, faults = [], list(self.faults)
        for path, each in sorted(self.files.items()):
            if not path.endswith(".py"):
                continue
            try:
                if _mentions_endpoints(each):
                    if each.size > SOURCE_LIMIT:
                        faults.append(Fault(path, _huge(each)))
                    else:
                        found.append(path)
            except OSError as error:
                faults.append(Fault(path, f"it cannot be read: {error.strerror or error}"))
        return found, faults


def listing(root: Path) -> Listing:
    """Walk a project's folder. Raises ConfigError where there is too much in it."""
    walk = _Walk(root)
    walk.run()
    secrets = sorted(each.path for each in walk.left_out if each.rule is not None and each.rule.is_secret)
    if secrets:
        shown = ", ".join(secrets[:5]) + (f" and {len(secrets) - 5} more" if len(secrets) > 5 else "")
        walk.warnings.append(
            f"left out because secrets may be in it: {shown}; to ship one, write !{secrets[0]} into .flashignore"
        )
    return Listing(root, walk.files, tuple(walk.left_out), tuple(walk.faults), tuple(walk.warnings))


@dataclass(slots=True)
class _Walk:
    """One walk through a folder."""

    root: Path
    files: dict[str, ProjectFile] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _real: Path = field(init=False)

    def __post_init__(self) -> None:
        self._real = self.root.resolve()

    def run(self) -> None:
        top = rules(self.root)
        self._folder(self.root, "", top.below(self.root, ""), (os.path.realpath(self.root),))
        self.warnings.extend(top.warnings)

    def _folder(self, folder: Path, place: str, holding: Rules, above: tuple[str, ...]) -> None:
        for entry in self._entries(folder, place):
            path = f"{place}/{entry.name}" if place else entry.name
            if not entry.name.isprintable() or "\\" in entry.name:
                self._skip(
                    path.encode("unicode_escape", "surrogateescape").decode(), "its name cannot travel", warn=True
                )
            elif os.path.isdir(entry.path):
                self._below(entry, path, holding, above)
            elif (rule := holding.decides(path)) is not None:
                self.left_out.append(LeftOut(path, str(rule), rule))
            else:
                self._file(entry, path)

    def _below(self, entry: os.DirEntry[str], path: str, holding: Rules, above: tuple[str, ...]) -> None:
        rule = holding.decides(path, folder=True)
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
        if rule is not None:
            self.left_out.append(LeftOut(path + "/", str(rule), rule))
        elif os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
            self.left_out.append(LeftOut(path + "/", "a virtual environment"))
        elif entry.is_symlink() and not Path(real).is_relative_to(self._real):
            self._skip(path + "/", "a link that leads out of the project", warn=True)
        elif real in above:
            self._skip(path + "/", "a link to a folder that it lies in")
        else:
            folder = Path(entry.path)
            self._folder(folder, path, holding.below(folder, path), (*above, real))

    def _file(self, entry: os.DirEntry[str], path: str) -> None:
        try:
            found = entry.stat(follow_symlinks=True)
        except OSError as error:
            self._skip(path, f"it cannot be looked at: {error.strerror or error}", warn=True)
            return
        if not stat.S_ISREG(found.st_mode):
            self._skip(path, "it is no file: a pipe, socket or device")
        elif entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(self._real):
            self._skip(path, "a link that leads out of the project", warn=True)
        elif not os.access(entry.path, os.R_OK):
            if path.endswith(".py"):
                self.faults.append(Fault(path, "it cannot be read: make it readable, or name it in .flashignore"))
            self._skip(path, "it cannot be read", warn=not path.endswith(".py"))
        else:
            if len(self.files) >= FILES_LIMIT:
                raise ConfigError(
                    f"{self.root} holds more than {FILES_LIMIT} files; go into the project's own folder, or name what "
                    "does not matter in .flashignore"
                )
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
            self.files[path] = ProjectFile(path, Path(entry.path), found.st_size, stamp)

    def _entries(self, folder: Path, place: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                yield from sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._skip(f"{place}/", f"the folder cannot be read: {error.strerror or error}", warn=True)

    def _skip(self, path: str, why: str, *, warn: bool = False) -> None:
        self.left_out.append(LeftOut(path, why))
        if warn:
            self.warnings.append(f"{path} is left out: {why}")


def _mentions_endpoints(found: ProjectFile) -> bool:
    before = b""
    with found.file.open("rb") as file:
        while chunk := file.read(MiB):
            if any(word in before + chunk for word in _MENTIONS):
                return True
            before = chunk[-max(map(len, _MENTIONS)) :]
    return False


def _huge(found: ProjectFile) -> str:
    return (
        f"it holds {found.size / MiB:.1f} MiB, and at most {SOURCE_LIMIT // MiB} MiB of source are read for endpoints; "
        "move its data into a file of its own, or name it in .flashignore"
    )
