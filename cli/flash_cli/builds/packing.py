"""Which files travel with an endpoint, and the artifact that holds them.

Code goes by what is imported, wherever the files lie; all other files of the project that count go along, so that what
opens a file beside its module finds it.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flash_cli.builds.ignoring import rules
from flash_cli.builds.project_files import BIG_FILE, BIG_SUM, Listing, MiB
from runpod_flash.errors import PayloadTooLarge, ShippingError
from runpod_flash.local_modules import package_files
from worker_runtime.wire import paths
from worker_runtime.wire.specs import ArtifactManifest

LIMIT = 256 * MiB
"""What platforms take of one endpoint's code and data, in bytes."""

Stamp = tuple[int, int, int]
Hashes = dict[Path, tuple[Stamp, str]]
"""sha256 of files as they were."""

_NAMED = 5  # of the largest files, in a message


@dataclass(frozen=True, slots=True)
class ShippedFile:
    """A file that travels.

    Attributes:
        path: where it lies on the worker, relative to the folder of the code.
        file: where it lies here.
        size: in bytes.
        kind: "module": it is imported; "package": it lies in a package of which a module is; "data": neither.
        importer: the path of a module that imports it, "" for the endpoint's own and what is no module.
    """

    path: str
    file: Path
    size: int
    kind: str
    importer: str = ""


@dataclass(frozen=True, slots=True)
class Packed:
    """An artifact on disk."""

    manifest: ArtifactManifest
    id: str
    file: Path
    size: int


@dataclass(slots=True)
class Packer:
    """Packs the endpoints of one project.

    Args:
        listing: the project's files.
        folder: where artifacts are written.
        hashes: of files as they were read before; grows.
    """

    listing: Listing
    folder: Path
    hashes: Hashes = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def files(self, described: Mapping[str, Any]) -> tuple[ShippedFile, ...]:
        """The files that travel with an endpoint, by their paths.

        Raises:
            PayloadTooLarge: they are too much; the message names the largest.
        """
        found = {each.path: each for each in self._data(described)}
        found.update((each.path, each) for each in self._packages(described))
        found.update((each.path, each) for each in self._modules(described))
        shipped = tuple(found[path] for path in sorted(found))
        self._check_size(str(described["name"]), shipped)
        return shipped

    def hashed(self, files: tuple[ShippedFile, ...]) -> dict[str, str]:
        """Their sha256, by path. Raises ShippingError where one cannot be read."""
        return {each.path: self._hash(each.file) for each in files}

    def pack(self, manifest: ArtifactManifest, code: str | None, files: tuple[ShippedFile, ...]) -> Packed:
        """Write the artifact, unless it is there. Raises ShippingError."""
        target = self.folder / f"{manifest.id}.zip"
        if not target.is_file():
            contents = {each.path: _read(each.file) for each in files}
            if {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()} != dict(manifest.files):
                raise ShippingError(f"files of endpoint '{manifest.name}' changed while they were read; build again")
            write(target, paths.pack(manifest, None if code is None else code.encode(), contents))
        return Packed(manifest, manifest.id, target, target.stat().st_size)

    def _modules(self, described: Mapping[str, Any]) -> Iterator[ShippedFile]:
        importers: Mapping[str, str] = described["importers"]
        for path, file in described["modules"].items():
            importer = importers.get(path, "")
            inside = self._inside(file)
            left_out = None if inside is None else self.listing.why_left_out(inside)
            if left_out is not None and left_out.rule is not None and left_out.rule.is_flashignore:
                by = f", though {importer} imports it" if importer else ""
                self._warn(f"{path} is left out by {left_out.why}{by}")
                continue
            with contextlib.suppress(OSError):  # it was there a moment ago
                yield ShippedFile(path, Path(file), os.stat(file).st_size, "module", importer)

    def _packages(self, described: Mapping[str, Any]) -> Iterator[ShippedFile]:
        for place, folder in described["folders"].items():
            inside = self._inside(folder)
            if inside is None:
                yield from _outside(place, folder)
                continue
            for each in self.listing.below(inside):
                rest = each.path[len(inside) + 1 :] if inside != "." else each.path
                yield ShippedFile(f"{place}/{rest}", each.file, each.size, "package")

    def _data(self, described: Mapping[str, Any]) -> Iterator[ShippedFile]:
        packages = [self._inside(folder) for folder in described["folders"].values()]
        held = tuple(f"{each}/" for each in packages if each is not None)
        for path, each in self.listing.files.items():
            if not path.endswith(".py") and not path.startswith(held):
                yield ShippedFile(path, each.file, each.size, "data")

    def _inside(self, file: str) -> str | None:
        """A path relative to the project; None where it lies elsewhere."""
        root = self.listing.root
        return Path(file).relative_to(root).as_posix() if Path(file).is_relative_to(root) else None

    def _check_size(self, name: str, files: tuple[ShippedFile, ...]) -> None:
        total = sum(each.size for each in files)
        largest = sorted(files, key=lambda each: -each.size)[:_NAMED]
        named = ", ".join(f"{each.path} ({each.size / MiB:.1f} MiB)" for each in largest)
        if total > LIMIT:
            raise PayloadTooLarge(
                f"endpoint '{name}' would ship {total / MiB:.0f} MiB of files, at most {LIMIT // MiB} MiB can travel; "
                f"the largest are {named}. Name what it does not need in .flashignore; put large data into a network "
                "volume (NetworkVolume.put)"
            )
        if total > BIG_SUM:
            self._warn(f"endpoint '{name}' ships {total / MiB:.0f} MiB of files; the largest are {named}")
        for each in largest:
            if each.size > BIG_FILE:
                hint = "name it in .flashignore if no function reads it"
                self._warn(f"{each.path} is large ({each.size / MiB:.1f} MiB) and is shipped; {hint}")

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _hash(self, file: Path) -> str:
        try:
            found = file.stat()
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
            known = self.hashes.get(file)
            if known is None or known[0] != stamp:
                with file.open("rb") as content:
                    known = self.hashes[file] = stamp, hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(file, error) from error
        return known[1]


def write(target: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file in one step: nobody sees half of it. Raises ShippingError where it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise ShippingError(
            f"{target} cannot be written: {error.strerror or error}; make room or give rights"
        ) from error


def _outside(place: str, folder: str) -> Iterator[ShippedFile]:
    """What travels with a package that lies in no folder of the project."""
    usual = rules(Path(folder))
    for path, file in package_files(folder, {}):
        if usual.default_for(path) is None:
            yield ShippedFile(f"{place}/{path}", Path(file), os.stat(file).st_size, "package")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> ShippingError:
    return ShippingError(
        f"{file} cannot be read: {error.strerror or error}; make it readable, or name it in .flashignore"
    )
