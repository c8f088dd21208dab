"""requirements.txt of a project, as pip reads it: comments, continued lines, `-r`, markers, variables."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from runpod_flash.errors import ConfigError

NAME = "requirements.txt"

OURS = "runpod-flash"
"""Workers bring it along; a requirement for it means the user's own machine."""

_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_COMMENT = re.compile(r"(^|\s+)#.*$")
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:\s+|=)?(?P<file>.+)")


@dataclass(frozen=True, slots=True)
class Line:
    """A requirement and where it stands: "requirements.txt line 3"."""

    text: str
    place: str

    @property
    def name(self) -> str:
        """The package, as all ways to write it are one."""
        return package_name(self.text)


def read(root: Path, environ: Mapping[str, str]) -> tuple[Line, ...]:
    """The requirements of a project's requirements.txt and the files that it names; none where there is no such file.

    Requirements for this package itself are left out.

    Raises:
        ConfigError: a line is no requirement, or an option that cannot be kept; the message names file and line.
    """
    file = root / NAME
    found = _lines(file, root, environ, ()) if file.is_file() else ()
    return tuple(each for each in found if each.name != OURS)


def package_name(requirement: str) -> str:
    """The name of the package that a requirement is for, as all ways to write it are one."""
    return canonical(Requirement(requirement).name)


def canonical(name: str) -> str:
    """The name of a package, as all ways to write it are one."""
    return str(canonicalize_name(name))


def _lines(file: Path, root: Path, environ: Mapping[str, str], above: tuple[Path, ...]) -> Iterator[Line]:
    shown = file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)
    if file in above:
        raise ConfigError(f"{shown} includes itself by -r; take one of the two lines out")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{shown} cannot be read: {error}; make it readable UTF-8 text") from error
    for number, line in _joined(text):
        line = _VARIABLE.sub(lambda found: environ.get(found.group(1)) or found.group(0), line)
        if include := _INCLUDE.fullmatch(line):
            yield from _lines(_resolved(file.parent / include["file"]), root, environ, (*above, file))
        else:
            yield _checked(line, f"{shown} line {number}")


def _resolved(file: Path) -> Path:
    """Without its "..", so that a file is known again."""
    return Path(file.parent.resolve() / file.name)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Lines with what they are continued by, without comments, each with the number of its first line."""
    first, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        first = first if parts else number
        if line.endswith("\\") and not _COMMENT.match(line):
            parts.append(line[:-1])
            continue
        whole = _COMMENT.sub("", "".join([*parts, line])).strip()
        parts = []
        if whole:
            yield first, whole
    if whole := "".join(parts).strip():
        yield first, whole


def _checked(line: str, place: str) -> Line:
    if line.startswith("-"):
        option = line.split()[0].partition("=")[0]
        why = {
            "-e": "an editable package lies in a folder of this machine, which workers do not have; put its modules "
            "into the project, or name the package",
            "--editable": "as -e: workers do not have your folders",
            "-c": "write the bounds into the requirements themselves",
            "--constraint": "write the bounds into the requirements themselves",
        }.get(option, "where packages come from is read from pip's own configuration (pip.conf, PIP_INDEX_URL …)")
        raise ConfigError(f"{place}: the option {option} cannot be kept when code is deployed: {why}")
    text = re.split(r"\s+--(?:hash|config-settings|global-option)\b", line, maxsplit=1)[0].strip()
    try:
        Requirement(text)
    except InvalidRequirement as error:
        hint = ""
        if "://" in text:
            hint = f"; name the package in front of its URL: 'name @ {text}'"
        elif "/" in text or text.startswith("."):
            hint = "; a folder or file of this machine is not there on the workers"
        raise ConfigError(f"{place}: {text!r:.200} is no requirement: {str(error).splitlines()[0]}{hint}") from None
    return Line(text, place)
