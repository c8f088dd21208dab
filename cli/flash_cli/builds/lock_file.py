"""`flash.lock` in a project: the lock of each endpoint, kept in version control beside the code.

[infer, model]
# these packages and what they need, for Python 3.12 on …     the text that `locking.lock` gives
numpy==2.1.0 --hash=sha256:…
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from flash_cli.builds import locking, packing
from flash_cli.builds.locking import LockOptions
from runpod_flash.errors import ConfigError, InstallError

NAME = "flash.lock"

_HEAD = "# Made by flash build: what is installed for each endpoint. Keep it in version control.\n"
_SECTION = re.compile(r"\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be locked for an endpoint."""

    requirements: tuple[str, ...]
    python: str


@dataclass(frozen=True, slots=True)
class LockFile:
    """The locks of a project's endpoints, by their names."""

    locks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> "LockFile":
        """The one in a project's folder; an empty one where there is none.

        Raises:
            ConfigError: it is no such file.
        """
        file = root / NAME
        try:
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read ({error}); mend or delete it, then it is made anew") from error
        names: list[str] = []
        lines: dict[str, list[str]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if section := _SECTION.fullmatch(line):
                names = [name.strip() for name in section[1].split(",")]
                lines.update((name, []) for name in names)
            elif line.strip() and names:
                for name in names:
                    lines[name].append(line)
            elif line.strip() and not line.startswith("#"):
                what = f"{file} line {number} belongs to no endpoint: {line:.60}"
                raise ConfigError(f"{what}; delete the file, then it is made anew")
        return cls({name: "".join(f"{line}\n" for line in found) for name, found in lines.items()})

    def text(self) -> str:
        """What stands in the file: equal locks once."""
        groups: dict[str, list[str]] = {}
        for name, lock in sorted(self.locks.items()):
            if lock:
                groups.setdefault(lock, []).append(name)
        return _HEAD + "".join(f"\n[{', '.join(names)}]\n{lock}" for lock, names in groups.items())

    def write(self, root: Path) -> None:
        """Bring it into the project's folder, unless it is there as it is. Raises ShippingError."""
        file, text = root / NAME, self.text()
        if not any(self.locks.values()) and not file.exists():
            return
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            packing.write(file, text.encode(), mode=0o644)


async def locked(known: LockFile, wanted: Mapping[str, Wanted], options: LockOptions) -> LockFile:
    """The locks of endpoints; what can keeps its version. Those of others that are known stay.

    Raises:
        ConfigError: a requirement is none.
        InstallError: requirements have no solution; with the endpoints' names and the resolver's words.
    """
    groups: dict[Wanted, list[str]] = {}
    for name, each in wanted.items():
        groups.setdefault(replace(each, requirements=tuple(sorted(set(each.requirements)))), []).append(name)
    made: dict[str, str] = {}

    async def lock(each: Wanted, names: list[str]) -> None:
        before = next((known.locks[name] for name in names if known.locks.get(name)), "")
        try:
            text = await locking.lock(each.requirements, each.python, replace(options, known=before))
        except InstallError as error:
            raise InstallError(f"the packages of {', '.join(names)} cannot be resolved: {error}") from error
        made.update(dict.fromkeys(names, text))

    try:
        async with asyncio.TaskGroup() as tasks:
            for each, names in groups.items():
                tasks.create_task(lock(each, names))
    except* (ConfigError, InstallError) as errors:
        raise errors.exceptions[0] from None
    return LockFile({**known.locks, **made})
