"""Which of the user's own modules travel with a function: the import closure as files, each under its import path.

Local is what is imported from outside the standard library and the installed packages. Nothing is imported to find out:
modules that are not loaded are located by path and read as text.
"""

import ast
import hashlib
import importlib.machinery
import importlib.util
import os
import stat
import sys
import sysconfig
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runpod_flash import script
from runpod_flash.bytecode import Import, absolute, from_literal
from runpod_flash.errors import PayloadTooLarge, ShippingError
from worker_runtime.wire.class_names import SCRIPT

MiB = 1024 * 1024
FILES_LIMIT = 64 * MiB
DATA_FILE_LIMIT = 1 * MiB
DATA_LIMIT = 32 * MiB
SCAN_LIMIT = 20_000
"""Entries of one package's folders that are looked at; data files beyond them stay behind."""

_OURS = frozenset({"runpod_flash", "worker_runtime", "flash_cli", "cloudpickle"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "CVS"})
_SKIPPED_ENDINGS = (".pyc", ".pyo", ".egg-info", ".dist-info")
_STANDARD = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")})
_SUFFIXES = sorted(importlib.machinery.all_suffixes(), key=len, reverse=True)
_EXTENSIONS = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_CHECK_ALWAYS = 64  # files; the state of more than these is looked up every CHECK_EVERY_S at most
_CHECK_EVERY_S = 0.05

_Stamp = tuple[int, int, int]


class LocalFiles:
    """Files that travel, as they were when they were read.

    Attributes:
        contents: their bytes by POSIX path, relative to the folder that goes on `sys.path`.
        hashes: their sha256 by the same path.
    """

    __slots__ = ("_checked", "_path", "_seen", "_stamps", "contents", "hashes")

    def __init__(self, contents: Mapping[str, bytes], stamps: Mapping[str, _Stamp], path: tuple[str, ...]) -> None:
        self.contents = contents
        self.hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        self._stamps = tuple(stamps.items())
        self._path = path
        self._seen: list[str] | None = None  # `sys.path` as it was when it meant that, whatever the current folder is
        self._checked = time.monotonic()

    def unchanged(self) -> bool:
        """Whether disk and `sys.path` are as they were. With very many files, looked up once in 50 ms at most."""
        if sys.path != self._seen and not self._is_same_path():
            return False
        if not self._stamps:
            return True
        now = time.monotonic()
        if len(self._stamps) > _CHECK_ALWAYS and now - self._checked < _CHECK_EVERY_S:
            return True
        self._checked = now
        return all(_stamp(path) == stamp for path, stamp in self._stamps)

    def _is_same_path(self) -> bool:
        if self._path != _search_path():
            return False
        self._seen = sys.path.copy() if "" not in sys.path else None
        return True


@dataclass(frozen=True, slots=True)
class _Located:
    """Where a module lies: its file (None for a namespace package) and, for a package, the folders of its parts."""

    name: str
    file: str | None
    folders: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        if self.name.partition(".")[0] in _OURS or self.name in script.MAINS:
            return False
        return _is_local(self.file) if self.file is not None else any(map(_is_local, self.folders))

    @property
    def relative_path(self) -> str:
        """Where the file lies on the worker. Named by the module, whatever file it was loaded from."""
        suffix = next((ending for ending in _SUFFIXES if str(self.file).endswith(ending)), ".py")
        stem = self.name.replace(".", "/")
        return f"{stem}/__init__{suffix}" if self.folders else stem + suffix


@dataclass(frozen=True, slots=True)
class Found:
    """Local modules that were found, unread.

    Attributes:
        modules: their files, by POSIX path relative to the folder that goes on `sys.path`.
        packages: the folders of the outermost packages that they belong to, by their paths there.
        importers: which of these modules imports a module, by their paths; those that were asked for have none.
    """

    modules: Mapping[str, str]
    packages: Mapping[str, str]
    importers: Mapping[str, str]


