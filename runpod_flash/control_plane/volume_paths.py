"""Paths in a network volume, followed part by part so that no link leads out of it, whoever changes it meanwhile.

User code can put any link into a volume, and this process may read what user code may not. So each part is opened by
itself, in the folder opened before it, and never as a link: links are read and followed here. An absolute link below
/runpod-volume means the volume, as it does where the volume is used.
"""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runpod_flash.errors import ConfigError
from worker_runtime.new_root import VOLUME

PATH_LIMIT: Final = 1024
"""Characters of the longest path."""

_PART_LIMIT: Final = 255
_MOST_LINKS: Final = 40
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads: a name in an opened folder; "." is the folder itself."""

    folder: int
    name: str


def parts_of(path: str) -> list[str]:
    """The parts of a path as a user gives it, with or without /runpod-volume before it; none: the volume itself.

    Raises:
        ConfigError: it cannot be a path.
    """
    if "\0" in path or not _encodable(path):
        raise ConfigError(f"path is {path!r:.80}; there must be no zero character and no half of a character in it")
    if len(path) > PATH_LIMIT:
        raise ConfigError(f"path has {len(path)} characters; at most {PATH_LIMIT} are allowed")
    parts = _split(path.removeprefix(VOLUME) if path == VOLUME or path.startswith(f"{VOLUME}/") else path)
    if long := next((part for part in parts if len(os.fsencode(part)) > _PART_LIMIT), None):
        raise ConfigError(f"path has the part {long!r:.40}…; a name has at most {_PART_LIMIT} bytes")
    return parts


@contextlib.contextmanager
def found(root: Path, path: str, *, follow: bool = True, make: bool = False) -> Iterator[Place]:
    """Where a path leads in the volume `root`; the last part need not be there.

    `follow`: the last part, too, if it is a link. `make`: folders that are missing on the way are made.

    Raises:
        ConfigError: it leads out of the volume, or cannot be a path.
        OSError: a folder on the way is none, or is missing.
    """
    walk = _Walk(root, path)
    try:
        yield walk.go(parts_of(path), follow=follow, make=make)
    finally:
        walk.close()


class _Walk:
    def __init__(self, root: Path, path: str) -> None:
        self._path = path
        self._open = [os.open(root, _FOLDER)]
        self._links = 0

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def go(self, parts: list[str], *, follow: bool, make: bool) -> Place:
        todo = deque(parts)
        while todo:
            part = todo.popleft()
            if part == "..":
                self._up()
                continue
            link = self._link(part) if todo or follow else None
            if link is not None:
                todo.extendleft(reversed(self._inside(link)))
            elif todo:
                self._enter(part, make=make)
            else:
                return Place(self._open[-1], part)
        return Place(self._open[-1], ".")

    def _link(self, part: str) -> str | None:
        try:
            return os.readlink(part, dir_fd=self._open[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # it is no link, or not there
                return None
            raise

    def _inside(self, link: str) -> list[str]:
        """The parts of what a link says, from the folder that is then the last opened one."""
        self._links += 1
        if self._links > _MOST_LINKS:
            raise ConfigError(f"path {self._path!r:.200} leads through more than {_MOST_LINKS} links")
        if not link.startswith("/"):
            return _split(link)
        if link != VOLUME and not link.startswith(f"{VOLUME}/"):
            raise self._out()
        while len(self._open) > 1:
            os.close(self._open.pop())
        return _split(link.removeprefix(VOLUME))

    def _up(self) -> None:
        if len(self._open) == 1:
            raise self._out()
        os.close(self._open.pop())

    def _enter(self, part: str, *, make: bool) -> None:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=self._open[-1])
        self._open.append(os.open(part, _FOLDER, dir_fd=self._open[-1]))

    def _out(self) -> ConfigError:
        return ConfigError(
            f"path {self._path!r:.200} leads out of the network volume; name what is in it, such as 'models/a.bin'"
        )


def _split(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _encodable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
