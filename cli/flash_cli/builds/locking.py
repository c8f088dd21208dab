"""Requirements become a lock: each package exactly, with hashes, for the workers' Python and platform.

A lock is text: what it is for, in comments at its head, then a line for each package. It stays as it is while that
stays the same; of a changed one, what can keeps its version.
"""

import contextlib
import os
import platform as machine
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import uv
from packaging.requirements import InvalidRequirement, Requirement

from runpod_flash.errors import ConfigError, InstallError
from runpod_flash.package_places import names_no_file
from worker_runtime.commands import file_lock
from worker_runtime.install import InstallFailed, Uv
from worker_runtime.wire.errors import WireError
from worker_runtime.wire.locks import LockLine, checked
from worker_runtime.wire.specs import PackageIndex, canonical_hash

LINUX: Final = "x86_64-unknown-linux-gnu"
"""The platform of most servers, in uv's words."""

_REQUIRES: Final = "# requires "
_COMMIT: Final = re.compile(r"@[0-9a-f]{40}(?=$|[#\s;])")
_DIGITS: Final = 32  # of a key in a file's name


@dataclass(frozen=True, slots=True)
class LockOptions:
    """How to lock.

    Attributes:
        folder: where locks are kept, and what uv needs where it can have no cache elsewhere.
        index: where packages come from.
        environ: the environment that uv starts from (PATH, HOME, proxies).
        platform: of the workers, in uv's words.
        same_machine: workers run on this machine, so that packages may be files and folders of it.
        known: the text of an earlier lock, whose versions stay where they can; "": none.
        upgrade: resolve anew, whatever is known.
    """

    folder: Path
    index: PackageIndex = field(default_factory=PackageIndex)
    environ: Mapping[str, str] | None = None
    platform: str = LINUX
    same_machine: bool = False
    known: str = ""
    upgrade: bool = False


async def lock(requirements: Sequence[str], python: str, options: LockOptions) -> str:
    """The lock of `requirements` for the Python version `python` ("3.12"); "" where there are none.

    Cancelling it ends uv.

    Raises:
        ConfigError: a requirement is none, or names a file that the workers do not have; the folder cannot be written.
        InstallError: the resolver found no solution, or reached no index; the message ends with its words.
    """
    texts = tuple(sorted({_checked(text, options) for text in requirements}))
    if not texts:
        return ""
    head = _head(texts, python, options)
    if not options.upgrade and _head_of(options.known) == head:
        lines(options.known)  # somebody may have edited it
        return options.known
    try:
        return await _cached(texts, python, options, head)
    except InstallFailed as failure:
        raise InstallError(str(failure)) from None
    except OSError as error:
        raise ConfigError(
            f"locks cannot be kept in {options.folder}: {error}. Make room or give rights there"
        ) from error


async def needed_by(
    requirements: Sequence[str], python: str, text: str, options: LockOptions
) -> Mapping[str, tuple[str, ...]]:
    """Which packages of a lock need each other one, by their names; of those that are only named, nothing.

    Raises:
        InstallError: the index cannot be reached.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    uv_ = Uv(uv.find_uv_bin(), options.environ or {}, options.folder / "uv")
    known = [LockLine.of(line).requirement for line in lines(text)]
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            work = Path(folder).resolve()
            return await uv_.needed_by(
                requirements, options.index, python=python, platform=options.platform, work=work, known=known
            )
    except InstallFailed as failure:
        raise InstallError(str(failure)) from None


def lines(text: str) -> tuple[str, ...]:
    """The packages of a lock, for `EnvironmentRequest.lock`. Raises ConfigError for what is no lock."""
    try:
        return checked(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    except WireError as error:
        raise ConfigError(f"{error}; take it out of the lock, so that it is made anew") from None


def platform_here() -> str:
    """The platform of this machine, in uv's words."""
    kind = {"arm64": "aarch64", "AMD64": "x86_64"}.get(machine.machine(), machine.machine())
    return f"{kind}-apple-darwin" if machine.system() == "Darwin" else f"{kind}-unknown-linux-gnu"


def _checked(text: str, options: LockOptions) -> str:
    text = text.strip()
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ConfigError(f"{text!r:.200} is no valid requirement: {str(error).splitlines()[0]}") from None
    if not options.same_machine and not names_no_file(text):
        raise ConfigError(
            f"{text!r:.200} names a file or a folder of this machine, which the workers do not have; name a package of "
            "an index or its URL (https://…, git+https://…), or put the modules into the project, so that they travel "
            "along"
        )
    return text


def _head(requirements: Sequence[str], python: str, options: LockOptions) -> tuple[str, ...]:
    first = f"# these packages and what they need, for Python {python} on {options.platform}"
    return (first, *(f"{_REQUIRES}{text}" for text in requirements))


def _head_of(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.splitlines() if line.startswith("#"))


async def _cached(requirements: tuple[str, ...], python: str, options: LockOptions, head: tuple[str, ...]) -> str:
    """The lock out of the folder, or made and kept there, but for one of local folders, which may have changed."""
    options.folder.mkdir(parents=True, exist_ok=True)
    key = canonical_hash([head, asdict(options.index), options.known])[:_DIGITS]
    file = options.folder / f"{key}.txt"
    async with file_lock(options.folder / f"{key}.guard"):
        if not options.upgrade and file.exists():
            return file.read_text(encoding="utf-8")
        text = "\n".join((*head, *await _resolved(requirements, python, options))) + "\n"
        lines(text)
        if all(map(names_no_file, requirements)):
            _write(file, text)
    return text


async def _resolved(requirements: tuple[str, ...], python: str, options: LockOptions) -> tuple[str, ...]:
    known = () if options.upgrade else tuple(map(LockLine.of, lines(options.known)))
    held = _held(requirements, _head_of(options.known), known)
    uv_ = Uv(uv.find_uv_bin(), options.environ or {}, options.folder / "uv")
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        return await uv_.lock(
            held,
            options.index,
            python=python,
            platform=options.platform,
            work=Path(work).resolve(),
            known=tuple(map(str, known)),
        )


def _held(requirements: tuple[str, ...], head: tuple[str, ...], known: tuple[LockLine, ...]) -> tuple[str, ...]:
    """The requirements; those of repositories that the earlier lock was made for, too, at the commit that it has."""
    commits = {_normal(line.name): line.requirement for line in known if line.place and _COMMIT.search(line.place)}
    return tuple(
        commits.get(_normal(Requirement(text).name), text) if f"{_REQUIRES}{text}" in head else text
        for text in requirements
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _write(path: Path, text: str) -> None:
    """All or nothing."""
    descriptor, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