class LocalModules:
    """Finds local modules and remembers what their files import."""

    def __init__(self) -> None:
        self._imports: dict[str, tuple[_Stamp, tuple[Import, ...]]] = {}

    def files(self, roots: Iterable[str]) -> LocalFiles:
        """Return the local modules among `roots`, all that they import, and what lies in the packages they belong to.

        Args:
            roots: absolute names of modules; those that are not local or not found are left out, and so is what turns
                out to be an attribute of a module.

        Raises:
            PayloadTooLarge: they hold more than 64 MiB.
            ShippingError: one of them cannot be read.
        """
        closure = _Closure(self._imports_of)
        closure.follow(roots)
        return closure.read()

    def find(self, roots: Iterable[str]) -> Found:
        """As `files`, without reading more than the source of the modules, and without the rest of their packages.

        Raises:
            ShippingError: one of them cannot be read.
        """
        closure = _Closure(self._imports_of)
        closure.follow(roots)
        return closure.found()

    def is_local(self, name: str) -> bool:
        """Whether the module of this absolute name is one of the user's own."""
        found = _Locator().locate(name)
        return found is not None and found.local

    def _imports_of(self, file: str) -> tuple[Import, ...]:
        if not file.endswith(".py"):
            return ()
        stamp = _stamp(file)
        known = self._imports.get(file)
        if known is None or known[0] != stamp:
            known = self._imports[file] = (stamp, source_imports(_read(file)))
        return known[1]


class _Locator:
    """Locates modules without importing any; remembers for the length of one search."""

    def __init__(self) -> None:
        self._known: dict[str, _Located | None] = {}

    def locate(self, name: str) -> _Located | None:
        if name not in self._known:
            self._known[name] = self._locate(name)
        return self._known[name]

    def _locate(self, name: str) -> _Located | None:
        loaded = sys.modules.get(name)
        if loaded is not None:
            return _located(name, getattr(loaded, "__file__", None), getattr(loaded, "__path__", None))
        parent = name.rpartition(".")[0]
        if name == SCRIPT:
            return _located(name, script.file_of(), None)
        if not parent:
            return self._locate_top(name)
        package = self.locate(parent)
        if package is None or not package.local:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, list(package.folders))
        return _from_spec(name, spec)

    def _locate_top(self, name: str) -> _Located | None:
        if name in sys.stdlib_module_names or not name:
            return None
        try:
            spec = importlib.util.find_spec(name)
        except Exception:  # noqa: BLE001 - import hooks of others may raise anything; what is not found does not travel
            return None
        return _from_spec(name, spec)


class _Closure:
    """One search: names are followed to files, and packages taken whole."""

    def __init__(self, imports_of: Callable[[str], tuple[Import, ...]]) -> None:
        self._imports_of = imports_of
        self._locator = _Locator()
        self._files: dict[str, str] = {}  # relative path -> file
        self._packages: dict[str, str] = {}  # relative path of an outermost regular package -> its folder
        self._stamps: dict[str, _Stamp] = {}
        self._importers: dict[str, str] = {}  # relative path -> that of a module that imports it

    def follow(self, roots: Iterable[str]) -> None:
        waiting, seen = deque((name, "") for name in roots), set[str]()
        while waiting:
            name, importer = waiting.popleft()
            if name in seen:
                continue
            seen.add(name)
            waiting.append((name.rpartition(".")[0], importer))  # the packages it lies in are imported first
            found = self._locator.locate(name)
            if found is None and name and "." not in name and name not in sys.stdlib_module_names:
                self._watch_roots()
            if found is not None and found.local and found.file is not None:
                path = found.relative_path
                self._files[path] = found.file
                if importer and importer != path:
                    self._importers[path] = importer
                self._note_package(found)
                imported = absolute(self._imports_of(found.file), _package_of(found))
                waiting.extend((each, path) for each in imported)

    def found(self) -> Found:
        """What was found."""
        return Found(dict(self._files), dict(self._packages), dict(self._importers))

    def read(self) -> LocalFiles:
        """Read what was found. Raises PayloadTooLarge, ShippingError."""
        for place, folder in sorted(self._packages.items()):
            for path, file in package_files(folder, self._stamps):
                self._files.setdefault(f"{place}/{path}", file)
        self._stamps.update((file, _stamp(file)) for file in self._files.values())
        _check_size({path: self._stamps[file][1] for path, file in self._files.items()})
        contents = {path: _read(file) for path, file in sorted(self._files.items())}
        return LocalFiles(contents, self._stamps, _search_path())

    def _note_package(self, found: _Located) -> None:
        outermost = None
        parts = found.name.split(".")
        for count in range(1, len(parts) + 1):
            package = self._locator.locate(".".join(parts[:count]))
            if package is not None and package.folders and package.file is not None:
                outermost = outermost or package
        if outermost is not None:
            self._packages[outermost.name.replace(".", "/")] = os.path.dirname(outermost.file or "")

    def _watch_roots(self) -> None:
        """A name that was not found may be a module that is written later."""
        for folder in _search_path():
            if _is_local(folder):
                self._stamps[folder] = _stamp(folder)


