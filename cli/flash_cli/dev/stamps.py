"""Whether files have changed since they were looked at: by their times and sizes, in some microseconds each."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LOOKED_AT: Final = 5000
"""A project of more files is not looked at before each call; its watcher is trusted alone."""

_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Stamps:
    """Files and the folders that hold them, as they were. A file that comes or goes changes its folder."""

    files: Mapping[Path, _Stamp] = field(default_factory=dict)
    folders: Mapping[Path, _Stamp] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Path, files: Iterable[Path]) -> "Stamps":
        """As `files` of a project are now."""
        found = {path: stamp for path in files if (stamp := _stamp(path)) is not None}
        folders = {project, *(folder for path in found for folder in path.parents if folder.is_relative_to(project))}
        return cls(found, {path: stamp for path in folders if (stamp := _stamp(path)) is not None})

    @property
    def maybe_changed(self) -> bool:
        """Whether a file was written, or came or went; files that do not matter may have come, too."""
        if len(self.files) > LOOKED_AT:
            return False
        return any(_stamp(path) != stamp for known in (self.files, self.folders) for path, stamp in known.items())


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
