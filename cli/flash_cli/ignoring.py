"""Which files of a project count: .gitignore and .flashignore at every level, by git's own rules.

The last rule that fits decides. In this order come: what is left out unless somebody says otherwise, .gitignore
files from the top down, .flashignore files from the top down. A line with `!` takes a file
back in; as with git, not one in a folder that is left out: take the folder back in first.
"""

import functools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

GITIGNORE, FLASHIGNORE = ".gitignore", ".flashignore"

USUAL = (
    ".git", ".hg/", ".svn/", ".flash/", ".runpod/", ".build/", "build/", "dist/", "*.egg-info/", "*.tar.gz",
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
    pattern: GitIgnoreSpecPattern


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
        texts = (str(line.pattern.regex.pattern) for line in self._lines if line.pattern.regex is not None)
        self._any = re.compile("|".join(f"(?:{_GROUP_NAME.sub('(', text)})" for text in texts))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def last(self, path: str) -> _Line | None:
        """The last line that fits a path relative to the project; folders end in "/"."""
        seen = self._above + path[self._cut :]
        if not self._any.search(seen):
            return None
        return next((line for line in reversed(self._lines) if line.pattern.match_file(seen) is not None), None)


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
        for group in (*reversed(self.flashes), *reversed(self.gits), self.usual):
            found = group.last(f"{path}/" if folder else path)
            if found is not None:
                return found.rule if found.pattern.include else None
        return None

    def default_for(self, path: str) -> Rule | None:
        """The rule that leaves a path out, or a folder that it lies in, where no file of the user's is asked."""
        parents = [path[: index + 1] for index, sign in enumerate(path) if sign == "/"]
        for each in (*parents, path):
            found = self.usual.last(each)
            if found is not None and found.pattern.include:
                return found.rule
        return None


def rules(root: Path) -> Rules:
    """The rules for a project: defaults, and .gitignore files above it in the same repository."""
    warnings: list[str] = []
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    gits = []
    for folder in reversed(root.parents):
        if folder.is_relative_to(top):
            lines = _read(folder, os.path.relpath(folder, root), GITIGNORE, warnings)
            gits.append(_Group(lines, above=f"{root.relative_to(folder).as_posix()}/"))
    return Rules(_defaults(), tuple(group for group in gits if group), (), warnings)


@functools.cache
def _defaults() -> _Group:
    return _Group((*_compiled(SECRETS, _SECRET_SOURCE), *_compiled(USUAL, _USUAL_SOURCE)))


def _read(folder: Path, place: str, name: str, warnings: list[str]) -> list[_Line]:
    """The lines of a file in a folder, none where there is no such file; `warnings` gets what is wrong with it."""
    source, file = f"{place}/{name}" if place else name, folder / name
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError as error:
        warnings.append(f"{source} cannot be read ({error.strerror}), so it has no effect")
        return []
    found: list[_Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.extend(_compiled([line], source, number))
        except ValueError:
            warnings.append(f"{source} line {number} is no pattern of git's and has no effect: {line:.80}")
    return found


def _compiled(lines: Iterable[str], source: str, number: int = 0) -> Iterator[_Line]:
    for line in lines:
        pattern = GitIgnoreSpecPattern(line)
        if pattern.include is not None:
            yield _Line(Rule(source, number, line.strip()), pattern)
