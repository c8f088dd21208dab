"""Why an endpoint gets what it gets: each file and each package, and what was left out by which rule."""

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flash_cli import console
from flash_cli.builds import locking
from flash_cli.builds.building import Built, lock_options
from flash_cli.builds.manifest import BuiltEndpoint
from flash_cli.builds.packing import ShippedFile
from flash_cli.builds.requirement_files import package_name
from runpod_flash import package_index, settings
from runpod_flash.bytecode import absolute
from runpod_flash.errors import ConfigError, InstallError
from runpod_flash.local_modules import imports_at, module_of

_SHOWN = 30  # of what was left out


@dataclass(frozen=True, slots=True)
class Item:
    """A file or package, and why it is there, or not. `size` in bytes; None: unknown."""

    what: str
    why: str
    size: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As programs read it."""
        return {"what": self.what, "why": self.why, **({} if self.size is None else {"size": self.size})}


@dataclass(frozen=True, slots=True)
class Explained:
    """An endpoint, what it gets, and what it does not."""

    endpoint: BuiltEndpoint
    files: tuple[Item, ...]
    packages: tuple[Item, ...]
    left_out: tuple[Item, ...]

    def to_json(self) -> dict[str, Any]:
        """As programs read it."""
        lists = {"files": self.files, "packages": self.packages, "leftOut": self.left_out}
        return {
            "endpoint": self.endpoint.name,
            **{name: [one.to_json() for one in each] for name, each in lists.items()},
        }


async def explain(built: Built, name: str) -> Explained:
    """What an endpoint gets, found by its own name or by that of its function.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    endpoint = _found(built, name)
    shipped = built.shipped[endpoint.name]
    files = tuple(Item(each.path, _why(each, shipped, endpoint), each.size) for each in shipped)
    packages = tuple(_packages(built, endpoint, await _needed_by(built, endpoint)))
    return Explained(endpoint, files, packages, tuple(_left_out(built, shipped)))


async def _needed_by(built: Built, endpoint: BuiltEndpoint) -> Mapping[str, tuple[str, ...]]:
    """Who needs which package of the lock; nothing where the index cannot be reached now."""
    if not endpoint.lock:
        return {}
    root = built.listing.root
    chosen = settings.load(folder=root)
    how = lock_options(root, chosen, package_index.read(chosen.environ, Path(sys.prefix)))
    try:
        return await locking.needed_by(endpoint.requirements, endpoint.python, endpoint.lock, how)
    except InstallError:
        return {}


def lines(explained: Explained) -> Iterator[str]:
    """The same for people."""
    endpoint = explained.endpoint
    total = sum(each.size or 0 for each in explained.files)
    yield f"{endpoint.name}: {endpoint.kind} {endpoint.object} of {endpoint.file}, Python {endpoint.python or '-'}"
    yield f"\n{len(explained.files)} files travel, {console.size(total)} ({console.size(endpoint.size)} packed)"
    yield from _columns(explained.files)
    locked = "locked" if endpoint.lock else "not locked"
    yield f"\n{len(explained.packages)} packages are installed, {locked}"
    yield from _columns(explained.packages)
    yield "\nleft out of the project:"
    yield from _columns(explained.left_out[:_SHOWN])
    if len(explained.left_out) > _SHOWN:
        yield f"  … and {len(explained.left_out) - _SHOWN} more; --json has all"


def _columns(items: Sequence[Item]) -> Iterator[str]:
    width = max((len(each.what) for each in items), default=0)
    for each in items:
        size = "" if each.size is None else f"{console.size(each.size):>9}  "
        yield f"  {each.what:<{width}}  {size}{each.why}"


def _found(built: Built, name: str) -> BuiltEndpoint:
    endpoints = built.manifest.endpoints
    found = [each for each in endpoints if name == each.name] or [each for each in endpoints if name == each.object]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(f"{each.name} ({each.file})" for each in found)
        raise ConfigError(f"several endpoints run something that is called {name!r}: {places}; name the endpoint")
    names = [each.name for each in endpoints]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
    raise ConfigError(f"the project has no endpoint {name!r}; {hint}")


def _why(file: ShippedFile, shipped: tuple[ShippedFile, ...], endpoint: BuiltEndpoint) -> str:
    if file.kind == "data":
        return "a file of the project that is no code: the function may open it"
    if file.kind == "package":
        return "lies in a package that is imported"
    if not file.importer:
        return f"defines {endpoint.object}"
    importer = next((each for each in shipped if each.path == file.importer), None)
    line = 0 if importer is None else _line(importer, module_of(file.path))
    return f"imported by {file.importer}" + (f" line {line}" if line else "")


def _line(importer: ShippedFile, module: str) -> int:
    """The first line that imports a module, or one inside of it; 0 where none is found."""
    try:
        found = imports_at(importer.file.read_bytes())
    except OSError:
        return 0
    own = module_of(importer.path)
    package = own if importer.path.endswith("/__init__.py") else own.rpartition(".")[0]
    lines = [
        line
        for written, line in found
        if any(each == module or each.startswith(f"{module}.") for each in absolute([written], package))
    ]
    return min(lines, default=0)


def _packages(built: Built, endpoint: BuiltEndpoint, needed_by: Mapping[str, tuple[str, ...]]) -> Iterator[Item]:
    lines = built.requirements.get(endpoint.name, ())
    named: dict[str, list[str]] = {}
    for line in lines:
        named.setdefault(line.name, []).append(f"{line.text} ({line.place})")
    if not endpoint.lock:
        yield from (Item(line.text, line.place) for line in lines)
        return
    for text in locking.lines(endpoint.lock):
        bare = text.partition(" --hash")[0].strip()
        name = package_name(bare)
        needing = ", ".join(needed_by.get(name, ())) or "a package of this list"
        yield Item(bare, ", ".join(named.get(name, [])) or f"needed by {needing}")


def _left_out(built: Built, shipped: tuple[ShippedFile, ...]) -> Iterator[Item]:
    travels = {each.file for each in shipped}
    yield from (Item(each.path, each.why) for each in built.listing.left_out)
    for path, each in built.listing.files.items():
        if each.file not in travels:
            yield Item(path, "code that nothing which travels imports", each.size)
