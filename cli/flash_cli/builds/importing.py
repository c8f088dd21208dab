"""How a project's files are imported when it is looked at: from their source, and without a way to a platform."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder, PathEntryFinder
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import ModuleType

from runpod_flash.errors import ConfigError

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_WAYS = frozenset(f"runpod_flash.backends.{name}" for name in ("http", "local", "inline"))


class _FromSource(SourceFileLoader):
    """Reads no bytecode and writes none: two edits within a second may leave a file as long as it was."""

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError("bytecode of a project is not looked at")


class _NoWay(MetaPathFinder):
    """Refuses what connects to a platform."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _WAYS:
            raise ConfigError(
                "it calls an endpoint when it is imported, which would run that each time the project is built; put "
                'the call into a function, or under if __name__ == "__main__":'
            )
        return None


def prepare(root: str) -> None:
    """Let this process import the files of a project, whose folder goes to the front of `sys.path`.

    From now on, calls of endpoints raise ConfigError.
    """
    loaders = [
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (_FromSource, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    ]
    hook = FileFinder.path_hook(*loaders)

    def of_project(folder: str) -> PathEntryFinder:
        place = os.path.abspath(folder)
        if not (place + os.sep).startswith(root + os.sep) or not _INSTALLED.isdisjoint(place.split(os.sep)):
            raise ImportError("not in the project")
        return hook(folder)

    sys.path_hooks.insert(0, of_project)
    sys.path_importer_cache.clear()
    sys.meta_path.insert(0, _NoWay())
    sys.path.insert(0, root)


def module_name(path: str, root: Path) -> str:
    """The name that a file of a project is imported by: relative to the innermost folder of `sys.path` that has it."""
    file = root / path
    tops = [Path(each) for each in sys.path if each and Path(each).is_relative_to(root)]
    top = max([each for each in tops if file.is_relative_to(each)], key=lambda each: len(each.parts), default=root)
    stem = file.relative_to(top).as_posix()
    stem = next((stem.removesuffix(each) for each in SOURCE_SUFFIXES if stem.endswith(each)), stem)
    return stem.removesuffix("/__init__").replace("/", ".")