def module_of(path: str) -> str:
    """The module that a file is under its path among those that travel."""
    stem = next((path.removesuffix(ending) for ending in _SUFFIXES if path.endswith(ending)), path)
    return stem.removesuffix("/__init__").replace("/", ".")


def source_imports(source: bytes) -> tuple[Import, ...]:
    """The imports in a module's source, sorted; none where it is no Python source (it fails where it is imported)."""
    return tuple(sorted({found for found, _ in imports_at(source)}))


def imports_at(source: bytes) -> list[tuple[Import, int]]:
    """The imports in a module's source with their lines; none where it is no Python source."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
        return [(found, getattr(node, "lineno", 0)) for node in ast.walk(tree) for found in _imports(node)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _imports(node: ast.AST) -> Iterator[Import]:
    match node:
        case ast.Import(names=aliases):
            yield from ((alias.name, 0) for alias in aliases)
        case ast.ImportFrom(module=module, names=aliases, level=level):
            yield module or "", level
            yield from ((f"{module}.{alias.name}" if module else alias.name, level) for alias in aliases)
        case ast.Call(
            func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
            args=[ast.Constant(value=str() as literal), *_],
        ):
            yield from_literal(literal)


def _package_of(found: _Located) -> str:
    return found.name if found.folders else found.name.rpartition(".")[0]


def _located(name: str, file: object, folders: Iterable[str] | None) -> _Located | None:
    places = tuple(str(folder) for folder in folders or ())
    if isinstance(file, str) and os.path.isfile(file):
        return _Located(name, os.path.abspath(file), places)
    return _Located(name, None, places) if places else None


def _from_spec(name: str, spec: importlib.machinery.ModuleSpec | None) -> _Located | None:
    if spec is None:
        return None
    return _located(name, spec.origin if spec.has_location else None, spec.submodule_search_locations)


def _is_local(path: str) -> bool:
    real = os.path.realpath(path)
    return not (_INSTALLED & {*path.split(os.sep), *real.split(os.sep)}) and not (real + os.sep).startswith(_STANDARD)


def _search_path() -> tuple[str, ...]:
    return tuple([folder or os.getcwd() for folder in sys.path if isinstance(folder, str)])


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def package_files(folder: str, stamps: dict[str, _Stamp]) -> Iterator[tuple[str, str]]:
    """Yield (relative path, file) of what travels with a package; notes the state of the folders in `stamps`."""
    scanned = data = 0
    for place, folders, files in os.walk(folder):
        stamps[place] = _stamp(place)
        folders[:] = sorted(name for name in folders if _wanted_folder(place, name))
        for name in sorted(files):
            file = os.path.join(place, name)
            scanned += 1
            size = _regular_size(file)
            if size is None or not _portable(name) or name.endswith(_SKIPPED_ENDINGS):
                continue
            if not name.endswith((".py", *_EXTENSIONS)):
                if name.startswith(".") or scanned > SCAN_LIMIT or size > min(DATA_FILE_LIMIT, DATA_LIMIT - data):
                    continue
                data += size
            yield Path(file).relative_to(folder).as_posix(), file


def _wanted_folder(place: str, name: str) -> bool:
    if name.startswith(".") or name in _SKIPPED_FOLDERS or name.endswith(_SKIPPED_ENDINGS) or not _portable(name):
        return False
    return not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))


def _portable(name: str) -> bool:
    return "\\" not in name and name.isprintable()  # undecodable names are not printable


def _regular_size(file: str) -> int | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    readable = stat.S_ISREG(found.st_mode) and os.access(file, os.R_OK)
    return found.st_size if readable else None


def _check_size(sizes: Mapping[str, int]) -> None:
    total = sum(sizes.values())
    if total > FILES_LIMIT:
        largest = max(sorted(sizes), key=lambda path: sizes[path])
        raise PayloadTooLarge(
            f"the local modules of this function hold {total / MiB:.1f} MiB, at most {FILES_LIMIT // MiB} MiB can "
            f"travel; the largest is '{largest}' with {sizes[largest] / MiB:.1f} MiB. Move large files out of the "
            "package, or install it as a dependency."
        )


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ShippingError(
            f"the local module {file} cannot be read: {error.strerror or error}. The function needs it on the worker; "
            "make it readable."
        ) from error
