"""Which files of a project count: .gitignore and .flashignore at every level, by git's own rules.

The last line that fits decides, .gitignore files from the top down and then .flashignore files. A line with `!` takes a
file back in; as with git, not one in a folder that is left out: take the folder back in first. What no line names is
left out where it is of no use on a worker, or may hold secrets; a line with `!` takes such files back in when it names
them, not when they are among all that its wildcards fit.
"""

import contextlib
import functools
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

GITIGNORE, FLASHIGNORE = ".gitignore", ".flashignore"

USUAL = (
    ".hg/", ".svn/", ".runpod/", ".build/", "build/", "dist/", "*.egg-info/", "*.tar.gz",
    "__pycache__/", "*.pyc", "*.pyo", "*.pyd", ".venv/", "venv/", "env/", "node_modules/", ".tox/", ".nox/",
    ".mypy_cache/", ".ruff_cache/", ".pytest_cache/", ".hypothesis/", ".ipynb_checkpoints/", ".vscode/", ".idea/",
    ".DS_Store", ".github/", ".gitlab-ci.yml", ".gitignore", ".gitattributes", ".flashignore", ".dockerignore",
    ".pre-commit-config.yaml", ".env", ".env.local", ".env.example", "tests/", "test_*.py", "*_test.py", "conftest.py",
    "docs/", "*.ipynb", "/README*", "/CHANGELOG*", "/CONTRIBUTING*", "/LICENSE*", "/AGENTS.md", "/CLAUDE.md",
    "/Makefile", "/setup.py", "/setup.cfg", "/pyproject.toml", "/requirements*.txt", "/flash.lock", "/uv.lock",
    "/poetry.lock", "/pdm.lock",
)  # fmt: skip
"""Left out without a word, as no function reads it while it runs."""

SECRETS = (
    ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "id_rsa*",
    "id_dsa*", "id_ecdsa*", "id_ed25519*", "credentials*.json", "client_secret*.json", "service-account*.json",
    "service_account*.json", ".netrc", "_netrc", ".pypirc", ".npmrc", ".git-credentials", ".htpasswd", ".aws/", ".ssh/",
    ".kube/", ".gnupg/", "secrets.json", "secrets.yaml", "secrets.yml", "secrets.toml",
)  # fmt: skip
"""Left out and named: who wants to ship one says so."""

NEVER = (".git", ".flash")
"""What nobody takes back in."""

_FOLDER = "ps_d"  # in the expressions of pathspec
_GROUP_NAME = re.compile(r"\(\?P<\w+>")  # which may be in an expression once
_USUAL_SOURCE, _SECRET_SOURCE = "left out by default", "may hold secrets"


@dataclass(frozen=True, slots=True)
class Rule:
    """A line that decides about files. `source`: the file that it stands in, relative to the project."""

    source: str
    line: int
    pattern: str

    @property
    def is_default(self) -> bool:
        """Whether it stands in no file of the user's."""
        return self.source in (_USUAL_SOURCE, _SECRET_SOURCE)

    @property
    def is_secret(self) -> bool:
        """Whether it is about files that may hold secrets."""
        return self.source == _SECRET_SOURCE

    @property
    def is_flashignore(self) -> bool:
        return self.source.endswith(FLASHIGNORE)

    def __str__(self) -> str:
        return (
            f"{self.source}: {self.pattern}" if self.is_default else f"{self.source} line {self.line}: {self.pattern}"
        )


@dataclass(frozen=True, slots=True)
class _Line:
    rule: Rule
    leaves_out: bool
    regex: re.Pattern[str]

    def fits(self, path: str) -> bool:
        """Whether it is about this very path, and not only about a folder that the path lies in."""
        of_folder = _FOLDER in self.regex.groupindex  # the sign "/" behind what is named
        if not self.regex.pattern.startswith("^"):  # *, **, or all folders
            return not of_folder or path.endswith("/")
        found = self.regex.match(path)
        if found is None:
            return False
        if of_folder:
            return found.end(_FOLDER) in (-1, len(path))
        return found.end() < len(path)  # a/**: what is in the folder, not the folder

    def takes_back(self, rule: Rule) -> bool:
        """Whether it means what a default leaves out: it names that, or is the same with a `!`."""
        own = self.rule.pattern.removeprefix("!")
        return own == rule.pattern or not any(sign in own for sign in "*?[")


