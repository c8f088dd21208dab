"""A wheel that a source offers is looked at before anything of it is installed or run."""

import email
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from flash_cli.updating.installation import NAME
from runpod_flash.errors import ConfigError

MARKS = ("runpod_flash/__init__.py", "worker_runtime/wire/__init__.py", "flash_cli/main.py")
"""Files that every version of ours has, and the package that has the same name on the public index has not."""

_PACKAGES = ("runpod_flash/", "worker_runtime/", "flash_cli/")


@dataclass(frozen=True, slots=True)
class Offer:
    """A wheel of ours. `content` is the same for wheels that hold the same files."""

    wheel: Path
    version: Version
    content: str


def looked_at(wheel: Path, source: str, python: str) -> Offer:
    """What the wheel is, if it is ours and runs on this `python` ("3.12.1").

    Raises:
        ConfigError: it is another program, damaged, or for other Pythons. `source` is what to call it.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            about = next(name for name in names if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
            facts = email.message_from_bytes(archive.read(about))
            digest = hashlib.sha256()
            for name in sorted(name for name in names if name.startswith(_PACKAGES)):
                digest.update(f"{name}\0".encode() + hashlib.sha256(archive.read(name)).digest())
    except (OSError, zipfile.BadZipFile, KeyError, StopIteration) as error:
        raise ConfigError(
            f"{source} offers {wheel.name}, which is no wheel ({error}); nothing was installed"
        ) from error
    name, version = str(facts.get("Name", "")), str(facts.get("Version", ""))
    missing = [mark for mark in MARKS if mark not in names]
    if canonicalize_name(name) != NAME or missing:
        lacks = f" that lacks {missing[0]}" if missing else ""
        raise ConfigError(
            f"{source} offers {name or wheel.name} {version}{lacks}: another program, though it may have the same "
            "name; nothing was installed"
        )
    try:
        _check_python(SpecifierSet(str(facts.get("Requires-Python", ""))), python, source, version)
        return Offer(wheel, Version(version), digest.hexdigest())
    except (InvalidVersion, InvalidSpecifier) as error:
        raise ConfigError(f"{source} offers a wheel that is damaged ({error}); nothing was installed") from error


def content_of(folder: Path) -> str:
    """The content of what is installed in a folder, to be compared with that of a wheel."""
    digest = hashlib.sha256()
    files = {
        path.relative_to(folder).as_posix(): path
        for package in _PACKAGES
        for path in (folder / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name in sorted(files):
        digest.update(f"{name}\0".encode() + hashlib.sha256(files[name].read_bytes()).digest())
    return digest.hexdigest()


def _check_python(allowed: SpecifierSet, python: str, source: str, version: str) -> None:
    if not allowed.contains(python, prereleases=True):
        raise ConfigError(f"{source} offers {NAME} {version}, which needs Python {allowed}, and this is {python}")
