"""Lines of a lock: each names one package exactly, with the hashes of its files where an index has them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from worker_runtime.wire.errors import WireError

_LINE = re.compile(
    r"(?P<requirement>(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?"
    r"(?: *== *[^\s;,*@]+| *@ +(?P<place>[^\s-]\S*))(?: *;(?:(?! -)[^#])+?)?)"
    r"(?P<hashes>(?: +--hash=sha(?:256|384|512):[0-9a-f]{64,128})*)"
)


@dataclass(frozen=True, slots=True)
class LockLine:
    """A package of a lock.

    Attributes:
        name: of the package, as it is written.
        requirement: "name==version" or "name @ URL", with its marker where it has one.
        hashes: the installer's options, `--hash=sha256:…` each. Empty for a repository, which has none.
        place: the URL, else None.
    """

    name: str
    requirement: str
    hashes: tuple[str, ...] = ()
    place: str | None = None

    @classmethod
    def of(cls, text: str) -> "LockLine":
        """Read a line. Raises WireError for what is not exact, or asks an installer for more than a package."""
        match = _LINE.fullmatch(text.strip())
        if match is None or "${" in text or not match[0].isprintable():  # some installers have many ends of lines
            raise WireError(
                f"{text!r:.200} is no line of a lock; it must be 'name==version --hash=sha256:…' or 'name @ URL'"
            )
        line = cls(match["name"], match["requirement"], tuple(match["hashes"].split()), match["place"])
        if line.place is None and not line.hashes:
            raise WireError(f"{text!r:.200} of the lock has no hash; add --hash=sha256:…, or build the lock anew")
        return line

    def __str__(self) -> str:
        return " ".join((self.requirement, *self.hashes))


def checked(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines as they are. Raises WireError, which names the first that is none of a lock."""
    return tuple(str(LockLine.of(line)) for line in lines)