class _Group:
    """The lines of one file, or the defaults.

    Args:
        lines: from the top down.
        cut: how much of a path, relative to the project, the file does not see: it lies in a folder there.
        above: what it sees in front of such a path: it lies above the project.
    """

    def __init__(self, lines: Iterable[_Line], cut: int = 0, above: str = "") -> None:
        self._lines = tuple(lines)
        self._cut, self._above = cut, above
        texts = (_GROUP_NAME.sub("(", line.regex.pattern) for line in self._lines)
        with _quiet():
            self._any = re.compile("|".join(f"(?:{text})" for text in texts))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def last(self, path: str) -> _Line | None:
        """The last line that fits a path relative to the project; folders end in "/"."""
        seen = self._above + path[self._cut :]
        if not self._any.search(seen):
            return None
        return next((line for line in reversed(self._lines) if line.fits(seen)), None)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in one folder: defaults, and the lines of files, from the top down."""

    usual: _Group
    gits: tuple[_Group, ...] = ()
    flashes: tuple[_Group, ...] = ()
    warnings: list[str] = field(default_factory=list)

    def below(self, folder: Path, place: str) -> "Rules":
        """The rules in `folder`, which lies at `place` (relative to the project, "" for it): with its own files."""
        cut = len(place) + 1 if place else 0
        git, flash = (_Group(_read(folder, place, name, self.warnings), cut) for name in (GITIGNORE, FLASHIGNORE))
        if not git and not flash:
            return self
        return Rules(
            self.usual,
            (*self.gits, git) if git else self.gits,
            (*self.flashes, flash) if flash else self.flashes,
            self.warnings,
        )

    def decides(self, path: str, *, folder: bool = False) -> Rule | None:
        """The rule that leaves a path out, relative to the project; None: it stays."""
        seen = f"{path}/" if folder else path
        if path.rpartition("/")[2] in NEVER:
            return Rule(_USUAL_SOURCE, 0, path.rpartition("/")[2])
        said = next(
            (found for each in (*reversed(self.flashes), *reversed(self.gits)) if (found := each.last(seen))), None
        )
        if said is not None and said.leaves_out:
            return said.rule
        usual = self.usual.last(seen)
        if usual is None or (said is not None and said.takes_back(usual.rule)):
            return None
        return usual.rule

    def default_for(self, path: str) -> Rule | None:
        """The rule that leaves a path out, or a folder that it lies in, where no file of the user's is asked."""
        parents = [path[: index + 1] for index, sign in enumerate(path) if sign == "/"]
        for each in (*parents, path):
            found = self.usual.last(each)
            if found is not None:
                return found.rule
        return None


def rules(root: Path) -> Rules:
    """The rules for a project: defaults, and .gitignore files above it in the same repository."""
    told: list[str] = []
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    gits = []
    for folder in reversed(root.parents):
        if folder.is_relative_to(top):
            lines = _read(folder, os.path.relpath(folder, root), GITIGNORE, told)
            gits.append(_Group(lines, above=f"{root.relative_to(folder).as_posix()}/"))
    return Rules(_defaults(), tuple(group for group in gits if group), (), told)


@functools.cache
def _defaults() -> _Group:
    return _Group((*_compiled(SECRETS, _SECRET_SOURCE), *_compiled(USUAL, _USUAL_SOURCE)))


def _read(folder: Path, place: str, name: str, told: list[str]) -> list[_Line]:
    """The lines of a file in a folder, none where there is no such file; `told` gets what is wrong with it."""
    source, file = f"{place}/{name}" if place else name, folder / name
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError as error:
        told.append(f"{source} cannot be read ({error.strerror}), so it has no effect")
        return []
    found: list[_Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.extend(_compiled([line], source, number))
        except ValueError:
            told.append(f"{source} line {number} is no pattern of git's and has no effect: {line:.80}")
    return found


def _compiled(lines: Iterable[str], source: str, number: int = 0) -> Iterator[_Line]:
    for line in lines:
        with _quiet():
            pattern = GitIgnoreSpecPattern(line)
        if pattern.include is not None and pattern.regex is not None:
            yield _Line(Rule(source, number, line.strip()), pattern.include, pattern.regex)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Python's remarks about expressions: patterns are what users write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
