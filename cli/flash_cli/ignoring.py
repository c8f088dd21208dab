"""Which files of a project count: .gitignore and .flashignore at every level, by git's own rules.

The last rule that fits decides. In this order come: what is left out unless somebody says otherwise, .gitignore
files from the top down, .flashignore files from the top down. A line with `!` takes a file
back in; as with git, not one in a folder that is left out: take the folder back in first.
"""

import os
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
class _Compiled:
    rule: Rule
    pattern: GitIgnoreSpecPattern


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in one folder: defaults, and the lines of files by the places of those, from the top down."""

    usual: tuple[_Compiled, ...]
    gits: tuple[tuple[str, tuple[_Compiled, ...]], ...] = ()
    flashes: tuple[tuple[str, tuple[_Compiled, ...]], ...] = ()
    warnings: list[str] = field(default_factory=list)

    def below(self, folder: Path, place: str) -> "Rules":
        """The rules in `folder`, which lies at `place` (relative to the project, "" for it): with its own files."""
        git, flash = (self._read(folder, place, name) for name in (GITIGNORE, FLASHIGNORE))
        if not git and not flash:
            return self
        return Rules(
            self.usual,
            (*self.gits, (place, git)) if git else self.gits,
            (*self.flashes, (place, flash)) if flash else self.flashes,
            self.warnings,
        )

    def decides(self, path: str, *, folder: bool = False) -> Rule | None:
        """The rule that leaves a path out, relative to the project; None: it stays."""
        for place, group in (*reversed(self.flashes), *reversed(self.gits), ("", self.usual)):
            found = _last(group, _inside(path, place) + ("/" if folder else ""))
            if found is not None:
                return found.rule if found.pattern.include else None
        return None

    def default_for(self, path: str) -> Rule | None:
        """The rule that leaves a path out, or a folder that it lies in, where no file of the user's is asked."""
        parents = [path[: index + 1] for index, sign in enumerate(path) if sign == "/"]
        for each in (*parents, path):
            found = _last(self.usual, each)
            if found is not None and found.pattern.include:
                return found.rule
        return None

    def _read(self, folder: Path, place: str, name: str) -> tuple[_Compiled, ...]:
        source = f"{place}/{name}" if place else name
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace") if (folder / name).is_file() else ""
        except OSError as error:
            self.warnings.append(f"{source} cannot be read ({error.strerror}), so it has no effect")
            return ()
        found: list[_Compiled] = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                found.extend(_compiled([line], source, number))
            except ValueError:
                self.warnings.append(f"{source} line {number} is no pattern of git's and has no effect: {line:.80}")
        return tuple(found)


def rules(root: Path) -> Rules:
    """The rules for a project: defaults, and .gitignore files above it in the same repository."""
    usual = (*_compiled(SECRETS, _SECRET_SOURCE), *_compiled(USUAL, _USUAL_SOURCE))
    found = Rules(usual)
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)
    above = [folder for folder in reversed(root.parents) if folder.is_relative_to(top)]
    gits = []
    for folder in above:
        place = os.path.relpath(folder, root)
        if own := found._read(folder, place, GITIGNORE):
            gits.append((f"^{root.relative_to(folder).as_posix()}", own))
    return Rules(usual, tuple(gits), (), found.warnings)


def _compiled(lines: Iterable[str], source: str, number: int = 0) -> Iterator[_Compiled]:
    for line in lines:
        pattern = GitIgnoreSpecPattern(line)
        if pattern.include is not None:
            yield _Compiled(Rule(source, number, line.strip()), pattern)


def _last(group: tuple[_Compiled, ...], path: str) -> _Compiled | None:
    return next((each for each in reversed(group) if each.pattern.match_file(path) is not None), None)


def _inside(path: str, place: str) -> str:
    """A path of the project as a file at `place` sees it; "^above/project" stands for a folder above the project."""
    if place.startswith("^"):
        return f"{place[1:]}/{path}"
    return path[len(place) + 1 :] if place else path
